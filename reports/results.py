"""Every number of a page, computed once: the study and what the analysis says about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from analysis.comparison.adapters import Adapters, all_adapters
from analysis.comparison.confirmation import Confirmation, confirmation_of
from analysis.comparison.contrast import Contrast, Score
from analysis.comparison.distillation import Distillation, distillation_of
from analysis.comparison.sweeps import Sweep, sweep_of
from analysis.comparison.within_study import (
    best_against_baselines,
    example_scores,
    headline_metric,
    scores_in,
)
from analysis.importance.answers import fits_of, front_of, tuning_of
from analysis.importance.confounding import Confounding
from analysis.importance.front import Front
from analysis.importance.refits import refits_for
from analysis.importance.tuning import Tuning
from analysis.importance.variance import Importances
from analysis.next_study.proposal import Proposal, propose
from analysis.plots.trade_offs import TradeOff, trade_offs
from analysis.studies.load import StudyData, capacity_of, confounding_of, importances_of, surface_of
from analysis.surrogates.fits import Surface
from study.errors import InputError
from study.metrics import Array


@dataclass(frozen=True)
class Results:
    """A study with its analysis; what does not apply is empty."""

    data: StudyData
    importances: tuple[Importances, ...]  # one per objective
    importance_problem: str  # why there are none
    confounding: Confounding | None  # joint effects, for the first objective
    capacity: Confounding | None  # whether rank and modules act through their size
    surface: Surface | None  # the first objective over alpha and learning rate
    confirmation: Confirmation | None  # the best trial tested on fresh seeds
    proposal: Proposal | None  # what to search next; None where this program did not run the study
    metric: str | None  # the metric that models are compared by
    comparisons: tuple[Contrast, ...]  # the best against every baseline, headline metric on dev
    all_comparisons: tuple[Contrast, ...]  # the same on every metric and split
    model_scores: tuple[Score, ...]
    example_scores: Mapping[str, Array]  # model -> (N,)
    adapters: Adapters | None = None  # the base against each; None where no base is stored
    distillation: Distillation | None = None  # None where the study has no teacher
    sweep: Sweep | None = None  # None unless a single parameter has few levels
    trade_offs: tuple[TradeOff, ...] = ()  # each objective against each cost that differs
    front: Front | None = None  # what matters between the two objectives of a study with two
    tuning: Tuning | None = None  # what tuning gains over the default, by the first objective
    surrogate: str = "auto"  # as requested

    @property
    def method(self) -> str:
        """The name of the method that the study trains with."""
        return str((self.data.spec or {}).get("method", {}).get("name", "lora"))

    @property
    def importance(self) -> Importances | None:
        """The importances for the first objective."""
        return self.importances[0] if self.importances else None


def analyse(
    data: StudyData,
    *,
    surrogate: str = "auto",
    seed: int = 0,
    resamples: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Results:
    """Return all results of a study, bootstrap and resampling seeded by `seed`.

    The surrogate is refitted `resamples` times for the intervals of the importances.  None means
    100, or fewer with many trials, whose refits differ less and take longer.
    """
    resamples = refits_for(len(data.complete)) if resamples is None else resamples
    found, problem = _importances(data, surrogate, seed, resamples, progress)
    first = data.splits[0] if data.splits else ""
    adapters = all_adapters(data, seed)
    # one question has one p-value: tests of the adapters' family are reused
    known = adapters.contrasts if adapters is not None else ()
    compared = best_against_baselines(data, known, seed=seed)
    metric = headline_metric(data)
    few = max(min(resamples // 2, 20), 2)
    is_reliable = bool(found) and found[0].reliable  # all of this uses the same trials
    fits = fits_of(data, seed=seed, resamples=few) if is_reliable else None
    product = confounding_of(data, fits=fits) if fits else None
    return Results(
        data=data,
        importances=found,
        importance_problem=problem,
        confounding=product,
        capacity=capacity_of(data, fits=fits) if fits else None,
        front=front_of(data, seed=seed) if is_reliable and len(data.objectives) == 2 else None,
        tuning=tuning_of(data, seed=seed, fits=fits) if fits else None,
        surface=surface_of(data, fits=fits) if fits else None,
        confirmation=confirmation_of(data, seed=seed),
        proposal=propose(data, found[0], product) if found and data.is_ours else None,
        metric=metric,
        comparisons=tuple(c for c in compared if (c.metric, c.split) == (metric, first)),
        all_comparisons=tuple(compared),
        model_scores=tuple(scores_in([c for c in compared if c.metric == metric])),
        example_scores=example_scores(data, metric) if metric else {},
        adapters=adapters,
        distillation=distillation_of(data),
        sweep=sweep_of(data, known=known),
        trade_offs=tuple(trade_offs(data)),
        surrogate=surrogate,
    )


def _importances(
    data: StudyData,
    surrogate: str,
    seed: int,
    resamples: int,
    progress: Callable[[int, int], None] | None,
) -> tuple[tuple[Importances, ...], str]:
    if not data.complete:
        return (), ""
    try:
        return tuple(
            importances_of(data, name, surrogate, seed, progress, resamples)
            for name in data.objectives
        ), ""
    except InputError as error:
        return (), str(error)
