"""A study, asked: which of its trials count, with which value, and the answer to each question.

`compute` and its neighbours know plain points and values; here a study becomes these.
Nothing heavy is imported before a question is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from analysis.studies.study_data import MAXIMIZE, StudyData, is_enqueued
from study.errors import InputError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

    from analysis.importance.compute import Importances
    from analysis.importance.confounding import Confounding
    from analysis.importance.other_questions import Answer
    from analysis.importance.surfaces import Surface
    from analysis.studies.targets import Target
    from analysis.surrogates.fits import Fits

DEFAULT_QUANTILE = 0.1  # the best fraction, where none is given


def importances_of(
    data: StudyData,
    objective: str | None = None,
    surrogate: str = "auto",
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    resamples: int = 100,
    *,
    direction: str | None = None,
    evaluator: str = "fanova",
    policy: str = "drop",
    quantile: float | None = None,
    subsets: Sequence[Sequence[str]] = (),
) -> Importances:
    """What mattered for one number, from the trials whose points nobody chose by hand.

    `objective` is any of `target_names(study)`: an objective, a stored metric, a cost.
    `policy` says how pruned trials count, `quantile` asks about the good configurations, `subsets`
    for the effects of three parameters or more; see `importances`.  Raises
    InputError where the study has no such number, one parameter name has distributions that
    contradict each other, or the original fANOVA is asked for and not installed.
    """
    from analysis.importance.compute import importances
    from analysis.studies.targets import sampler_of, target_of

    target = target_of(data, objective, direction)
    if policy != "drop" and target.name not in data.objectives:
        raise InputError(
            f"pruned: {policy!r} needs reports of {target.name}, but pruned trials report "
            f"{data.objective}; allowed: drop"
        )
    with _asking(data):
        _require(evaluator)
        found = importances(
            [t.params for t in target.trials],
            target.values,
            _distributions(target),
            surrogate=surrogate,
            evaluator=evaluator,
            seed=seed,
            resamples=resamples,
            objective=target.name,
            direction=target.direction,
            study=data.name,
            counts=_counts(data),
            progress=progress,
            pruned=target.pruned,
            policy=policy,
            quantile=quantile,
            subsets=subsets,
        )
    remarks = (*found.remarks, *_remarks_on(data, target))
    return replace(found, sampler=sampler_of(data), remarks=remarks)


def answer_of(
    data: StudyData,
    question: str,
    objective: str | None = None,
    surrogate: str = "auto",
    seed: int = 0,
    *,
    direction: str | None = None,
    quantile: float | None = None,
) -> Answer:
    """The answer to `best`, `gain` or `local` of `other_questions`; `variance` is fANOVA's.

    The way from the default starts at the study's default LoRA, where that was measured, else in
    the middle of the search space.  Raises InputError where there is too little to answer from.
    """
    from analysis.importance.other_questions import ped_anova
    from analysis.studies.targets import target_of

    target = target_of(data, objective, direction)
    with _asking(data):
        if question == "best":
            share = DEFAULT_QUANTILE if quantile is None else quantile
            points = [t.params for t in target.trials]
            known = _distributions(target)
            found = ped_anova(points, target.values, known, target.direction, share)
        else:
            found = _by_model(data, question, target, surrogate, seed)
    return replace(found, objective=target.name, direction=target.direction)


def _by_model(data: StudyData, question: str, target: Target, surrogate: str, seed: int) -> Answer:
    from analysis.importance import other_questions

    if question not in ("gain", "local"):
        raise ValueError(f"question must be one of best, gain, local but got {question!r}")
    points, known = [t.params for t in target.trials], _distributions(target)
    model = other_questions.model_of(
        points, target.values, known, target.direction, surrogate, seed
    )
    best = best_point(data, target)
    if question == "local":
        return other_questions.local_importance(model, best)
    start, words = other_questions.starting_point(_default_of(data), model.encoding.columns)
    return other_questions.gain(model, start, best, words)


def fits_of(
    data: StudyData, objective: str | None = None, seed: int = 0, resamples: int = 20
) -> Fits:
    """What `confounding_of`, `capacity_of` and `surface_of` rest on, to be fitted once for all.

    From the same trials as `importances_of`.
    """
    from analysis.studies.targets import target_of
    from analysis.surrogates.fits import Fits

    target = target_of(data, objective)
    points, known = [t.params for t in target.trials], _distributions(target)
    return Fits.of(points, target.values, known, seed=seed, resamples=resamples)


def confounding_of(
    data: StudyData,
    objective: str | None = None,
    seed: int = 0,
    resamples: int = 20,
    *,
    fits: Fits | None = None,
) -> Confounding | None:
    """How alpha, rank and learning rate act together, and which product of them says it best.

    None where fewer than two of them varied.  `fits` are those of `fits_of`, where they are known.
    """
    from analysis.importance.confounding import confounding

    with _asking(data):
        return confounding(fits or fits_of(data, objective, seed, resamples))


def capacity_of(
    data: StudyData,
    objective: str | None = None,
    seed: int = 0,
    resamples: int = 20,
    *,
    fits: Fits | None = None,
) -> Confounding | None:
    """How far the number of trainable parameters explains what rank and modules do together.

    None where they did not both vary, or the trials do not say how many they trained.
    """
    from analysis.importance.capacity import capacity
    from analysis.studies.targets import target_of, value_of

    trials = target_of(data, objective).trials
    trainable = [value_of(data, t, "trainable_parameters") for t in trials]
    with _asking(data):
        return capacity(fits or fits_of(data, objective, seed, resamples), trainable)


def surface_of(
    data: StudyData,
    names: tuple[str, str] | None = None,
    objective: str | None = None,
    seed: int = 0,
    *,
    fits: Fits | None = None,
) -> Surface | None:
    """The mean of one number over two parameters, alpha and learning rate unless named.

    None where the study has no such two.  Raises InputError for a named one without an effect.
    """
    from analysis.importance.confounding import roles_in
    from analysis.importance.surfaces import surface

    with _asking(data):
        fits = fits or fits_of(data, objective, seed)
        if names is None:
            roles = roles_in(fits.encoding.names)
            if not {"alpha", "learning_rate"} <= set(roles) or not fits.say_something:
                return None
            names = roles["alpha"], roles["learning_rate"]
        return surface(fits, names)


def best_point(data: StudyData, target: Target) -> dict[str, Any] | None:
    """The parameters of the best COMPLETE trial by a target, enqueued ones included."""
    from analysis.studies.targets import value_of

    if target.name in data.objectives:
        return next((dict(t.params) for t in data.ranked(target.name)), None)
    values = [(value_of(data, t, target.name), t) for t in data.complete]
    finite = [(v, t) for v, t in values if v == v]
    choose = max if target.direction == MAXIMIZE else min
    return dict(choose(finite, key=lambda vt: vt[0])[1].params) if finite else None


@contextmanager
def _asking(data: StudyData) -> Iterator[None]:
    """One thread for the linear algebra, and a user's mistake as one line."""
    from analysis.parallel import one_blas_thread

    try:
        with one_blas_thread():
            yield
    except ValueError as error:
        raise InputError(f"{data.name}: {error}") from error


