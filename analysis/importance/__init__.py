"""Which parameters a result depends on, and whether to believe it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.importance.compute import (
        importances as importances,
    )
    from analysis.importance.question import (
        answer_of as answer_of,
    )
    from analysis.importance.question import (
        capacity_of as capacity_of,
    )
    from analysis.importance.question import (
        confounding_of as confounding_of,
    )
    from analysis.importance.question import (
        importances_of as importances_of,
    )
    from analysis.importance.question import (
        surface_of as surface_of,
    )
    from analysis.importance.result import (
        Importances as Importances,
    )
    from analysis.importance.result import (
        InteractionImportance as InteractionImportance,
    )
    from analysis.importance.result import (
        Marginal as Marginal,
    )
    from analysis.importance.result import (
        ParameterImportance as ParameterImportance,
    )

_MODULES = {
    "compute": ("importances",),
    "question": (
        "answer_of",
        "capacity_of",
        "confounding_of",
        "importances_of",
        "surface_of",
    ),
    "result": (
        "Importances",
        "InteractionImportance",
        "Marginal",
        "ParameterImportance",
    ),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}
__all__ = [
    "Importances",
    "InteractionImportance",
    "Marginal",
    "ParameterImportance",
    "answer_of",
    "capacity_of",
    "confounding_of",
    "importances",
    "importances_of",
    "surface_of",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {__all__}")


def __dir__() -> list[str]:
    return __all__
