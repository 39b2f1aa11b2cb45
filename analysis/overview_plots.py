"""Kept so that earlier imports work; the code is in `analysis.plots.overview`."""

from analysis.plots.overview import (
    Ranges as Ranges,
)
from analysis.plots.overview import (
    has_bands as has_bands,
)
from analysis.plots.overview import (
    plot_best_in_ranges as plot_best_in_ranges,
)
from analysis.plots.overview import (
    plot_gains as plot_gains,
)
from analysis.plots.overview import (
    plot_interactions as plot_interactions,
)
from analysis.plots.overview import (
    plot_parallel as plot_parallel,
)
from analysis.plots.overview import (
    ranges_of as ranges_of,
)
