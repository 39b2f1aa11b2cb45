"""How probable the Gaussian process's hyperparameters are, and the most probable ones.

The log posterior, from the marginal likelihood and weak log-normal priors, is evaluated thousands
of times for one study's importances, on up to some hundreds of trials.  So symmetric values are
stored once: kernels are vectors over the P = N (N + 1) / 2 pairs of trials, and LAPACK handles the
(N, N) matrices, of which only one triangle is read and written.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any

import numpy as np

from analysis.surrogates.anova_kernel import Axis, Indices, PairKernel
from analysis.surrogates.encoding import Array

JITTER = 1e-8
NO_ZERO = 1e-30
SETTLED = 1e-6  # a step that gains less, of its own size, ends the search: 1e-4 nats of 100

# log-normal priors (mean, standard deviation of the log), and bounds, on standardised values
LENGTH = (math.log(0.5), 0.8, math.log(0.05), math.log(5.0))
SCALE = (math.log(0.3), 1.5, math.log(1e-5), math.log(10.0))
MIXING = (0.0, 1.5, math.log(1e-3), math.log(30.0))
NOISE = (math.log(0.2), 1.5, math.log(1e-5), math.log(2.0))


def most_probable(
    axes: Sequence[Axis], values: Array, start: Array | None, iterations: int
) -> Array:
    """Return the hyperparameters that maximise the posterior of (N,) values, (2 D + 2,).

    They are log lengths (D,), log scales (D,), log mixing, log noise.  `start` warms the search.
    """
    from scipy.optimize import minimize

    prior = _prior(len(axes))
    found = minimize(
        Posterior(axes, (values - values.mean()) / (values.std() or 1.0)),
        np.clip(prior[:, 0] if start is None else start, prior[:, 2], prior[:, 3]),
        jac=True,
        method="L-BFGS-B",
        bounds=prior[:, 2:],
        options={"maxiter": iterations, "ftol": SETTLED},
    )
    return np.asarray(found.x)


@dataclass(frozen=True)
class Posterior:
    """The negative log posterior of hyperparameters (2 D + 2,) and its gradient, both exact.

    `values` (N,) are standardised.  A covariance that is not positive definite gives infinity.
    """

    axes: Sequence[Axis]
    values: Array

    @cached_property
    def pairs(self) -> tuple[Indices, Indices]:
        """The trials of each pair, first ≥ second, (P,) each."""
        return np.tril_indices(len(self.values))

    @cached_property
    def kernels(self) -> list[PairKernel]:
        """Each parameter's kernel over the pairs."""
        return [axis.between_pairs(*self.pairs) for axis in self.axes]

    def __call__(self, theta: Array) -> tuple[float, Array]:
        """Return value and gradient (2 D + 2,)."""
        count = len(self.axes)
        scales, mixing, noise = np.exp(theta[count:-2]), math.exp(theta[-2]), math.exp(theta[-1])
        lengths = np.exp(theta[:count])
        kernels = [kernel(length) for kernel, length in zip(self.kernels, lengths, strict=True)]
        factors = [_factor(mixing * s, k) for s, (k, _) in zip(scales, kernels, strict=True)]
        product = reduce(np.multiply, factors)
        try:
            fit, pull = self._fit_and_pull(1.0 + product / mixing, noise + JITTER)
        except np.linalg.LinAlgError:
            return math.inf, np.zeros_like(theta)
        pull_product = pull * product
        along_mixing = float(pull_product.sum()) / mixing
        gradient = np.empty_like(theta)
        for j, ((_, slope), factor) in enumerate(zip(kernels, factors, strict=True)):
            pulled = pull_product / factor  # the product of the other factors, pulled
            gradient[count + j] = along_mixing - float(pulled.sum()) / mixing
            gradient[j] = scales[j] * slope(pulled, gradient[count + j] / scales[j])
        gradient[-2] = gradient[count:-2].sum() - along_mixing
        gradient[-1] = noise * pull[self._own].sum()
        prior = _prior(count)
        off = (theta - prior[:, 0]) / prior[:, 1]
        return fit + 0.5 * float(off @ off), gradient + off / prior[:, 1]

    @cached_property
    def _triangle(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """The positions of the pairs in a matrix, (N, N)."""
        return np.tri(len(self.values), dtype=bool)

    @cached_property
    def _own(self) -> Indices:
        """The pairs of a trial with itself, (N,)."""
        return np.cumsum(np.arange(1, len(self.values) + 1)) - 1

    def _fit_and_pull(self, covariance: Array, noise: float) -> tuple[float, Array]:
        """Return the values' negative log likelihood and its derivative by each pair, (P,).

        A pair of two trials stands for two entries of the matrix.
        """
        from scipy.linalg.blas import dspr
        from scipy.linalg.lapack import dpotrf, dpotri, dpotrs

        # a lower triangle by rows is an upper one by columns, which LAPACK takes without a copy
        matrix = np.zeros((len(self.values),) * 2)
        matrix[self._triangle] = covariance
        matrix[np.diag_indices(len(matrix))] += noise
        root, failed = dpotrf(matrix.T, lower=0, clean=0, overwrite_a=1)
        if failed:
            raise np.linalg.LinAlgError
        fit = np.log(np.diag(root)).sum()
        weights, _ = dpotrs(root, self.values, lower=0)
        inverse, _ = dpotri(root, lower=0, overwrite_c=1)
        pull = dspr(len(weights), -1.0, weights, inverse.T[self._triangle], overwrite_ap=1)
        pull[self._own] /= 2
        return float(0.5 * (self.values @ weights) + fit), pull


def _prior(count: int) -> Array:
    """Return one row (mean, deviation, low, high) per hyperparameter."""
    return np.array([LENGTH] * count + [SCALE] * count + [MIXING, NOISE])


def _factor(times: float, kernel: Array) -> Array:
    """Return 1 + times · kernel, in the kernel's place; never zero, since it is divided by."""
    kernel *= times
    kernel += 1.0
    np.copyto(kernel, NO_ZERO, where=kernel == 0.0)
    return kernel
