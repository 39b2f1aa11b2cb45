"""What the trials say: a study's database in, tidy frames, numbers and figures out.

`analysis.load(target)` is the door.  Importing this package loads neither pandas nor matplotlib;
both come with the first frame or figure.  Nothing here loads torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from analysis.studies.load import StudyData, load
from study.moved import leave_behind

if TYPE_CHECKING:
    from analysis import comparison as comparison
    from analysis import plots as plots
    from analysis.importance.answers import (
        answer,
        answer_of,
        capacity_of,
        confounding_of,
        importances_of,
        surface_of,
    )
    from analysis.importance.question import Question
    from analysis.plots import overview as overview_plots
    from analysis.plots import side_by_side as side_by_side
    from analysis.plots import trade_offs as trade_offs
    from analysis.studies.targets import target_names

ANSWERS = ("answer", "answer_of", "capacity_of", "confounding_of", "importances_of", "surface_of")
__all__ = [
    "Question",
    "StudyData",
    "answer",
    "answer_of",
    "capacity_of",
    "comparison",
    "confounding_of",
    "importances_of",
    "load",
    "overview_plots",
    "plots",
    "side_by_side",
    "surface_of",
    "target_names",
    "trade_offs",
]

leave_behind(
    __name__,
    {
        "adapters": "analysis.comparison.adapters",
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


def __getattr__(name: str) -> Any:
    if name in ANSWERS:
        return getattr(importlib.import_module("analysis.importance.answers"), name)
    if name == "Question":
        return importlib.import_module("analysis.importance.question").Question
    if name == "target_names":
        return importlib.import_module("analysis.studies.targets").target_names
    if name in __all__:
        return importlib.import_module(f"analysis.{name}")
    raise AttributeError(f"module 'analysis' has no attribute {name!r}; it has {__all__}")


def __dir__() -> list[str]:
    return __all__
