"""Which parameters a result depends on, and how reliable that is."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.importance.answers import (
        answer,
        answer_of,
        capacity_of,
        confounding_of,
        importances_of,
        surface_of,
    )
    from analysis.importance.question import Points, Question
    from analysis.importance.result import (
        Importances,
        InteractionImportance,
        Marginal,
        ParameterImportance,
    )
    from analysis.importance.variance import importances

__all__ = [
    "Importances",
    "InteractionImportance",
    "Marginal",
    "ParameterImportance",
    "Points",
    "Question",
    "answer",
    "answer_of",
    "capacity_of",
    "confounding_of",
    "importances",
    "importances_of",
    "surface_of",
]
_HOMES = {"Points": "question", "Question": "question", "importances": "variance"}


def __getattr__(name: str) -> Any:
    if name in __all__:
        home = _HOMES.get(name) or ("result" if name[0].isupper() else "answers")
        return getattr(importlib.import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {__all__}")


def __dir__() -> list[str]:
    return __all__
