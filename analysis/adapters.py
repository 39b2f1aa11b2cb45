"""Kept so that earlier imports work; the code is in `analysis.comparison.adapters`."""

from analysis.comparison.adapters import (
    Adapters as Adapters,
)
from analysis.comparison.adapters import (
    SeedNoise as SeedNoise,
)
from analysis.comparison.adapters import (
    against_base as against_base,
)
