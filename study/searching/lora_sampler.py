"""An Optuna sampler for LoRA: expected improvement in `Coordinates`, and some Sobol points.

Three proposals of four maximise the expected improvement of a Gaussian process (Jones et al. 1998)
over lr · alpha / rank^p, the learning rate, the rank and whatever else the space has; every fourth,
on average, is a point of a Sobol sequence, so that a start in the wrong place is left again.  Those
are marked, since importances may be computed from them alone.

Several objectives are joined by random weights, drawn anew for each proposal (ParEGO, Knowles
2006).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.search_space import IntersectionSearchSpace
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from typing_extensions import override

from search_spaces.unit_cube import from_unit, holds
from study.kinds.goals import DRAWN
from study.kinds.metrics import Array
from study.kinds.schedules import rung_values, rungs_of
from study.searching.brackets import is_aside
from study.searching.coordinates import Coordinates
from study.searching.gaussian_process import Process, fit_process
from study.searching.ladder import GrowingLadder
from study.searching.points import random_value, sobol_point
from study.seeds import derive_seed

RUNG = "optuna_study:rung"
"""The system attribute of a trial whose point is a rung that the ladder grew by."""
FAILURE = "failure"
"""The user attribute with the reason why a training failed by itself."""

EXPLORE = 0.25
STARTUP = 8  # trials, in training or ended, before the first model: fewer mistake noise for signal
LEAST_RESULTS = 4  # results before the first model
LEAST_FOR_REPORTS = 5  # finished trials before reports are regressed on final values
MOST_TRIALS = 200  # more are thinned to the best and the latest
CANDIDATES, NEIGHBOURS, NEAR = 384, 32, 4  # random points, and points around each of the best
SPREAD = 0.1  # of neighbours, in the unit cube
WEAK = 0.05  # ParEGO's weight of the sum of all objectives

Values: TypeAlias = Sequence[float | None]
"""The objectives' values of a trial, at its end or at a report."""


class LoraSampler(BaseSampler):
    """Proposes points for LoRA trainings; usable in any `study.optimize`.

    Args:
        seed: Of every draw; a proposal depends on it, on the trial's number and on the results.
        search_space: Name to distribution.  Without it, the parameters that all trials share are
            proposed together and others at random; with it, parameters with conditions are
            proposed too.
        index: The number of the Sobol point, instead of the trial's number.
        growing: The ladder that the search started on; it goes on until learning has begun.
        explore: The share of Sobol points among the proposals.
    """

    def __init__(
        self,
        seed: int | None = None,
        *,
        search_space: Mapping[str, BaseDistribution] | None = None,
        index: int | None = None,
        growing: GrowingLadder | None = None,
        explore: float = EXPLORE,
    ) -> None:
        if not 0.0 <= explore <= 1.0:
            raise ValueError(f"explore: must be between 0 and 1, got {explore}")
        self._seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed
        self._space = None if search_space is None else dict(search_space)
        self._common = IntersectionSearchSpace(include_pruned=True)
        self._index = index
        self._growing = growing
        self._explore = explore

    @override
    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        space = self._common.calculate(study) if self._space is None else self._space
        return {name: d for name, d in space.items() if not d.single()}

    @override
    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if not search_space:
            return {}
        index = self._index_of(trial)
        rng = np.random.default_rng(derive_seed(self._seed, index, "proposal"))
        explores = bool(rng.random() < self._explore)
        trials = study.get_trials(deepcopy=False)
        known = None if explores else results_of(study.directions, trials, search_space, rng)
        running = [
            t.params
            for t in trials
            if t.state == TrialState.RUNNING
            and not is_aside(t.user_attrs)
            and t.number != trial.number
            and _lies_in(t.params, search_space)
        ]
        if known is None or len(known.points) + len(running) < STARTUP:
            study._storage.set_trial_system_attr(trial._trial_id, DRAWN, True)
            units = sobol_point(len(search_space), self._seed, index)
            return _values(search_space, units, sorted(search_space))
        if (rung := self._next_rung(study, trials, known)) is not None:
            study._storage.set_trial_system_attr(trial._trial_id, RUNG, True)
            return {name: value for name, value in rung.items() if name in search_space}
        coordinates = Coordinates.of(search_space)
        process = known.fitted(coordinates)
        units = _candidates(process, rng)
        best = int(np.argmax(process.improvement(units, coordinates.units(running))))
        return _values(search_space, units[best], list(search_space))

    def _next_rung(
        self, study: optuna.Study, trials: Sequence[FrozenTrial], known: Known
    ) -> dict[str, Any] | None:
        """Return the ladder's next rung, if no trial is clearly better than the untrained model."""
        if self._growing is None or len(study.directions) > 1:
            return None
        sign = 1.0 if study.direction == StudyDirection.MAXIMIZE else -1.0
        if known.values.max() > sign * self._growing.bar:
            return None
        return self._growing.rung(sum(RUNG in t.system_attrs for t in trials))

    @override
    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        return random_value(self._seed, self._index_of(trial), param_name, param_distribution)

    def _index_of(self, trial: FrozenTrial) -> int:
        return trial.number if self._index is None else self._index


