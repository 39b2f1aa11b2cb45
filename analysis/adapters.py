"""Moved to `analysis.comparison.adapters`; imports from here keep working."""

from analysis.comparison.adapters import (
    Adapters as Adapters,
)
from analysis.comparison.adapters import (
    SeedNoise as SeedNoise,
)
from analysis.comparison.adapters import (
    against_base as against_base,
)
