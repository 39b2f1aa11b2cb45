"""How reliable an importance is: intervals, the sample, reasons for doubt, trials needed.

How many more trials would decide what is undecided?  A share is a square of effects, so for a small
one the evidence for it grows as N, and the error of the estimate and the end of its interval fall
as 1 / N.  (Assuming 1 / √N, as for the interval of a large share, gave up to three times too many
trials: `benchmarks/more_trials.py`.)
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.importance.result import Importances, ParameterImportance
from analysis.significance import LEVEL
from analysis.surrogates.choice import r2_in_words
from analysis.surrogates.encoding import HARDLY_VARIED, Array, Column, Encoding
from analysis.wording import NOT_FINITE, listing, percent, setting
from study.kinds.samplers import SAMPLERS

MIN_TRIALS = 16
TRIALS_PER_PARAMETER = 4
SMALL = 0.05  # the share below which a parameter is not worth searching
LEAST_GROWTH = 1.1  # times the trials: a smaller growth is not worth mentioning
ADAPTIVE = {name for name, kind in SAMPLERS.items() if kind.learns} | {"cmaes", "nsga2"}
"""Samplers that follow the scores: ours, and those of Optuna that a study file cannot name."""
LEAST_COVERED = 0.75  # of a parameter's range, where the trials are not a uniform sample
CELL = 10  # trials that a cell of a range would have
MOST = 0.8  # of the trials, to say where they are
MIN_R2 = 0.1  # below it the surrogate predicts held-out trials hardly better than their mean
MIN_R2_OF_A_FOREST = 0.4  # below it its intervals held the truth too rarely (interval_coverage)


def intervals(estimate: Array, resampled: Array, kept: float) -> tuple[Array, Array]:
    """Return 95 % intervals (low, high) of estimates (...) from (B, ...) refits on subsamples.

    Each refit saw a share `kept` of the trials, without replacement: a bootstrap would make
    duplicates, which a Gaussian process takes for proof of noiseless values.  The refits' spread
    times √(kept / (1 - kept)) is that of the estimate (the delete-d jackknife of Shao, Wu 1989); it
    is placed around the estimate, since refits on fewer trials are systematically more cautious.
    NaN stands for what a refit left out; few refits make the interval wider (Student's t).
    """
    from scipy.stats import t

    seen = np.sum(~np.isnan(resampled), axis=0)
    mean = np.nansum(resampled, axis=0) / np.maximum(seen, 1)
    deviation = np.sqrt(np.nansum((resampled - mean) ** 2, axis=0) / np.maximum(seen - 1, 1))
    times = t.ppf(0.975, np.maximum(seen - 1, 1))
    spread = times * np.sqrt(kept / (1.0 - kept)) * deviation
    return np.clip(estimate - spread, 0.0, 1.0), np.clip(estimate + spread, 0.0, 1.0)


def rank_stability(estimate: Array, resampled: Array) -> dict[str, float]:
    """Return how often refits (B, D) agree on the first parameter, and on each pair's order."""
    first = float(np.mean(np.nanargmax(resampled, axis=1) == estimate.argmax()))
    j, k = np.triu_indices(len(estimate), 1)
    if len(j) == 0:
        return {"first": first, "order": 1.0}
    apart = resampled[:, j] - resampled[:, k]
    order = np.sign(apart) == np.sign(estimate[j] - estimate[k])
    return {"first": first, "order": float(order[~np.isnan(apart)].mean())}


@dataclass(frozen=True)
class Uniformity:
    """How far the trials are from a uniform sample of the cube.

    `distance` is the largest Kolmogorov-Smirnov distance of any parameter, that of `parameter`;
    `p` is its chance under uniform sampling, corrected for the number of parameters (conservative
    for parameters with levels); `correlation` is the largest absolute rank correlation of two.
    """

    parameter: str
    distance: float
    p: float
    correlation: float

    @property
    def is_uniform(self) -> bool:
        """Whether the trials could be a uniform sample."""
        return self.p > LEVEL / 5


def uniformity_of(encoding: Encoding) -> Uniformity:
    """Measure the trials against a uniform sample."""
    from scipy.stats import kstwobign, rankdata

    count = len(encoding.units)
    distances = [
        _distance(c, np.sort(encoding.units[:, j])) for j, c in enumerate(encoding.columns)
    ]
    worst = int(np.argmax(distances))
    p = min(float(kstwobign.sf(np.sqrt(count) * distances[worst])) * len(distances), 1.0)
    ranks = rankdata(encoding.units, axis=0)
    between = np.abs(np.corrcoef(ranks.T)) if len(distances) > 1 else np.eye(1)
    correlation = float(np.max(between - np.eye(len(between))))
    return Uniformity(encoding.names[worst], float(distances[worst]), p, correlation)


@dataclass(frozen=True)
class Coverage:
    """How much of a parameter's range the trials cover, and where most of them are.

    `parameter` is the one with the smallest `covered` share: of its range, cut into cells, the part
    in cells that have at least half of the trials that they would have under a uniform sample.
    `inside` (0 to 1) of the trials have values from `low` to `high`.
    """

    parameter: str
    covered: float
    low: Any
    high: Any
    inside: float

    @property
    def region(self) -> str:
        """Where most of the trials are, in words."""
        span = f"= {setting(self.low)}"
        if self.high != self.low:
            span = f"between {setting(self.low)} and {setting(self.high)}"
        return f"{percent(self.inside)} of the trials have {self.parameter} {span}"


def coverage_of(encoding: Encoding) -> Coverage:
    """Measure which part of the space the trials cover, along the parameter covered least."""
    found = [
        (_covered(c, unit), j)
        for j, (c, unit) in enumerate(zip(encoding.columns, encoding.units.T, strict=True))
    ]
    covered, worst = min(found)
    column, unit = encoding.columns[worst], np.sort(encoding.units[:, worst])
    if column.is_categorical:
        level, count = np.unique(unit, return_counts=True)
        low = high = float(level[count.argmax()])
    else:
        most = max(int(np.ceil(MOST * len(unit))), 1)
        start = int(np.argmin(unit[most - 1 :] - unit[: len(unit) - most + 1]))
        low, high = float(unit[start]), float(unit[start + most - 1])
    inside = float(np.mean((unit >= low) & (unit <= high)))
    return Coverage(column.name, covered, column.value_at(low), column.value_at(high), inside)


def _covered(column: Column, unit: Array) -> float:
    """Return the share of a column's range in cells with half of their trials or more."""
    cells = int(np.clip(len(unit) // CELL, 2, 10))
    if column.positions is None or column.weights is None:
        expected = np.full(cells, 1.0 / cells)
        cell = np.minimum((unit * cells).astype(int), cells - 1)
    else:
        expected = column.weights
        cell = np.abs(unit[:, None] - column.positions).argmin(axis=1)
    count = np.bincount(cell, minlength=len(expected))
    return float(expected[count * 2 >= expected * len(unit)].sum())


def _distance(column: Column, ordered: Array) -> float:
    count = len(ordered)
    if column.positions is None or column.weights is None:
        rank = np.arange(count + 1) / count
        return float(np.max(np.maximum(rank[1:] - ordered, ordered - rank[:-1])))
    below = np.searchsorted(ordered, column.positions, side="right") / count
    return float(np.max(np.abs(below - np.cumsum(column.weights))))


def sampling_doubts(
    sampler: str | None,
    uniformity: Uniformity,
    coverage: Coverage,
    excluded: Mapping[str, str],
    pruned: int = 0,
) -> list[str]:
    """Return why the trials are no sample of the whole space, and where they are.

    A sampler that follows the scores leaves parts out, whatever the rest looks like.  Trials that
    nothing is known about are judged by what they cover.
    """
    follows = sampler in ADAPTIVE
    narrow = coverage.covered < LEAST_COVERED
    reasons = []
    if follows and not uniformity.is_uniform:
        reasons.append(
            f"{sampler} chose the trials by earlier scores: parts of the search space are left out "
            f"({coverage.region}), and no test against chance holds"
        )
    elif narrow and not uniformity.is_uniform:
        without = f", without {pruned} pruned trial{'s' * (pruned != 1)}" if pruned else ""
        reasons.append(
            f"the trials leave out parts of the search space: {coverage.region}{without}"
        )
    crowded = [name for name, why in excluded.items() if why.startswith(HARDLY_VARIED)]
    if crowded and (follows or reasons):
        reasons.append(f"{listing(crowded)} hardly varied, and may matter where no trials are")
    return reasons


def doubts(trials: int, parameters: int, held_out_r2: float, least_r2: float = MIN_R2) -> list[str]:
    """Return the reasons why importances are unreliable; empty where they are reliable."""
    reasons = []
    needed = max(MIN_TRIALS, TRIALS_PER_PARAMETER * parameters)
    if trials < needed:
        reasons.append(
            f"{trials} trials are too few for {parameters} parameter{'s' * (parameters != 1)} "
            f"(at least {needed} are needed)"
        )
    if not held_out_r2 >= least_r2:  # so that NaN counts as unreliable
        shown = r2_in_words(min(held_out_r2, least_r2 - 0.01))  # below the limit when rounded too
        reasons.append(
            f"the surrogate cannot predict held-out trials (R² {shown}, at least {least_r2} is "
            "needed)"
        )
    return reasons


def nothing_to_say(target: Array, encoding: Encoding) -> str | None:
    """Return why the trials allow no answer; None where they allow one."""
    if len(target) == 0:
        return "no sampled trial finished with a finite value"
    if len(target) == 1:
        return "only one trial finished, so nothing varies"
    if np.ptp(target) <= 1e-12 * max(np.abs(target).max(), 1e-300):
        same = "the value" if np.ptp(target) == 0 else "up to rounding the value"
        return f"the objective is constant: all {len(target)} trials have {same} {target[0]:g}"
    if not encoding.columns:
        return "no parameter varied over the trials"
    if len(target) < 5:
        return f"{len(target)} trials are too few: a surrogate needs at least 5"
    return None


def remarks_on(
    encoding: Encoding, not_finite: int, pruned: int, policy: str, failed: int = 0
) -> list[str]:
    """Say which parameters and which trials are left out, or count otherwise than measured."""
    remarks = [f"{name} is left out: {why}" for name, why in encoding.excluded.items()]
    remarks += [
        f"{name} is inactive in {count} of {len(encoding.units)} trials and counts as having no "
        "effect there"
        for name, count in encoding.inactive.items()
    ]
    if not_finite:
        many = "1 trial has" if not_finite == 1 else f"{not_finite} trials have"
        remarks.append(f"{many} {NOT_FINITE}, and {'is' if not_finite == 1 else 'are'} left out")
    treated = {
        "drop": "left out, which biases the sample",
        "last": "counted with the last report",
        "worst": "counted with the worst value of a finished trial",
    }
    if pruned:
        were = "1 pruned trial was" if pruned == 1 else f"{pruned} pruned trials were"
        remarks.append(f"{were} {treated[policy]}")
    if failed:
        remarks.append(f"{failed} failed trial{'s have' if failed > 1 else ' has'} no value")
    return remarks


def is_open(effect: ParameterImportance) -> bool:
    """Return whether a share is neither beyond chance nor clearly below SMALL."""
    return not effect.significant and effect.ci[1] >= SMALL


def undecided(found: Importances) -> tuple[str, ...]:
    """Return the parameters that are neither beyond chance nor known to have a small share."""
    return tuple(p.name for p in found.parameters if is_open(p))


def more_trials(found: Importances, among: Container[str] | None = None) -> int | None:
    """Estimate how many more trials would decide every undecided parameter, or those of `among`.

    Decided means that the parameter is beyond chance or its interval ends below SMALL, whichever
    comes first.  An unreliable study needs twice the trials, and at least MIN_TRIALS.
    """
    used = found.trials["used"]
    needed = []
    for effect in found.parameters:
        if is_open(effect) and (among is None or effect.name in among):
            visible = math.log(LEVEL) / math.log(effect.p) if effect.p < 1 else math.inf
            needed.append(used * max(min(visible, effect.ci[1] / SMALL), LEAST_GROWTH))
    if not found.reliable:
        needed.append(max(2 * used, MIN_TRIALS))
    return math.ceil(max(needed) - used) if needed else None
