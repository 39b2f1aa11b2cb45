"""Answers to questions: `answer(question, target)` answers any question about any trials.

The functions that end in `_of` ask one kind of question about a study.  Heavy imports wait for the
first question.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from analysis.importance.question import DEFAULT_QUANTILE, Points, Question, QuestionError
from analysis.parallel import one_blas_thread
from analysis.studies.study_data import MAXIMIZE, StudyData
from analysis.studies.trial_values import is_enqueued
from analysis.wording import in_region
from study.errors import InputError

if TYPE_CHECKING:
    from analysis.importance.confounding import Confounding
    from analysis.importance.front import Front
    from analysis.importance.other_questions import Answer, FittedSurrogate
    from analysis.importance.result import Importances
    from analysis.importance.tuning import Tuning
    from analysis.studies.targets import Target
    from analysis.surrogates.fits import Fits, Surface


def answer(
    question: Question,
    target: StudyData | Points,
    progress: Callable[[int, int], None] | None = None,
) -> Importances | Answer | Tuning | Front:
    """Return the answer from the trials that were sampled, not enqueued by hand.

    `gain` and `tuning` start at the study's default LoRA if that was measured, otherwise in the
    middle of the search space.  `progress` gets (done, total).  Raises InputError for a study, and
    ValueError for plain points: no such number, too few trials, or an evaluator that is not
    installed.
    """
    if isinstance(target, StudyData):
        with _one_line_of(target):
            if question.kind == "front":
                return _front(question, target, progress)
            return answer(question, points_of(target, question), progress)
    if question.kind == "front":
        raise ValueError("kind: front needs a study, which holds both values")
    if question.kind == "variance":
        from analysis.importance.variance import variance

        return variance(question, target, progress)
    from analysis.importance import other_questions as others

    if question.kind == "best":
        quantile = DEFAULT_QUANTILE if question.quantile is None else question.quantile
        found = others.ped_anova(target, quantile)
    elif question.kind == "tuning":
        return _tuning(question, target, others.fitted_surrogate(target, "gp", question.seed))
    else:
        fitted = others.fitted_surrogate(target, question.surrogate, question.seed)
        if question.kind == "local":
            found = others.local_importance(fitted, target.best)
        else:
            start, words = others.starting_point(target.default, fitted)
            found = others.gain(fitted, start, target.best, words)
    asked = found.question.removesuffix("?") + in_region(target.region) + "?"
    return replace(found, objective=target.objective, direction=target.direction, question=asked)


def _front(
    question: Question, data: StudyData, progress: Callable[[int, int], None] | None
) -> Front:
    from analysis.importance.front import front
    from analysis.studies.targets import target_names, target_of

    names = [question.objective or data.objective, question.against or data.objectives[-1]]
    if names[0] == names[1]:
        others = [name for name in target_names(data) if name != names[0]]
        raise InputError(
            f"against: must name a second value beside {names[0]}; allowed: {', '.join(others)}"
        )
    target_of(data, names[1], field="against")
    one, other = (points_of(data, replace(question, objective=name)) for name in names)
    return front(one, other, question, progress)


def _tuning(question: Question, given: Points, fitted: FittedSurrogate) -> Tuning:
    from analysis.importance.other_questions import starting_point
    from analysis.importance.tuning import tuning

    start, words = starting_point(given.default, fitted)
    return tuning(fitted, start, question.margin, question.seed, remarks=words)


def points_of(data: StudyData, question: Question) -> Points:
    """Return a study's trials as plain points, with the value that the question is about."""
    from analysis.studies.drawn import drawn_only
    from analysis.studies.targets import sampler_of, target_of
    from analysis.surrogates.encoding import common_distributions
    from analysis.surrogates.original import NOT_INSTALLED, is_installed

    target = target_of(data, question.objective, question.direction)
    target, drawn = drawn_only(data, target)
    if question.policy != "drop" and target.name not in data.objectives:
        raise InputError(
            f"pruned: {question.policy!r} needs reports of {target.name}, but the trials report "
            f"{data.objective}; allowed: drop"
        )
    if question.evaluator == "fanova-original" and not is_installed():
        raise InputError(f"evaluator: {NOT_INSTALLED}")
    every = (*target.trials, *target.pruned_trials)
    by_hand = sum(map(is_enqueued, data.complete))
    enqueued = f"{by_hand} trials were enqueued by hand and are left out: their points were chosen"
    if by_hand == 1:
        enqueued = "1 trial was enqueued by hand and is left out: its point was chosen"
    remarks = [f"{enqueued}, not sampled"] if by_hand else []
    remarks += [remark for remark in (data.sampled, drawn) if remark]
    common, changes = common_distributions(t.distributions for t in every)
    remarks += changes
    measured = (e.config for e in data.evaluations if (e.role, e.name) == ("baseline", "default"))
    return Points(
        [t.params for t in target.trials],
        target.values,
        common,
        objective=target.name,
        direction=target.direction,
        study=data.name,
        counts={
            "complete": data.counts.get("complete", 0),
            "pruned": data.counts.get("pruned", 0),
            "failed": data.counts.get("fail", 0),
        },
        pruned=target.pruned,
        best=best_point(data, target),
        default=next(measured, None),
        sampler=sampler_of(data),
        remarks=tuple(remarks),
        ranges=[t.distributions for t in target.trials] if changes else (),
        region=data.region,
    )


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
def _one_line_of(data: StudyData) -> Iterator[None]:
    """Use one thread for linear algebra, and report a user's mistake in one line."""
    try:
        with one_blas_thread():
            yield
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{data.name}: {error}") from error


