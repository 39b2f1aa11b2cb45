"""How other trials would have changed the shares: refits on halves of the trials, and intervals.

Trials are resampled, not only trees, and without replacement: see `reliability.intervals`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from analysis.importance.reliability import intervals
from analysis.importance.result import InteractionImportance, Marginal, ParameterImportance
from analysis.importance.verdict import Verdict
from analysis.parallel import each
from analysis.surrogates.choice import REFIT_TRIALS, Surrogate, refit
from analysis.surrogates.encoding import Array, Column, Encoding
from analysis.surrogates.forest import Shares
from analysis.surrogates.gaussian_process import GaussianProcessSurrogate

DRAWS = 500  # of a Gaussian process's posterior


@dataclass(frozen=True)
class Refits:
    """B refits on subsamples: main effects (B, D), pairs (B, D, D), curves B × D × (G,).

    `larger` (B, S) holds the effects of S larger subsets; None for a forest, where they cost too
    much.
    """

    kept: float
    main: Array
    pairs: Array
    curves: list[list[Array]]
    larger: Array | None = None

    def times(self, factor: float) -> Refits:
        """Return these with all shares of a part of the variance, the total over `factor`."""
        larger = None if self.larger is None else self.larger * factor
        return replace(self, main=self.main * factor, pairs=self.pairs * factor, larger=larger)


def refit_often(
    whole: Surrogate,
    encoding: Encoding,
    target: Array,
    seed: int,
    resamples: int,
    tick: Callable[[], None],
    subsets: Sequence[Sequence[int]] = (),
) -> Refits:
    """Refit the surrogate on random halves of the trials, or of repeated configurations."""
    count, width = len(target), len(encoding.columns)
    size = min(max(count // 2, 2), REFIT_TRIALS)
    rng = np.random.default_rng([seed, 3])
    halves = [encoding.some(size, rng) for _ in range(resamples)]

    def said(b: int) -> tuple[Shares, list[float], list[Array]]:
        part = refit(whole, encoding, target, halves[b], seed + b)
        if isinstance(part, GaussianProcessSurrogate):
            return part.shares(), [part.share_of(subset) for subset in subsets], []
        return part.shares(), [], [part.curve(j) for j in range(width)]

    main, pairs = np.empty((resamples, width)), np.empty((resamples, width, width))
    curves = []
    larger = np.empty((resamples, len(subsets)))
    for b, (shares, of_subsets, its_curves) in enumerate(each(said, range(resamples))):
        main[b], pairs[b] = shares.main, shares.pairs
        if its_curves:
            curves.append(its_curves)
        else:
            larger[b] = of_subsets
        tick()
    return Refits(size / count, main, pairs, curves, None if curves else larger)


def parameter_importances(
    whole: Surrogate,
    shares: Shares,
    verdict: Verdict,
    refits: Refits,
    seed: int,
    scale: float = 1.0,
) -> list[ParameterImportance]:
    """Return the main effects in the columns' order, with intervals and verdicts.

    `scale` is what the surrogate's own shares are multiplied with.
    """
    low, high = _interval(shares.main, refits.main, refits.kept)
    if isinstance(whole, GaussianProcessSurrogate):
        # refits vary the trials, draws vary what the trials leave open
        drawn = whole.draw_shares(DRAWS, np.random.default_rng([seed, 6]))
        drawn = np.minimum(drawn * scale, 1.0)
        known = len(refits.main) > 1
        low = np.minimum(low if known else shares.main, np.quantile(drawn, 0.025, axis=0))
        high = np.maximum(high if known else shares.main, np.quantile(drawn, 0.975, axis=0))
    return [
        ParameterImportance(
            column.name,
            float(np.clip(shares.main[j], 0.0, 1.0)),
            (float(low[j]), float(high[j])),
            float(verdict.p[j]),
            bool(verdict.significant[j]),
        )
        for j, column in enumerate(whole.columns)
    ]


def _interval(estimate: Array, refits: Array, kept: float) -> tuple[Array, Array]:
    if len(refits) < 2:  # nothing is known of the spread
        return np.zeros_like(estimate), np.ones_like(estimate)
    return intervals(estimate, refits, kept)


def interaction_importances(
    names: Sequence[str], shares: Shares, refits: Refits
) -> list[InteractionImportance]:
    """Return every pair's effect beyond its two parameters, with intervals."""
    low, high = _interval(shares.pairs, refits.pairs, refits.kept)
    return [
        InteractionImportance(
            (names[j], names[k]), float(shares.pairs[j, k]), (float(low[j, k]), float(high[j, k]))
        )
        for j, k in combinations(range(len(names)), 2)
    ]


def subset_importances(
    whole: Surrogate, subsets: Sequence[Sequence[int]], refits: Refits
) -> list[InteractionImportance]:
    """Return the effects of larger subsets, with intervals where the refits computed them."""
    shares = np.maximum([whole.share_of(subset) for subset in subsets], 0.0)
    known = refits.larger is not None and len(refits.larger) > 1
    if known and len(shares):
        low, high = intervals(shares, np.asarray(refits.larger), refits.kept)
    return [
        InteractionImportance(
            tuple(whole.columns[j].name for j in subset),
            float(shares[i]),
            (float(low[i]), float(high[i])) if known else None,
        )
        for i, subset in enumerate(subsets)
    ]


def marginals(whole: Surrogate, refits: Refits) -> tuple[Marginal, ...]:
    """Return every parameter's curve, with a band from the posterior or from the refits."""
    result = []
    for j, column in enumerate(whole.columns):
        mean = whole.curve(j)
        if isinstance(whole, GaussianProcessSurrogate):
            spread = 1.96 * whole.marginal((j,), column.grid()[:, None])[1]
        elif len(refits.curves) > 1:
            scale = 1.96 * np.sqrt(refits.kept / (1.0 - refits.kept))
            spread = scale * np.std([curves[j] for curves in refits.curves], axis=0)
        else:
            spread = np.zeros_like(mean)
        result.append(_marginal(column, mean, spread))
    return tuple(result)


def _marginal(column: Column, mean: Array, spread: Array) -> Marginal:
    return Marginal(
        column.name,
        column.grid_values(),
        mean,
        mean - spread,
        mean + spread,
        column.is_log,
        column.is_categorical,
    )
