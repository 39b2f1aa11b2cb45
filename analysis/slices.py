"""Kept so that earlier imports work; the code is in `analysis.plots.slices`."""

from analysis.plots.slices import (
    Slice as Slice,
)
from analysis.plots.slices import (
    slice_of as slice_of,
)
from analysis.plots.slices import (
    varied_parameters as varied_parameters,
)
