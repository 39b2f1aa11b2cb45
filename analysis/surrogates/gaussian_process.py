"""A Gaussian process whose functional ANOVA is in closed form.

The kernel is the ANOVA kernel of Durrande, Ginsbourger, Roustant, Carraro (2013),

    k(x, x') = 1 + (1/ρ) Π_j (1 + ρ σ_j k_j(x_j, x'_j)),

where each k_j is a Matérn 5/2 kernel with its own length scale (for categories without order: equal
or not), made orthogonal to the constant over the parameter's own measure and scaled to unit mean
variance.  Multiplied out, every product of k_j over a subset of the parameters *is* that subset's
effect: σ_j is the prior variance of a main effect, ρ sets how much interactions of any order get,
and the marginal of a fit is read off without sampling.  One-dimensional integrals are exact sums
over levels, or Gauss-Legendre quadrature over a continuous range.

Hyperparameters maximise the marginal likelihood with weak log-normal priors; gradients are exact.
Compared with a plain product of Matérn kernels (scikit-learn's anisotropic `Matern`), the answers
are as good, and effects, pairs, bands and posterior draws need no Monte Carlo.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from itertools import combinations

import numpy as np

from analysis.surrogates.anova_kernel import Axis, Gram
from analysis.surrogates.encoding import Array, Column
from analysis.surrogates.forest import Shares
from analysis.surrogates.likelihood import JITTER, most_probable

MAX_TRIALS = 1000  # more are thinned at random: the cost is cubic
MAX_TUNING_TRIALS = 300  # hyperparameters are found on no more than these


@dataclass(frozen=True)
class GaussianProcessSurrogate:
    """A fitted process.  `theta` is log lengths (D,), log scales (D,), log mixing, log noise."""

    columns: tuple[Column, ...]
    axes: tuple[Axis, ...]
    values: Array
    theta: Array
    name: str = "gp"

    @cached_property
    def centre(self) -> float:
        """The values' mean, subtracted before the fit."""
        return float(self.values.mean())

    @cached_property
    def unit(self) -> float:
        """The values' standard deviation, by which they are divided before the fit."""
        return float(self.values.std()) or 1.0

    @cached_property
    def grams(self) -> list[Gram]:
        """One Gram per parameter at the fitted length scales."""
        return [a.gram(length) for a, length in zip(self.axes, self.lengths, strict=True)]

    @property
    def lengths(self) -> Array:
        """The length scales on the unit interval, (D,)."""
        return np.exp(self.theta[: len(self.axes)])

    @property
    def scales(self) -> Array:
        """The prior variances of the main effects, (D,), of standardised values."""
        return np.exp(self.theta[len(self.axes) : -2])

    @property
    def mixing(self) -> float:
        """ρ, the weight of interactions."""
        return math.exp(self.theta[-2])

    @property
    def noise(self) -> float:
        """The noise variance of standardised values."""
        return math.exp(self.theta[-1])

    @cached_property
    def factor(self) -> Array:
        """The Cholesky factor (N, N) of the trials' covariance, noise included."""
        from scipy.linalg import cholesky

        covariance = self._join([gram.trials for gram in self.grams])
        covariance[np.diag_indices(len(covariance))] += self.noise + JITTER
        return np.asarray(cholesky(covariance, lower=True))

    @cached_property
    def weights(self) -> Array:
        """The dual coefficients (N,)."""
        from scipy.linalg import cho_solve

        standardised = (self.values - self.centre) / self.unit
        return np.asarray(cho_solve((self.factor, True), standardised))

    @cached_property
    def curves(self) -> list[Array]:
        """The main effects at the nodes, (Q,) each, standardised, each with mean zero."""
        return [
            scale * gram.cross @ self.weights
            for scale, gram in zip(self.scales, self.grams, strict=True)
        ]

    @cached_property
    def overlaps(self) -> list[Array]:
        """For each parameter the (N, N) integrals of its squared main-effect kernel."""
        return [
            scale**2 * (gram.cross.T * axis.weights) @ gram.cross
            for scale, gram, axis in zip(self.scales, self.grams, self.axes, strict=True)
        ]

    def predict(self, units: Array) -> Array:
        """Return the posterior mean at (M, D) positions, (M,)."""
        return self.marginal_mean(range(len(self.axes)), units)

    def posterior(self, units: Array) -> tuple[Array, Array]:
        """Return mean (M,) and covariance (M, M) of the noiseless function at (M, D) positions."""
        from scipy.linalg import solve_triangular

        cross, _ = self._kernel(range(len(self.axes)), units)
        along = [
            replace(axis, at=unit).to_trials(unit, length)[0]
            for axis, unit, length in zip(self.axes, units.T, self.lengths, strict=True)
        ]
        known = solve_triangular(self.factor, cross.T, lower=True)
        return self._mean(cross), self.unit**2 * (self._join(along) - known.T @ known)

    def deviation_from(self, unit: Array, units: Array) -> tuple[Array, Array]:
        """Return by how much the function at (M, D) positions exceeds that at one (D,).

        Mean (M,) and standard deviation (M,) of the difference, in O(M N²): `posterior` has all
        covariances.
        """
        from scipy.linalg import solve_triangular

        both = np.vstack([unit, units])
        cross, own = self._kernel(range(len(self.axes)), both)
        known = solve_triangular(self.factor, cross.T, lower=True)  # (N, 1 + M)
        own = own - np.sum(known**2, axis=0)
        along = [
            replace(axis, at=unit[j : j + 1]).to_trials(both[:, j], length)[0][:, 0]
            for j, (axis, length) in enumerate(zip(self.axes, self.lengths, strict=True))
        ]
        shared = self._join(along) - known.T @ known[:, 0]
        variance = np.maximum(own[0] + own - 2 * shared, 0.0)
        mean = self._mean(cross)
        return mean[1:] - mean[0], self.unit * np.sqrt(variance[1:])

    def marginal_mean(self, subset: Sequence[int], units: Array) -> Array:
        """Return the mean (M,) of the marginal of a subset at (M, |U|) positions."""
        return self._mean(self._kernel(subset, units)[0])

    def marginal(self, subset: Sequence[int], units: Array) -> tuple[Array, Array]:
        """Return mean and standard deviation, (M,), of the marginal of a subset at (M, |U|)."""
        from scipy.linalg import solve_triangular

        cross, own = self._kernel(subset, units)
        known = solve_triangular(self.factor, cross.T, lower=True)
        variance = np.maximum(own - np.sum(known**2, axis=0), 0.0)
        return self._mean(cross), self.unit * np.sqrt(variance)

    @cached_property
    def _on_grids(self) -> list[Array]:
        """For each parameter the factors (G, N) of the kernel between its grid and the trials."""
        grids = [column.grid() for column in self.columns]
        return [self._factors(j, grid) for j, grid in enumerate(grids)]

    def _factors(self, j: int, positions: Array) -> Array:
        kernel, _ = self.axes[j].to_trials(positions, self.lengths[j])
        return np.asarray(1.0 + self.mixing * self.scales[j] * kernel)

    def factors_at(self, unit: Array) -> Array:
        """Return the factors (D, N) of the kernel between a position (D,) and the trials."""
        return np.vstack([self._factors(j, unit[j : j + 1]) for j in range(len(self.axes))])

    def plane(self, at: Array, j: int, k: int | None = None) -> Array:
        """Return the mean over the grids of parameters j and k, (G, H), the others as in `at`.

        `at` (D, N) is of `factors_at`; without k the plane is (G, 1).  The kernel is a product, so
        this is one product of matrices.
        """
        rest = np.delete(at, [i for i in (j, k) if i is not None], axis=0).prod(axis=0)
        across = np.ones((1, len(rest))) if k is None else self._on_grids[k]
        total = (self._on_grids[j] * (rest * self.weights)) @ across.T / self.mixing
        return np.asarray(self.centre + self.unit * (self.weights.sum() + total))

    def curve(self, column: int) -> Array:
        """Return the marginal mean at `columns[column].grid()`."""
        return self.marginal_mean((column,), self.columns[column].grid()[:, None])

    def component(self, subset: Sequence[int]) -> float:
        """Return the variance of one subset's own effect, of standardised values."""
        product = _product(self.overlaps[j] for j in subset)
        scale = self.mixing ** (2 * (len(subset) - 1))
        return float(scale * (self.weights @ product @ self.weights))

    def shares(self, pairs: bool = True) -> Shares:
        """Return the shares of the posterior mean's variance plus the noise."""
        main = np.array(
            [axis.weights @ c**2 for axis, c in zip(self.axes, self.curves, strict=True)]
        )
        every = _product(1.0 + self.mixing**2 * overlap for overlap in self.overlaps) - 1.0
        mean = float(self.weights @ every @ self.weights) / self.mixing**2
        total = mean + self.noise
        both = np.zeros((len(main), len(main)))
        for j, k in combinations(range(len(main)), 2) if pairs else ():
            both[j, k] = both[k, j] = max(self.component((j, k)), 0.0) / total
        return Shares(main / total, both, self.noise / total, total * self.unit**2)

    def share_of(self, subset: Sequence[int]) -> float:
        """Return the share of one subset's own effect, of any size."""
        return self.component(subset) * self.unit**2 / self.shares(pairs=False).variance

    def leave_one_out(self) -> Array:
        """Return each trial's value less its prediction from all others, (N,)."""
        return self.unit * self.weights / self._precisions

    @cached_property
    def _precisions(self) -> Array:
        """The diagonal (N,) of the inverse of the trials' covariance."""
        from scipy.linalg.lapack import dtrtri

        inverse, _ = dtrtri(self.factor, lower=1)
        return np.asarray(np.einsum("ij,ij->j", inverse, inverse))

    def draw_shares(self, count: int, rng: np.random.Generator) -> Array:
        """Return main-effect shares (count, D) of draws from the posterior.

        Curves are drawn jointly; what a draw adds on average to a curve's square is subtracted,
        so that draws are centred on the estimate.  The noise is drawn from its own
        scaled-inverse-χ² with the fit's residual degrees of freedom; interactions are held.
        """
        covariance, mean = self._curve_posterior()
        eigenvalue, direction = np.linalg.eigh(covariance)
        deviates = rng.normal(size=(len(mean), count))
        curves = mean[:, None] + direction * np.sqrt(np.maximum(eigenvalue, 0.0)) @ deviates
        ends = np.cumsum([len(axis.nodes) for axis in self.axes])[:-1]
        excess = np.split(np.diagonal(covariance), ends)
        drawn = np.stack(
            [
                np.maximum(axis.weights @ c**2 - axis.weights @ e, 0.0)
                for axis, c, e in zip(self.axes, np.split(curves, ends), excess, strict=True)
            ],
            axis=1,
        )
        shares = self.shares(pairs=False)
        rest = (1.0 - shares.main.sum() - shares.noise) * shares.variance / self.unit**2
        freedom = max(self.noise * float(self._precisions.sum()), 2.0)
        noise = self.noise * freedom / rng.chisquare(freedom, size=count)
        return np.asarray(drawn / (drawn.sum(axis=1) + max(rest, 0.0) + noise)[:, None])

    def _curve_posterior(self) -> tuple[Array, Array]:
        """Return covariance (ΣQ, ΣQ) and mean (ΣQ,) of all main effects at their nodes."""
        from scipy.linalg import block_diag, solve_triangular

        pairs = list(zip(self.scales, self.grams, strict=True))
        prior = block_diag(*[scale * gram.nodes for scale, gram in pairs])
        cross = np.vstack([scale * gram.cross for scale, gram in pairs])
        known = solve_triangular(self.factor, cross.T, lower=True)
        return prior - known.T @ known, cross @ self.weights

    def _kernel(self, subset: Sequence[int], units: Array) -> tuple[Array, Array]:
        """Return a subset's kernel of (M, |U|) positions with the trials (M, N) and itself (M,)."""
        pairs = [self.axes[j].to_trials(units[:, i], self.lengths[j]) for i, j in enumerate(subset)]
        cross = self._join([cross for cross, _ in pairs], subset)
        return cross, self._join([own for _, own in pairs], subset)

    def _mean(self, cross: Array) -> Array:
        return np.asarray(self.centre + self.unit * (cross @ self.weights))

    def _join(self, kernels: Sequence[Array], subset: Sequence[int] | None = None) -> Array:
        scales = self.scales if subset is None else self.scales[list(subset)]
        factors = (1.0 + self.mixing * s * k for s, k in zip(scales, kernels, strict=True))
        return np.asarray(1.0 + _product(factors) / self.mixing)


def fit_gaussian_process(
    units: Array,
    values: Array,
    columns: Sequence[Column],
    start: Array | None = None,
    iterations: int = 100,
    seed: int = 0,
    tuning_trials: int = MAX_TUNING_TRIALS,
) -> GaussianProcessSurrogate:
    """Fit the process to (N, D) positions and (N,) values.

    `start` warms the search with another fit's `theta`.  More than MAX_TRIALS trials are thinned at
    random, hyperparameters are found on `tuning_trials` of them.
    """
    order = np.random.default_rng([seed, 4]).permutation(len(values))
    tuning, kept = order[:tuning_trials], np.sort(order[:MAX_TRIALS])
    theta = most_probable(_axes(units[tuning], columns), values[tuning], start, iterations)
    return GaussianProcessSurrogate(
        tuple(columns), _axes(units[kept], columns), values[kept], theta
    )


def _product(factors: Iterable[Array]) -> Array:
    """Return the product of arrays of one shape, one of them in memory at a time."""
    return reduce(np.multiply, factors)


def _axes(units: Array, columns: Sequence[Column]) -> tuple[Axis, ...]:
    return tuple(Axis.of(column, units[:, j]) for j, column in enumerate(columns))
