"""How reliable an importance is: intervals, the sample, reasons for doubt, trials needed.

How many more trials would decide what is undecided?  A share is a square of effects, so for a small
one the evidence for it grows as N, and the error of the estimate and the end of its interval fall
as 1 / N.  (Assuming 1 / √N, as for the interval of a large share, gave up to three times too many
trials: `benchmarks/more_trials.py`.)
"""

from __future__ import annotations

import math
from collections.abc import Container
from dataclasses import dataclass

import numpy as np

from analysis.importance.result import Importances, ParameterImportance
from analysis.significance import LEVEL
from analysis.surrogates.choice import r2_in_words
from analysis.surrogates.encoding import Array, Column, Encoding
from study.kinds.samplers import SAMPLERS

MIN_TRIALS = 16
TRIALS_PER_PARAMETER = 4
SMALL = 0.05  # the share below which a parameter is not worth searching
LEAST_GROWTH = 1.1  # times the trials: a smaller growth is not worth mentioning
ADAPTIVE = {name for name, kind in SAMPLERS.items() if kind.learns} | {"cmaes", "nsga2"}
"""Samplers that follow the scores: ours, and those of Optuna that a study file cannot name."""
MIN_R2 = 0.1  # below it the surrogate predicts held-out trials hardly better than their mean


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


def _distance(column: Column, ordered: Array) -> float:
    count = len(ordered)
    if column.positions is None or column.weights is None:
        rank = np.arange(count + 1) / count
        return float(np.max(np.maximum(rank[1:] - ordered, ordered - rank[:-1])))
    below = np.searchsorted(ordered, column.positions, side="right") / count
    return float(np.max(np.abs(below - np.cumsum(column.weights))))


def doubts(
    trials: int, parameters: int, held_out_r2: float, followed_by: str | None = None
) -> list[str]:
    """Return the reasons why importances are unreliable; empty where they are reliable.

    `followed_by` names a sampler that followed the scores into a part of the search space.
    """
    reasons = []
    needed = max(MIN_TRIALS, TRIALS_PER_PARAMETER * parameters)
    if trials < needed:
        reasons.append(
            f"{trials} trials are too few for {parameters} parameter{'s' * (parameters != 1)} "
            f"(at least {needed} are needed)"
        )
    if not held_out_r2 >= MIN_R2:  # so that NaN counts as unreliable
        shown = r2_in_words(min(held_out_r2, MIN_R2 - 0.01))  # below the limit when rounded too
        reasons.append(
            f"the surrogate cannot predict held-out trials (R² {shown}, at least {MIN_R2} is "
            "needed)"
        )
    if followed_by:
        reasons.append(
            f"{followed_by} chose the trials by earlier scores: parts of the search space are left "
            "out, and no test against chance holds"
        )
    return reasons


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
