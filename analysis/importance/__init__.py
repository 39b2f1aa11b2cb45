"""Which parameters a result depends on, and how reliable that is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from study.lazy_names import lazy_names

if TYPE_CHECKING:
    from analysis.importance.answers import answer as answer
    from analysis.importance.answers import answer_of as answer_of
    from analysis.importance.answers import capacity_of as capacity_of
    from analysis.importance.answers import confounding_of as confounding_of
    from analysis.importance.answers import importances_of as importances_of
    from analysis.importance.answers import surface_of as surface_of
    from analysis.importance.question import Points as Points
    from analysis.importance.question import Question as Question
    from analysis.importance.result import Importances as Importances
    from analysis.importance.result import InteractionImportance as InteractionImportance
    from analysis.importance.result import Marginal as Marginal
    from analysis.importance.result import ParameterImportance as ParameterImportance
    from analysis.importance.variance import importances as importances

__all__, __getattr__, __dir__ = lazy_names(__name__)
