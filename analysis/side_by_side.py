"""Moved to `analysis.comparison.between_studies` and `analysis.plots.side_by_side`.

Imports from here keep working.
"""

from analysis.comparison.between_studies import (
    differences as differences,
)
from analysis.comparison.between_studies import (
    study_labels as study_labels,
)
from analysis.plots.side_by_side import (
    plot_importances_beside as plot_importances_beside,
)
from analysis.plots.side_by_side import (
    plot_marginals_beside as plot_marginals_beside,
)
from analysis.plots.side_by_side import (
    plot_progress_beside as plot_progress_beside,
)
from analysis.plots.side_by_side import (
    plot_scores_beside as plot_scores_beside,
)
