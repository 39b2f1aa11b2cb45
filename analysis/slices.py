"""Moved to `analysis.plots.slices`; imports from here keep working."""

from analysis.plots.slices import (
    Slice as Slice,
)
from analysis.plots.slices import (
    slice_of as slice_of,
)
from analysis.plots.slices import (
    varied_parameters as varied_parameters,
)
