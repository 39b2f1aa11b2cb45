"""Two things against each other: models, trials, adapters, studies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from study.lazy_names import lazy_names

if TYPE_CHECKING:
    from analysis.comparison.adapters import against_baselines as against_baselines
    from analysis.comparison.adapters import model_scores as model_scores
    from analysis.comparison.between_studies import compare_studies as compare_studies
    from analysis.comparison.bootstrap import interval_of as interval_of
    from analysis.comparison.bootstrap import resampled_scores as resampled_scores
    from analysis.comparison.contrast import Contrast as Contrast
    from analysis.comparison.contrast import Score as Score
    from analysis.comparison.contrast import compare as compare
    from analysis.comparison.within_study import compare_trials as compare_trials
    from analysis.comparison.within_study import example_scores as example_scores
    from analysis.comparison.within_study import headline_metric as headline_metric
    from analysis.comparison.within_study import scores_in as scores_in

__all__, __getattr__, __dir__ = lazy_names(__name__)
