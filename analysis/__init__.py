"""What the trials say: a study's database in, tidy frames, numbers and figures out.

`analysis.load(target)` is the door.  Importing this package loads neither pandas nor matplotlib;
both come with the first frame or figure.  Nothing here loads torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from analysis.trials import StudyData, load

if TYPE_CHECKING:
    from analysis import comparison as comparison
    from analysis import plots as plots
    from analysis.trials import confounding_of, importances_of

__all__ = ["StudyData", "comparison", "confounding_of", "importances_of", "load", "plots"]


def __getattr__(name: str) -> Any:
    if name in ("confounding_of", "importances_of"):
        return getattr(importlib.import_module("analysis.trials"), name)
    if name in __all__:
        return importlib.import_module(f"analysis.{name}")
    raise AttributeError(f"module 'analysis' has no attribute {name!r}; it has {__all__}")


def __dir__() -> list[str]:
    return __all__
