"""One parameter's kernel, orthogonal to the constant over the parameter's own measure.

A Matérn 5/2 kernel k (for categories: equal or not) less its projection on the constant,

    k(x, x') - m(x) m(x') / c,    m(x) = ∫ k(x, t) dt,    c = ∫ m(t) dt,

and divided by its mean variance (Durrande, Ginsbourger, Roustant, Carraro 2013): functions drawn
from it integrate to zero, so products over parameters are the effects of a functional ANOVA.
Integrals are exact sums over levels.  Over a continuous range m is in closed form, and integrals of
smooth functions are Gauss-Legendre quadrature.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from analysis.surrogates.encoding import Array, Column

Indices = np.ndarray[Any, np.dtype[np.int64]]
Slope = Callable[[Array, float], float]
PairKernel = Callable[[float], tuple[Array, Slope]]
NODES, NODE_WEIGHTS = (
    a / 2 + b for a, b in zip(np.polynomial.legendre.leggauss(32), (0.5, 0.0), strict=True)
)


@dataclass(frozen=True)
class Gram:
    """One parameter's orthogonal kernel: between trials (N, N), nodes and trials (Q, N), nodes."""

    trials: Array
    cross: Array
    nodes: Array


@dataclass(frozen=True)
class Projection:
    """The part a(x) a(x') of a kernel that the constant takes, a = m / √c, at a length scale.

    `variance` is the mean variance of what is left.  A `d_` is a derivative by the logarithm of the
    length scale.
    """

    whole: float
    d_whole: float
    variance: float
    d_variance: float

    def of(self, mean: Array, d_mean: Array) -> tuple[Array, Array]:
        """Return a and its derivative from m and its derivative, of any shape."""
        a = mean / math.sqrt(self.whole)
        return a, d_mean / math.sqrt(self.whole) - a * (self.d_whole / (2 * self.whole))

    def removed(self, kernel: Array, here: Array, there: Array) -> Array:
        """Return the orthogonal kernel from the kernel and a at both its ends."""
        return (kernel - here * there) / self.variance


