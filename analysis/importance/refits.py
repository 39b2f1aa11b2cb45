"""How other trials would have changed the shares: refits on halves of the trials, and intervals.

Trials are resampled, not only trees, and without replacement: see `reliability.intervals`.

With many parameters a refit leaves some out: it has the STRONGEST, those with the largest effects
in the fit to all trials, and some of the others in turn, so that each is in ten refits or more.
What is left out counts as noise there.  Shares come from the fit to all trials and parameters in
any case; only pairs of the strongest have intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, combinations

import numpy as np

from analysis.importance.reliability import intervals
from analysis.importance.result import InteractionImportance, Marginal, ParameterImportance
from analysis.importance.verdict import Verdict
from analysis.parallel import each
from analysis.surrogates.choice import REFIT_TRIALS, Surrogate, refit
from analysis.surrogates.encoding import Array, Column, Encoding
from analysis.surrogates.forest import ForestSurrogate, Shares
from analysis.surrogates.gaussian_process import GaussianProcessSurrogate

DRAWS = 500  # of a Gaussian process's posterior
FITTED_TRIALS = 20_000  # over all refits
LEAST_REFITS, MOST_REFITS = 30, 100
ALL_AT_ONCE = 12  # parameters in one refit; with more, some are left out
STRONGEST = 6  # parameters in every refit
TIMES_EACH = 10  # refits that each parameter is in, at least


@dataclass(frozen=True)
class Refits:
    """B refits on subsamples: main effects (B, D), pairs (B, D, D), curves B × D × (G,).

    Effects of parameters that a refit left out are NaN.  `larger` (B, S) holds the effects of S
    larger subsets; None for a forest, where they cost too much.
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


def refits_for(trials: int) -> int:
    """Return how many refits the intervals of a study of this many trials need.

    Refits on many trials differ less and take longer.
    """
    return min(max(FITTED_TRIALS // max(trials, 1), LEAST_REFITS), MOST_REFITS)


def refit_often(
    whole: Surrogate,
    shares: Shares,
    encoding: Encoding,
    target: Array,
    seed: int,
    resamples: int,
    tick: Callable[[], None],
    subsets: Sequence[Sequence[int]] = (),
) -> Refits:
    """Refit the surrogate on random halves of the trials, or of repeated configurations.

    `shares` are those of the whole fit.
    """
    count, width = len(target), len(encoding.columns)
    size = min(max(count // 2, 2), REFIT_TRIALS)
    rng = np.random.default_rng([seed, 3])
    halves = [encoding.some(size, rng) for _ in range(resamples)]
    strongest = _strongest(shares)
    parameters = _taking_turns(width, [*strongest, *chain(*subsets)], resamples, rng)

    def said(b: int) -> tuple[Shares, list[float], list[Array]]:
        here = parameters[b]
        part = refit(whole, encoding, target, halves[b], seed + b, here)
        place = {j: i for i, j in enumerate(here)}
        if isinstance(part, ForestSurrogate):
            its_shares = part.shares(among=[place[j] for j in strongest])
            return its_shares, [], [part.curve(i) for i in range(len(here))]
        if isinstance(part, GaussianProcessSurrogate):
            larger = [part.share_of([place[j] for j in subset]) for subset in subsets]
            return part.shares(), larger, []
        return part.shares(), [], [part.curve(i) for i in range(len(here))]

    main = np.full((resamples, width), np.nan)
    pairs = np.full((resamples, width, width), np.nan)
    curves = []
    larger = np.empty((resamples, len(subsets)))
    for b, (found, of_subsets, its_curves) in enumerate(each(said, range(resamples))):
        here = parameters[b]
        main[b, here], pairs[b][np.ix_(here, here)] = found.main, found.pairs
        if its_curves:
            nothing = [np.full(len(column.grid()), np.nan) for column in encoding.columns]
            for j, curve in zip(here, its_curves, strict=True):
                nothing[j] = curve
            curves.append(nothing)
        else:
            larger[b] = of_subsets
        tick()
    return Refits(size / count, main, pairs, curves, None if curves else larger)


def taken_in_turn(parameters: int) -> str:
    """Say which parameters a refit leaves out; nothing where it has all of them."""
    if parameters <= ALL_AT_ONCE:
        return ""
    return (
        f"with {parameters} parameters, each refit for the intervals has the {STRONGEST} with the "
        "largest effects and some of the others in turn; only pairs of the first have intervals"
    )


def _strongest(shares: Shares) -> list[int]:
    """Return the parameters that each refit has: all, or those with the largest effects."""
    if len(shares.main) <= ALL_AT_ONCE:
        return list(range(len(shares.main)))
    effects = shares.main + shares.pairs.sum(axis=1)
    return sorted(np.argsort(-effects, kind="stable")[:STRONGEST].tolist())


def _taking_turns(
    width: int, wanted: Sequence[int], resamples: int, rng: np.random.Generator
) -> list[list[int]]:
    """Return the parameters of each refit: those wanted, and some of the others in turn."""
    others = [j for j in rng.permutation(width).tolist() if j not in wanted]
    if not others or not resamples:
        return [list(range(width))] * resamples
    many = max(ALL_AT_ONCE - len(set(wanted)), -(-TIMES_EACH * len(others) // resamples))
    turns = np.resize(others, resamples * min(many, len(others))).reshape(resamples, -1)
    return [sorted({*wanted, *turn}) for turn in turns.tolist()]


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
    names: Sequence[str], shares: Shares, refits: Refits, resolved: Array | float = 0.0
) -> list[InteractionImportance]:
    """Return every pair's effect beyond its two parameters, with intervals.

    No interval is narrower than `resolved` on either side: see `resolution_of_pairs`.
    """
    low, high = _interval(shares.pairs, refits.pairs, refits.kept)
    low = np.minimum(low, np.maximum(shares.pairs - resolved, 0.0))
    high = np.maximum(high, np.minimum(shares.pairs + resolved, 1.0))
    strongest = [j for j in range(len(names)) if not np.isnan(refits.main[:, j]).any()]
    return [
        InteractionImportance(
            (names[j], names[k]),
            float(shares.pairs[j, k]),
            (float(low[j, k]), float(high[j, k])) if {j, k} <= {*strongest} else None,
        )
        for j, k in combinations(range(len(names)), 2)
        if shares.pairs[j, k] > 0 or {j, k} <= {*strongest}
    ]


def resolution_of_pairs(columns: Sequence[Column], held_out_r2: float, count: int) -> Array:
    """Return the share of each pair that N trials can tell from none, (D, D).

    A surrogate that misses a pair misses it in its refits too, so their spread does not show it.  A
    regression on the pair's K products of line and parabola, or of categories, added to a model
    that leaves 1 - R² of the variance, explains χ² (1 - R²) / N of it by chance; this is the 95 %
    point.
    """
    from scipy.stats import chi2

    left = 1.0 - float(np.clip(held_out_r2, 0.0, 1.0))
    levels = [c.positions for c in columns]
    most = [2 if c.ordered else len(c.values) - 1 for c in columns]
    curves = np.array(
        [m if at is None else min(m, len(at) - 1) for m, at in zip(most, levels, strict=True)]
    )
    freedom = np.maximum(np.outer(curves, curves), 1)
    return np.asarray(np.minimum(chi2.ppf(0.95, freedom) * left / max(count, 1), 1.0))


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
            spread = scale * np.nanstd([curves[j] for curves in refits.curves], axis=0)
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
