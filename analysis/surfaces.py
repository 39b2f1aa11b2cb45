"""Moved to `analysis.importance.surfaces`; imports from here keep working."""

from analysis.importance.surfaces import (
    Surface as Surface,
)
from analysis.importance.surfaces import (
    surface as surface,
)
