"""What the trials say: a study's database in, tidy frames, numbers and figures out.

`analysis.load(target)` is the door.  Importing this package loads neither pandas nor matplotlib;
both come with the first frame or figure.  Nothing here loads torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.studies.load import StudyData as StudyData
from analysis.studies.load import load as load
from study.lazy_names import lazy_names
from study.moved import leave_behind

if TYPE_CHECKING:
    from analysis import comparison as comparison
    from analysis import plots as plots
    from analysis.importance.answers import answer as answer
    from analysis.importance.answers import answer_of as answer_of
    from analysis.importance.answers import capacity_of as capacity_of
    from analysis.importance.answers import confounding_of as confounding_of
    from analysis.importance.answers import front_of as front_of
    from analysis.importance.answers import importances_of as importances_of
    from analysis.importance.answers import surface_of as surface_of
    from analysis.importance.answers import tuning_of as tuning_of
    from analysis.importance.question import Question as Question
    from analysis.plots import side_by_side as side_by_side
    from analysis.plots import trade_offs as trade_offs
    from analysis.studies.targets import target_names as target_names

__all__, __getattr__, __dir__ = lazy_names(__name__, "StudyData", "load", "overview_plots")

leave_behind(
    __name__,
    {
        "adapters": "analysis.comparison.adapters analysis.comparison.adapters_document",
        "capacity": "analysis.importance.capacity",
        "confounding": "analysis.importance.confounding",
        "overview_plots": "analysis.plots.overview",
        "side_by_side": "analysis.plots.side_by_side analysis.comparison.between_studies",
        "slices": "analysis.plots.slices",
        "surface_plot": "analysis.plots.surface",
        "surfaces": "analysis.surrogates.fits",
        "trade_offs": "analysis.plots.trade_offs",
    },
)