@dataclass(frozen=True)
class Axis:
    """One parameter's N trials and Q quadrature nodes, weights adding up to one."""

    at: Array
    nodes: Array
    weights: Array
    ordered: bool
    levels: Indices | None  # (N,) each trial's node

    @classmethod
    def of(cls, column: Column, unit: Array) -> Axis:
        """Return the axis of a column's (N,) positions."""
        if column.positions is None or column.weights is None:
            return cls(unit, NODES, NODE_WEIGHTS, True, None)
        levels = np.abs(unit[:, None] - column.positions).argmin(axis=1)
        return cls(unit, column.positions, column.weights, column.ordered, levels)

    def gram(self, length: float) -> Gram:
        """Return the orthogonal kernel at a length scale."""
        lost, here, _ = self._projected(self.nodes, length)
        between = self._kernel(self._between_nodes, length)[0]
        nodes = lost.removed(between, here[:, None], here)
        if self.levels is not None:
            cross = nodes[:, self.levels]
            return Gram(cross[self.levels], cross, nodes)
        rows, _ = self.to_trials(np.concatenate([self.at, self.nodes]), length)
        return Gram(rows[: len(self.at)], rows[len(self.at) :], nodes)

    def to_trials(self, positions: Array, length: float) -> tuple[Array, Array]:
        """Return the kernel of M positions with the trials (M, N), each with itself (M,)."""
        lost, both, _ = self._projected(np.concatenate([positions, self.at]), length)
        here, there = both[: len(positions)], both[len(positions) :]
        kernel, _ = self._kernel(np.abs(positions[:, None] - self.at), length)
        own = lost.removed(np.ones(len(positions)), here, here)
        return lost.removed(kernel, here[:, None], there), own

    def between_pairs(self, first: Indices, second: Indices) -> PairKernel:
        """Return a function of the length scale: the kernel (P,) of pairs of trials and its slope.

        The pairs are a lower triangle by rows.  The slope maps weights (P,) and the weighted sum of
        the kernel to that sum's derivative by the logarithm of the length scale.
        """
        if self.levels is None:
            return self._packed_kernel(np.abs(self.at[first] - self.at[second]))
        # levels make few different pairs, so their kernel is a small table to look up
        cell = self.levels[first] * len(self.nodes) + self.levels[second]

        def looked_up(length: float) -> tuple[Array, Slope]:
            kernel, slope = self._kernel(self._between_nodes, length)
            lost, a, d_a = self._projected(self.nodes, length)
            kernel = lost.removed(kernel, a[:, None], a)
            slope = slope - np.outer(d_a, a) - np.outer(a, d_a)

            def along(weights: Array, together: float) -> float:
                raw = float(np.bincount(cell, weights, slope.size) @ slope.ravel())
                return (raw - lost.d_variance * together) / lost.variance

            return kernel.ravel()[cell], along

        return looked_up

    def _packed_kernel(self, distance: Array) -> PairKernel:
        """Return `between_pairs` of distances; BLAS takes products of a at both ends packed."""
        from scipy.linalg.blas import dspmv, dspr

        count = len(self.at)
        own = np.cumsum(np.arange(1, count + 1)) - 1  # the pairs of a trial with itself

        def orthogonal(length: float) -> tuple[Array, Slope]:
            kernel, slope = self._kernel(distance, length)
            lost, a, d_a = self._projected(self.at, length)
            # a lower triangle by rows is an upper one by columns
            kernel = dspr(count, -1.0, a, kernel, overwrite_ap=1)
            kernel /= lost.variance

            def along(weights: Array, together: float) -> float:
                both = dspmv(count, 1.0, weights, a) + weights[own] * a
                raw = float(weights @ slope - d_a @ both)
                return (raw - lost.d_variance * together) / lost.variance

            return kernel, along

        return orthogonal

    @cached_property
    def _between_nodes(self) -> Array:
        return np.abs(self.nodes[:, None] - self.nodes)

    def _projected(self, positions: Array, length: float) -> tuple[Projection, Array, Array]:
        """Return the projection, and a and its derivative at (M,) positions."""
        mean, d_mean = self._mean(np.concatenate([self.nodes, positions]), length)
        count = len(self.nodes)
        here, d_here = mean[:count], d_mean[:count]
        whole, d_whole = float(here @ self.weights), float(d_here @ self.weights)
        taken = float(self.weights @ here**2) / whole
        d_taken = 2 * float(self.weights @ (here * d_here)) / whole - taken * d_whole / whole
        lost = Projection(whole, d_whole, 1.0 - taken, -d_taken)
        return lost, *lost.of(mean[count:], d_mean[count:])

    def _mean(self, positions: Array, length: float) -> tuple[Array, Array]:
        """Return m and its derivative by log length at (M,) positions."""
        if self.levels is None:
            return matern_mean(positions, length)
        kernel, slope = self._kernel(np.abs(self.nodes[:, None] - positions), length)
        return self.weights @ kernel, self.weights @ slope

    def _kernel(self, distance: Array, length: float) -> tuple[Array, Array]:
        """Return the kernel and its derivative by log length, of any shape."""
        if self.ordered:
            return matern(distance, length)
        return (distance < 1e-9).astype(float), np.zeros_like(distance)


def matern(distance: Array, length: float) -> tuple[Array, Array]:
    """Return the Matérn 5/2 kernel and its derivative by log length, of any shape.

    With r = √5 · distance / length they are (1 + r + r² / 3) exp(-r) and r² (1 + r) exp(-r) / 3.
    """
    line = distance * (-math.sqrt(5) / length)
    decay = np.exp(line)
    kernel = line * line
    kernel *= 1 / 3
    np.subtract(1.0, line, out=line)
    slope = kernel * line
    slope *= decay
    kernel += line
    kernel *= decay
    return kernel, slope


def matern_mean(positions: Array, length: float) -> tuple[Array, Array]:
    """Return the integral over [0, 1] of `matern` from (M,) positions, and its derivative."""
    unit, count = length / math.sqrt(5), len(positions)
    r = np.concatenate([positions, 1.0 - positions]) / unit  # to both ends
    decay = np.exp(-r)
    third = r * r / 3
    integral = 8 / 3 - (8 / 3 + 5 / 3 * r + third) * decay
    slope = integral - r * (1 + r + third) * decay
    return unit * (integral[:count] + integral[count:]), unit * (slope[:count] + slope[count:])
