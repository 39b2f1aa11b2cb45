"""Figures: a result in, matplotlib `Axes` out.

Importing this package loads no matplotlib; the first figure does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from study.lazy_names import lazy_names

if TYPE_CHECKING:
    from analysis.plots.adapter_figures import plot_adapter_bars as plot_adapter_bars
    from analysis.plots.adapter_figures import plot_adapter_boxes as plot_adapter_boxes
    from analysis.plots.adapter_figures import (
        plot_adapter_distributions as plot_adapter_distributions,
    )
    from analysis.plots.adapter_figures import plot_adapter_violins as plot_adapter_violins
    from analysis.plots.adapter_figures import plot_confirmation as plot_confirmation
    from analysis.plots.overview import plot_best_in_ranges as plot_best_in_ranges
    from analysis.plots.overview import plot_gains as plot_gains
    from analysis.plots.overview import plot_interactions as plot_interactions
    from analysis.plots.overview import plot_parallel as plot_parallel
    from analysis.plots.study_figures import (
        plot_best_against_baselines as plot_best_against_baselines,
    )
    from analysis.plots.study_figures import plot_derived as plot_derived
    from analysis.plots.study_figures import plot_example_scores as plot_example_scores
    from analysis.plots.study_figures import plot_history as plot_history
    from analysis.plots.study_figures import plot_importances as plot_importances
    from analysis.plots.study_figures import plot_learning_curves as plot_learning_curves
    from analysis.plots.study_figures import plot_pareto as plot_pareto
    from analysis.plots.study_figures import plot_score_by_level as plot_score_by_level
    from analysis.plots.study_figures import plot_slice as plot_slice
    from analysis.plots.study_figures import plot_slices as plot_slices
    from analysis.plots.study_figures import plot_training_losses as plot_training_losses
    from analysis.plots.study_figures import plot_weight_curve as plot_weight_curve
    from analysis.plots.surface import plot_surface as plot_surface
    from analysis.plots.trade_offs import plot_trade_off as plot_trade_off

__all__, __getattr__, __dir__ = lazy_names(__name__)