# ---------------------------------------------------------------- what is known


@dataclass(frozen=True)
class Known:
    """N ended trials: points, values (N,) to maximise, and variances (N,) of those estimated."""

    points: Sequence[Mapping[str, Any]]
    values: Array
    extra: Array

    def fitted(self, coordinates: Coordinates) -> Process:
        """Return a process fitted to at most MOST_TRIALS of the trials."""
        kept = np.arange(len(self.values))
        if len(kept) > MOST_TRIALS:
            best = np.argsort(-self.values)[: MOST_TRIALS // 2]
            latest = np.setdiff1d(kept, best)[-(MOST_TRIALS - len(best)) :]
            kept = np.sort(np.concatenate([best, latest]))
        units = coordinates.units([self.points[i] for i in kept.tolist()])
        return fit_process(coordinates, units, self.values[kept], self.extra[kept])


def results_of(
    directions: Sequence[StudyDirection],
    trials: Sequence[FrozenTrial],
    space: Mapping[str, BaseDistribution],
    rng: np.random.Generator,
) -> Known | None:
    """Return what ended trials tell about a space; None if too few have a final value.

    A trial that was pruned, or put aside at a rung, counts with the final value that its last
    report lets expect, and one without such a report, or whose training failed, with the worst one.
    """
    signs = np.array([1.0 if d == StudyDirection.MAXIMIZE else -1.0 for d in directions])
    inside = [t for t in trials if _lies_in(t.params, space)]
    complete = [
        t for t in inside if t.state == TrialState.COMPLETE and np.isfinite(t.values or []).all()
    ]
    aside = [t for t in inside if t.state != TrialState.COMPLETE and is_aside(t.user_attrs)]
    if not complete or len(complete) + len(aside) < LEAST_RESULTS:
        return None
    values = [t.values for t in complete]
    join = _joining(signs, values, rng)
    finals, reports = join(values), [_reports(t) for t in complete]
    left = aside + [t for t in inside if t.state == TrialState.PRUNED and t not in aside]
    left += [t for t in inside if t.state == TrialState.FAIL and FAILURE in t.user_attrs]
    guesses = [_expected(t, finals, reports, join) for t in left]
    expected = [value for value, _ in guesses]
    variances = [variance for _, variance in guesses]
    return Known(
        [t.params for t in (*complete, *left)],
        np.concatenate([finals, expected]),
        np.concatenate([np.zeros(len(finals)), variances]),
    )


def _joining(
    signs: Array, finals: Sequence[Values], rng: np.random.Generator
) -> Callable[[Sequence[Values]], Array]:
    """Return what makes one value to maximise of M values each: K trials -> (K,).

    Reports are joined by the weights and ranges of the final values.
    """
    if len(signs) == 1:
        return lambda values: (signs * np.array(values, dtype=float))[:, 0]
    whole = signs * np.array(finals, dtype=float)  # (N, M)
    low, width = whole.min(axis=0), np.ptp(whole, axis=0)
    weights = rng.dirichlet(np.ones(len(signs)))

    def joined(values: Sequence[Values]) -> Array:
        scaled = (signs * np.array(values, dtype=float) - low) / np.where(width > 0, width, 1.0)
        weighted = weights * scaled
        return np.asarray(weighted.min(axis=1) + WEAK * weighted.sum(axis=1))

    return joined


def _reports(trial: FrozenTrial) -> dict[int, Values]:
    """Return what a trial has reported, by step: to Optuna, or of several objectives at rungs."""
    single: dict[int, Values] = {step: [v] for step, v in trial.intermediate_values.items()}
    return single or {rung["step"]: rung_values(rung) for rung in rungs_of(trial.user_attrs)}


def _expected(
    trial: FrozenTrial,
    finals: Array,
    reports: Sequence[Mapping[int, Values]],
    join: Callable[[Sequence[Values]], Array],
) -> tuple[float, float]:
    """Return the final value that a trial would have had, and its variance.

    `finals` and `reports` are those of the finished trials.  It is regressed on their reports at
    the same step, with a ridge towards equal ranges, since few have finished.
    """
    worst = float(finals.min()), 0.0
    is_known = trial.state == TrialState.PRUNED or is_aside(trial.user_attrs)
    own = _reports(trial) if is_known else {}
    step = max(own, default=0)
    places = [place for place, of_trial in enumerate(reports) if step in of_trial]
    if not own or not places:
        return worst
    value, *others = join([own[step], *(reports[place][step] for place in places)]).tolist()
    then, ends = np.array(others), finals[places]
    then, ends = then[np.isfinite(then)], ends[np.isfinite(then)]
    if not math.isfinite(value):
        return worst
    if 0 < len(ends) < LEAST_FOR_REPORTS and is_aside(trial.user_attrs):
        gap = ends - then  # what finished trials gained from there; the best ones, so at most
        return value + float(gap.mean()), float((gap.mean() / 2) ** 2 + gap.var())
    if len(ends) < LEAST_FOR_REPORTS or not then.std() or not ends.std():
        return worst
    x, y = then - then.mean(), ends - ends.mean()
    ridge = 2.0 * then.std()
    slope = max(float((x @ y + ridge * ends.std()) / (x @ x + ridge * then.std())), 0.0)
    scatter = float(((y - slope * x) ** 2).sum() + 0.5 * ends.var()) / (len(ends) + 2)
    return float(ends.mean() + slope * (value - then.mean())), scatter


def _lies_in(point: Mapping[str, Any], space: Mapping[str, BaseDistribution]) -> bool:
    """Return whether a point has parameters of the space, with values that it allows."""
    shared = [name for name in point if name in space]
    return bool(shared) and all(holds(space[name], point[name]) for name in shared)


# ---------------------------------------------------------------- what to try


def _candidates(process: Process, rng: np.random.Generator) -> Array:
    """Return positions (Q, D): random ones, and some around the best trials."""
    dimensions = process.units.shape[1]
    groups = [rng.random((CANDIDATES, dimensions))]
    for place in np.argsort(-process.values)[:NEAR]:
        near = process.units[place] + rng.normal(0.0, SPREAD, (NEIGHBOURS, dimensions))
        for i, axis in enumerate(process.coordinates.axes):
            if axis.ends is None:  # choices without order have no neighbours
                jumps = rng.random(NEIGHBOURS) < 1.0 / dimensions
                near[:, i] = np.where(jumps, rng.random(NEIGHBOURS), process.units[place, i])
        groups.append(np.clip(near, 0.0, 1.0 - 1e-9))
    return np.vstack(groups)


def _values(
    space: Mapping[str, BaseDistribution], units: Array, names: Sequence[str]
) -> dict[str, Any]:
    """Return the values at a position (D,), whose coordinates have these names."""
    return {name: from_unit(space[name], float(units[i])) for i, name in enumerate(names)}
