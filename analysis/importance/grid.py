"""A complete grid needs no surrogate: its shares are sums over its cells.

Where every configuration was repeated, a cell's value is a mean that keeps some seed noise.  That
noise would count as effects, so what it adds on average is subtracted, and its spread gives the
intervals.  Without repeats the seed noise is unknown: the shares are exact for the values as
measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from analysis.importance.refits import Refits
from analysis.importance.verdict import Verdict
from analysis.significance import LEVEL
from analysis.surrogates.encoding import Array, Encoding
from analysis.surrogates.forest import Shares

DRAWS = 400  # of the noise


@dataclass(frozen=True)
class SeedNoise:
    """What repeats of a configuration vary by: variance, degrees of freedom, repeats on average."""

    variance: float
    freedom: int
    repeats: float
    p: float = 0.0  # of configurations that differ as much although only repeats do (F-test)

    @classmethod
    def of(cls, encoding: Encoding, values: Array) -> SeedNoise | None:
        """Return the pooled variance within configurations; None where none was repeated."""
        from scipy.stats import f

        group = encoding.configurations
        count = np.bincount(group)
        freedom = len(values) - len(count)
        if freedom == 0:
            return None
        means = np.bincount(group, values) / count
        within = float(((values - means[group]) ** 2).sum()) / freedom
        between = float(count @ (means - values.mean()) ** 2) / max(len(count) - 1, 1)
        p = float(f.sf(between / within, max(len(count) - 1, 1), freedom)) if within > 0 else 0.0
        return cls(within, freedom, len(values) / len(count), p)

    def share_of(self, reproducible: float) -> tuple[float, tuple[float, float]]:
        """Return its share of a trial's whole variance, with a 95 % interval."""
        from scipy.stats import chi2

        quantiles = chi2.ppf([0.975, 0.025], self.freedom)
        least, most = (self.variance * self.freedom / q for q in quantiles)
        rest = max(reproducible, 0.0)
        low, share, high = (v / (v + rest) if v > 0 else 0.0 for v in (least, self.variance, most))
        return share, (low, high)


def noise_doubts(verdict: Verdict, noise: SeedNoise | None, is_grid: bool) -> list[str]:
    """Return why the values may be nothing but noise.

    The shares of a grid are exact for its values, so neither their intervals nor a held-out R² that
    is high by chance would show it.
    """
    if noise is not None and noise.p > LEVEL:
        return [
            f"configurations differ no more than repeats of one do (p = {noise.p:.2f}), so the "
            "values may be nothing but seed noise"
        ]
    acts = verdict.significant.any() or verdict.only_jointly.any()
    if is_grid and not acts and not any(p <= LEVEL for *_, p in verdict.tied):
        return [
            "no effect is beyond chance: the shares describe these values, which may be nothing "
            "but noise"
        ]
    return []


def grid_shares(
    encoding: Encoding, means: Array, noise: SeedNoise | None, seed: int = 0
) -> tuple[Shares, Refits]:
    """Return the shares of a complete grid's reproducible variance, and redraws of its noise.

    `encoding` has each cell once, with its mean value (C,).
    """
    weights = [np.asarray(c.weights) for c in encoding.columns]
    shape = tuple(map(len, weights))
    places = [
        np.searchsorted(np.asarray(c.positions), u)
        for c, u in zip(encoding.columns, encoding.units.T, strict=True)
    ]
    cells = np.empty(shape)
    cells[tuple(places)] = means
    deviation = 0.0 if noise is None else (noise.variance / noise.repeats) ** 0.5
    drawn = deviation * np.random.default_rng([seed, 11]).normal(size=(DRAWS, *shape))
    added = [part.mean(axis=0) for part in _parts(drawn, weights)]
    main, pairs, total = _debiased(_parts(cells[None], weights), added, 1.0)
    again = cells + drawn
    main_again, pairs_again, _ = _debiased(_parts(again, weights), added, 2.0)
    shares = Shares(main[0], pairs[0], 0.0, float(total[0]))
    curves = [_marginal(again, weights, (j,)) for j in range(len(weights))]
    by_draw = [[curve[b] for curve in curves] for b in range(DRAWS)]
    return shares, Refits(0.5, main_again, pairs_again, by_draw)


def _parts(cells: Array, weights: list[Array]) -> tuple[Array, Array, Array]:
    """Return the variances (B, D), (B, D, D) and (B,) of effects, pairs and all of B grids."""
    width = len(weights)
    every = tuple(range(width))
    main = np.stack([_variance(cells, weights, (j,)) for j in every], axis=1)
    pairs = np.zeros((len(cells), width, width))
    for j, k in combinations(every, 2):
        own = _variance(cells, weights, (j, k)) - main[:, j] - main[:, k]
        pairs[:, j, k] = pairs[:, k, j] = own
    return main, pairs, _variance(cells, weights, every)


def _marginal(cells: Array, weights: list[Array], kept: tuple[int, ...]) -> Array:
    """Return the means of B grids over all parameters but the kept ones."""
    for j in reversed(range(len(weights))):
        if j not in kept:
            cells = np.tensordot(cells, weights[j], axes=(j + 1, 0))
    return cells


def _variance(cells: Array, weights: list[Array], kept: tuple[int, ...]) -> Array:
    """Return the variance (B,) of the marginal of some parameters."""
    marginal = _marginal(cells, weights, kept)
    measure = np.ones(())
    for j in kept:
        measure = np.multiply.outer(measure, weights[j])
    flat, weight = marginal.reshape(len(cells), -1), measure.ravel()
    mean = flat @ weight
    return np.asarray((flat - mean[:, None]) ** 2 @ weight)


def _debiased(
    parts: tuple[Array, Array, Array], added: list[Array], times: float
) -> tuple[Array, Array, Array]:
    """Return shares of what is left when the noise's own parts are subtracted, and that.

    A part below zero counts as none; the whole is at least what its parts sum to.
    """
    main, pairs, total = (p - times * a for p, a in zip(parts, added, strict=True))
    main, pairs = np.maximum(main, 0.0), np.maximum(pairs, 0.0)
    least = 1e-12 * np.maximum(parts[2], np.finfo(float).tiny)
    total = np.maximum.reduce([total, least, main.sum(axis=1) + pairs.sum(axis=(1, 2)) / 2])
    return main / total[:, None], pairs / total[:, None, None], total
