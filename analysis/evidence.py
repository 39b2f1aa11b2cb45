"""How far an importance can be believed: chance lines, intervals, reasons.

The chance line asks what a parameter of no effect reaches on these trials.  What the other
parameters do not explain is held fixed and one parameter's column is permuted: where the
parameters were sampled independently that is an exact test of "this one has no effect", whatever
the shape of the effects of the others (Pesarin, Salmaso 2010, ch. 2).  All parameters are judged
together by their smallest p-value (Westfall, Young 1993), so the chance of calling any parameter
significant in a study where none matters stays below LEVEL.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.encoding import Array, Column

LEVEL = 0.05  # accepted chance of any false positive in a study
PERMUTATIONS = 999
DEGREE = 4  # a parameter's curve is tested as a polynomial of this degree
DECAY = 0.5  # each degree counts this much of the one before: smooth effects are likelier
MIN_TRIALS = 16
TRIALS_PER_PARAMETER = 4
MIN_R2 = 0.1  # below it the surrogate predicts held-out trials hardly better than their mean


@dataclass(frozen=True)
class Chance:
    """Per parameter (D,): the line a parameter of no effect stays below, and the p-values.

    `line` is a share of the values' variance; `p` is adjusted for the number of parameters.
    """

    line: Array
    share: Array
    p: Array

    @property
    def significant(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Return which parameters reach more than chance, (D,)."""
        return np.asarray(self.p <= LEVEL)


def chance(
    units: Array,
    residuals: Array,
    variance: float,
    columns: Sequence[Column],
    seed: int = 0,
    permutations: int = PERMUTATIONS,
) -> Chance:
    """Test every parameter on what the others leave unexplained.

    `residuals` is (D, N): row j holds the values less a prediction that never saw parameter j.
    Shares are of N · `variance`.
    """
    rng = np.random.default_rng([seed, len(residuals), 1])
    order = rng.permuted(np.tile(np.arange(units.shape[0]), (permutations, 1)), axis=1)
    order = np.vstack([np.arange(units.shape[0]), order])  # the first is the truth
    scale = max(variance * units.shape[0], np.finfo(float).tiny)
    shares = np.empty((len(columns), permutations + 1))
    for j, column in enumerate(columns):
        basis, weight = curve_basis(column, units[:, j])
        centred = residuals[j] - residuals[j].mean()
        shares[j] = (centred[order] @ basis) ** 2 @ weight / scale
    return _judged(shares)


def curve_basis(column: Column, unit: Array) -> tuple[Array, Array]:
    """Return an orthonormal basis (N, Q) of curves along one parameter, and its weights (Q,)."""
    if column.is_categorical:
        levels = np.unique(unit)
        raw = (unit[:, None] == levels[None, 1:]).astype(float)
        weight = np.ones(raw.shape[1])
    else:
        degree = min(DEGREE, len(np.unique(unit)) - 1)
        raw = np.polynomial.legendre.legvander(2 * unit - 1, degree)[:, 1:]
        weight = DECAY ** np.arange(degree)
    basis, triangle = np.linalg.qr(np.column_stack([np.ones(len(unit)), raw]))
    independent = np.abs(np.diag(triangle)[1:]) > 1e-9
    return basis[:, 1:][:, independent], weight[independent]


def _judged(shares: Array) -> Chance:
    """Turn (D, 1 + P) shares, the first the observed one, into lines and adjusted p-values."""
    count = shares.shape[1]
    ranks = np.argsort(np.argsort(-shares, axis=1, kind="stable"), axis=1)
    ties = np.array([np.searchsorted(np.sort(row), row, side="left") for row in shares])
    p = np.maximum(count - ties, ranks + 1) / count  # share of permutations as large, ties counted
    smallest = p.min(axis=0)
    adjusted = np.array([(smallest <= own).mean() for own in p[:, 0]])
    level = np.sort(smallest)[max(int(LEVEL * count) - 1, 0)]
    line = np.quantile(shares[:, 1:], 1.0 - level, axis=1, method="higher")
    return Chance(line, shares[:, 0], adjusted)


def intervals(
    estimate: Array, resampled: Array, kept: float, coverage: float = 0.95
) -> tuple[Array, Array]:
    """Return (low, high) around estimates (...), from (B, ...) refits on a share `kept` of trials.

    Subsamples without replacement: their spread times √(kept / (1 - kept)) is that of the estimate
    (Politis, Romano 1994; the delete-d jackknife of Shao, Wu 1989), and, unlike a bootstrap, they
    hold no duplicates, which a Gaussian process takes for proof of noiseless values.  The spread is
    placed around the estimate, since refits on fewer trials are systematically more cautious.
    """
    spread = np.sqrt(kept / (1.0 - kept)) * (resampled - np.median(resampled, axis=0))
    tail = (1.0 - coverage) / 2
    low = estimate + np.quantile(spread, tail, axis=0)
    high = estimate + np.quantile(spread, 1.0 - tail, axis=0)
    return np.clip(low, 0.0, 1.0), np.clip(high, 0.0, 1.0)


def doubts(trials: int, parameters: int, held_out_r2: float) -> list[str]:
    """Return why an importance cannot be believed, in words; empty where it can."""
    reasons = []
    needed = max(MIN_TRIALS, TRIALS_PER_PARAMETER * parameters)
    if trials < needed:
        reasons.append(
            f"too few trials: {trials} for {parameters} parameters, at least {needed} are needed"
        )
    if held_out_r2 < MIN_R2:
        reasons.append(
            f"the surrogate cannot predict held-out trials: R² {held_out_r2:.2f}, "
            f"at least {MIN_R2} is needed"
        )
    return reasons
