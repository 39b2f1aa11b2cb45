"""Moved to `analysis.comparison.side_by_side`; imports from here keep working."""

from analysis.comparison.side_by_side import (
    differences as differences,
)
from analysis.comparison.side_by_side import (
    plot_importances_beside as plot_importances_beside,
)
from analysis.comparison.side_by_side import (
    plot_marginals_beside as plot_marginals_beside,
)
from analysis.comparison.side_by_side import (
    plot_progress_beside as plot_progress_beside,
)
from analysis.comparison.side_by_side import (
    plot_scores_beside as plot_scores_beside,
)
from analysis.comparison.side_by_side import (
    study_labels as study_labels,
)
