"""How reliable an importance is: chance lines, intervals, reasons for doubt, trials needed.

The chance line is what a parameter without effect reaches on these trials.  What the other
parameters leave unexplained is held fixed and one parameter's column is permuted.  Where the
parameters were sampled independently, that is an exact test of "this one has no effect", whatever
the shape of the other effects (Pesarin, Salmaso 2010, ch. 2).  All parameters are judged
together by their smallest p-value (Westfall, Young 1993), so the chance of calling any parameter
significant in a study where none matters stays below LEVEL.

How many more trials would decide the rest?  A share is a square of effects, so for a small one the
chance line, the error of the estimate and the end of its interval all fall as 1 / N.  (Assuming
1 / √N, as for the interval of a large share, gave up to three times too many trials:
`benchmarks/more_trials.py`.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.comparison.permutation import LEVEL
from analysis.importance.result import Importances, ParameterImportance
from analysis.parallel import each
from analysis.surrogates.choice import Blind, r2_in_words
from analysis.surrogates.encoding import Array, Column, Encoding

PERMUTATIONS = 999
CURVES = 4  # cosines to test a parameter's effect against, the k-th with weight 1/k
JOINT_PENALTY = 4.0  # a modulating effect must be this much clearer: most effects are main effects
MIN_TRIALS = 16
TRIALS_PER_PARAMETER = 4
SMALL = 0.05  # the share below which a parameter is not worth searching
LEAST_GROWTH = 1.1  # times the trials: a smaller growth is not worth mentioning
MIN_R2 = 0.1  # below it the surrogate predicts held-out trials hardly better than their mean


@dataclass(frozen=True)
class Chance:
    """Per parameter (D,): the line that a parameter without effect stays below, and the verdict.

    `line` is the share of the variance that 95 of 100 such parameters stay below; `p` tests
    effects of any kind and is adjusted for the number of parameters.  `raw` is the share that the
    parameter's curve explains of the residuals, without a surrogate's caution.
    """

    line: Array
    raw: Array
    p: Array

    @property
    def has_effect(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Return which parameters have an effect, alone or with others, (D,)."""
        return np.asarray(self.p <= LEVEL)

    def significant(self, shares: Array) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Return which of these main effects (D,) are real and beyond the chance line.

        A parameter that only acts through others has an effect, but no significant main effect.
        """
        return np.asarray(self.has_effect & (np.maximum(shares, self.raw) > self.line))


def chance(
    units: Array,
    blind_to: Callable[[int], Blind],
    variance: float,
    columns: Sequence[Column],
    seed: int = 0,
    permutations: int = PERMUTATIONS,
    tick: Callable[[], None] = lambda: None,
) -> Chance:
    """Test each parameter on what a model without it leaves unexplained.

    Two statistics per parameter: how much of the residuals its own curve explains, as a share of
    `variance` (or of the residuals', if that is larger), and how much it modulates the effects of
    the others (a score statistic).
    """
    count = len(units)
    order = np.tile(np.arange(count), (permutations + 1, 1))
    order[1:] = np.random.default_rng([seed, 1]).permuted(order[1:], axis=1)

    def statistics(j: int) -> tuple[Array, Array, float]:
        left = blind_to(j)
        found = _statistics(left, *curve_basis(columns[j], units[:, j]), order)
        return *found, float(np.var(left.residuals))

    found = []
    for one in each(statistics, range(len(columns))):
        found.append(one)
        tick()
    main, joint, left_over = map(np.array, zip(*found, strict=True))
    scale = max(variance, left_over.max(), np.finfo(float).tiny) * count
    return _judged(main / scale, joint)


def _statistics(left: Blind, basis: Array, weight: Array, order: Any) -> tuple[Array, Array]:
    """Return both statistics of a (N, Q) basis for (P, N) orders of its rows, (P,) each."""
    centred = left.residuals - left.residuals.mean()
    main, joint = np.zeros(len(order)), np.zeros(len(order))
    for curve, w in zip(basis.T, weight, strict=True):
        moved = curve[order]  # (P, N)
        main += w * (moved @ centred) ** 2
        joint += w * np.einsum("pn,pn->p", moved @ left.score, moved)
    return main, joint


def curve_basis(column: Column, unit: Array) -> tuple[Array, Array]:
    """Return an orthonormal basis (N, Q) of curves along one parameter, and its weights (Q,)."""
    if column.is_categorical:
        levels = np.unique(unit)
        raw = (unit[:, None] == levels[None, 1:]).astype(float)
        weight = np.ones(raw.shape[1])
    else:
        waves = np.arange(1, min(CURVES, len(np.unique(unit)) - 1) + 1)
        raw = np.cos(np.pi * np.outer(unit, waves))
        weight = 1.0 / waves
    basis, triangle = np.linalg.qr(np.column_stack([np.ones(len(unit)), raw]))
    independent = np.abs(np.diag(triangle)[1:]) > 1e-9
    return basis[:, 1:][:, independent], weight[independent]


def _judged(main: Array, joint: Array) -> Chance:
    """Turn (D, 1 + P) statistics, the observed one first in each row, into lines and p-values."""
    p_main = _p_values(main)
    either = np.minimum(p_main, JOINT_PENALTY * _p_values(joint))
    line = np.quantile(main[:, 1:], 1.0 - LEVEL, axis=1)
    return Chance(line, main[:, 0], _adjusted(either))


def _p_values(statistics: Array) -> Array:
    """Return for each entry the share of its row that is at least as large, itself included."""
    fewer = [np.searchsorted(np.sort(row), row, side="left") for row in statistics]
    return np.asarray(1.0 - np.array(fewer) / statistics.shape[1])


def _adjusted(p: Array) -> Array:
    """Return (D,) p-values of the observed entries, compared with the smallest of any parameter."""
    smallest = p.min(axis=0)
    return np.array([float(np.mean(smallest <= own + 1e-12)) for own in p[:, 0]])


def intervals(estimate: Array, resampled: Array, kept: float) -> tuple[Array, Array]:
    """Return 95 % intervals (low, high) of estimates (...) from (B, ...) refits on subsamples.

    Each refit saw a share `kept` of the trials, without replacement: a bootstrap would make
    duplicates, which a Gaussian process takes for proof of noiseless values.  The refits' spread
    times √(kept / (1 - kept)) is that of the estimate (the delete-d jackknife of Shao, Wu 1989); it
    is placed around the estimate, since refits on fewer trials are systematically more cautious.
    """
    spread = 1.96 * np.sqrt(kept / (1.0 - kept)) * resampled.std(axis=0)
    return np.clip(estimate - spread, 0.0, 1.0), np.clip(estimate + spread, 0.0, 1.0)


def rank_stability(estimate: Array, resampled: Array) -> dict[str, float]:
    """Return how often refits (B, D) agree on the first parameter, and on each pair's order."""
    first = float(np.mean(resampled.argmax(axis=1) == estimate.argmax()))
    j, k = np.triu_indices(len(estimate), 1)
    if len(j) == 0:
        return {"first": first, "order": 1.0}
    order = np.sign(resampled[:, j] - resampled[:, k]) == np.sign(estimate[j] - estimate[k])
    return {"first": first, "order": float(order.mean())}


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


def doubts(trials: int, parameters: int, held_out_r2: float) -> list[str]:
    """Return the reasons why importances are unreliable; empty where they are reliable."""
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
    return reasons


def is_open(effect: ParameterImportance) -> bool:
    """Return whether a share is neither beyond chance nor clearly below SMALL."""
    return not effect.significant and effect.ci[1] >= SMALL


def undecided(found: Importances) -> tuple[str, ...]:
    """Return the parameters that are neither beyond chance nor known to have a small share."""
    return tuple(p.name for p in found.parameters if is_open(p))


def more_trials(found: Importances, among: Container[str] | None = None) -> int | None:
    """Estimate how many more trials would decide every undecided parameter, or those of `among`.

    Decided means that the share rises above the chance line or its interval ends below SMALL,
    whichever comes first.  An unreliable study needs twice the trials, and at least MIN_TRIALS.
    """
    used = found.trials["used"]
    needed = []
    for effect in found.parameters:
        if is_open(effect) and (among is None or effect.name in among):
            visible = effect.null / effect.importance if effect.importance > 0 else math.inf
            needed.append(used * max(min(visible, effect.ci[1] / SMALL), LEAST_GROWTH))
    if not found.reliable:
        needed.append(max(2 * used, MIN_TRIALS))
    return math.ceil(max(needed) - used) if needed else None
