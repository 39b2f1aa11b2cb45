"""Figures: a result in, matplotlib `Axes` out.

Importing this package loads no matplotlib; the first figure does.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.plots.adapter_figures import (
        plot_adapter_bars,
        plot_adapter_boxes,
        plot_adapter_distributions,
        plot_adapter_violins,
        plot_confirmation,
    )
    from analysis.plots.overview import (
        plot_best_in_ranges,
        plot_gains,
        plot_interactions,
        plot_parallel,
    )
    from analysis.plots.study_figures import (
        plot_best_against_baselines,
        plot_derived,
        plot_example_scores,
        plot_history,
        plot_importances,
        plot_learning_curves,
        plot_pareto,
        plot_score_by_level,
        plot_slice,
        plot_slices,
        plot_training_losses,
        plot_weight_curve,
    )
    from analysis.plots.surface import (
        plot_surface,
    )
    from analysis.plots.trade_offs import (
        plot_trade_off,
    )

_MODULES = {
    "study_figures": (
        "plot_best_against_baselines",
        "plot_derived",
        "plot_example_scores",
        "plot_history",
        "plot_importances",
        "plot_learning_curves",
        "plot_pareto",
        "plot_score_by_level",
        "plot_slice",
        "plot_slices",
        "plot_training_losses",
        "plot_weight_curve",
    ),
    "adapter_figures": (
        "plot_adapter_bars",
        "plot_adapter_boxes",
        "plot_adapter_distributions",
        "plot_adapter_violins",
        "plot_confirmation",
    ),
    "overview": (
        "plot_best_in_ranges",
        "plot_gains",
        "plot_interactions",
        "plot_parallel",
    ),
    "surface": ("plot_surface",),
    "trade_offs": ("plot_trade_off",),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}
__all__ = [
    "plot_adapter_bars",
    "plot_adapter_boxes",
    "plot_adapter_distributions",
    "plot_adapter_violins",
    "plot_best_against_baselines",
    "plot_best_in_ranges",
    "plot_confirmation",
    "plot_derived",
    "plot_example_scores",
    "plot_gains",
    "plot_history",
    "plot_importances",
    "plot_interactions",
    "plot_learning_curves",
    "plot_parallel",
    "plot_pareto",
    "plot_score_by_level",
    "plot_slice",
    "plot_slices",
    "plot_surface",
    "plot_trade_off",
    "plot_training_losses",
    "plot_weight_curve",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {__all__}")


def __dir__() -> list[str]:
    return __all__