def _require(evaluator: str) -> None:
    """Refuse the original fANOVA before anything is computed where it is not installed."""
    from analysis.surrogates.original import NOT_INSTALLED, is_installed

    if evaluator == "fanova-original" and not is_installed():
        raise InputError(f"evaluator: {NOT_INSTALLED}")


def _distributions(target: Target) -> dict[str, BaseDistribution]:
    from analysis.surrogates.encoding import common_distributions

    trials = (*target.trials, *target.pruned_trials)
    return common_distributions(t.distributions for t in trials)[0]


def _remarks_on(data: StudyData, target: Target) -> list[str]:
    from analysis.surrogates.encoding import common_distributions

    by_hand = sum(map(is_enqueued, data.complete))
    said = "trial was enqueued by hand and is" if by_hand == 1 else "were enqueued by hand and are"
    remarks = [f"{by_hand} {said} left out: chosen points are no sample"] if by_hand else []
    remarks += [data.sampled] if data.sampled else []
    return remarks + common_distributions(t.distributions for t in target.trials)[1]


def _default_of(data: StudyData) -> dict[str, Any] | None:
    """The configuration of the default LoRA, where the study measured it."""
    found = (e.config for e in data.evaluations if e.role == "baseline" and e.name == "default")
    return next((dict(config) for config in found), None)


def _counts(data: StudyData) -> dict[str, int]:
    counts = data.counts
    return {
        "complete": counts.get("complete", 0),
        "pruned": counts.get("pruned", 0),
        "failed": counts.get("fail", 0),
    }
