"""Kept so that earlier imports work; the code is in `analysis.importance.surfaces`."""

from analysis.importance.surfaces import (
    Surface as Surface,
)
from analysis.importance.surfaces import (
    surface as surface,
)