# ---------------------------------------------------------------- one kind of question each


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
    """What mattered for one number of a study; the options are those of `Question`."""
    from analysis.importance.result import Importances

    question = Question(
        "variance",
        objective,
        direction,
        surrogate=surrogate,
        evaluator=evaluator,
        policy=policy,
        quantile=quantile,
        subsets=tuple(map(tuple, subsets)),
        resamples=resamples,
        seed=seed,
    )
    found = answer(question, data, progress)
    assert isinstance(found, Importances)
    return found


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
    """The answer to `best`, `gain` or `local`; the other questions have functions of their own."""
    from analysis.importance.other_questions import Answer

    options: dict[str, Any] = {"surrogate": surrogate, "quantile": quantile, "seed": seed}
    whole = Question(question, objective, direction, **options)
    if whole.kind not in (allowed := ("best", "gain", "local")):
        raise QuestionError("kind", f"must be one of {', '.join(allowed)}, got {whole.kind!r}")
    found = answer(whole, data)
    assert isinstance(found, Answer)
    return found


def tuning_of(
    data: StudyData,
    objective: str | None = None,
    seed: int = 0,
    *,
    direction: str | None = None,
    margin: float | None = None,
    fits: Fits | None = None,
) -> Tuning:
    """What tuning each parameter gains over the default, and where the score is flat.

    `fits` are those of `fits_of`, if at hand.
    """
    from analysis.importance.other_questions import FittedSurrogate
    from analysis.importance.tuning import Tuning

    question = Question("tuning", objective, direction, margin=margin, seed=seed)
    if fits is None:
        found = answer(question, data)
        assert isinstance(found, Tuning)
        return found
    with _one_line_of(data):
        given = points_of(data, question)
        known = FittedSurrogate(fits.encoding, fits.whole, given, fits.held_out_r2)
        return _tuning(question, given, known)


def front_of(
    data: StudyData,
    objective: str | None = None,
    against: str | None = None,
    seed: int = 0,
    *,
    surrogate: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> Front:
    """What matters between two values: the study's objectives, or any of `target_names`."""
    from analysis.importance.front import Front

    question = Question(
        "front", objective, against=against, surrogate=surrogate, resamples=0, seed=seed
    )
    found = answer(question, data, progress)
    assert isinstance(found, Front)
    return found


def fits_of(
    data: StudyData, objective: str | None = None, seed: int = 0, resamples: int = 20
) -> Fits:
    """The surrogates that `confounding_of`, `capacity_of` and `surface_of` share, fitted once.

    They use the same trials as `importances_of`.
    """
    from analysis.surrogates.fits import Fits

    with _one_line_of(data):
        given = points_of(data, Question(objective=objective))
        return Fits.of(
            given.points, given.values, given.distributions, seed=seed, resamples=resamples
        )


def confounding_of(
    data: StudyData,
    objective: str | None = None,
    seed: int = 0,
    resamples: int = 20,
    *,
    fits: Fits | None = None,
) -> Confounding | None:
    """The joint effect of alpha, rank and learning rate, and the product that explains it best.

    None where fewer than two of them varied.  `fits` are those of `fits_of`, if at hand.
    """
    from analysis.importance.confounding import confounding

    with _one_line_of(data):
        return confounding(fits or fits_of(data, objective, seed, resamples))


def capacity_of(
    data: StudyData,
    objective: str | None = None,
    seed: int = 0,
    resamples: int = 20,
    *,
    fits: Fits | None = None,
) -> Confounding | None:
    """How far the number of trainable parameters explains the joint effect of rank and modules.

    None where one of them did not vary, or the trials do not record the number.
    """
    from analysis.importance.capacity import capacity
    from analysis.studies.targets import target_of, value_of

    trials = target_of(data, objective).trials
    trainable = [value_of(data, t, "trainable_parameters") for t in trials]
    with _one_line_of(data):
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

    None where the study lacks those two.  Raises InputError for a named one without an effect.
    """
    from analysis.importance.confounding import roles_in

    with _one_line_of(data):
        fits = fits or fits_of(data, objective, seed)
        if names is None:
            roles = roles_in(fits.encoding.names)
            if not {"alpha", "learning_rate"} <= set(roles) or not fits.say_something:
                return None
            names = roles["alpha"], roles["learning_rate"]
        return fits.surface(names)
