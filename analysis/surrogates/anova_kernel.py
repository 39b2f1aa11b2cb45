"""One parameter's kernel, orthogonal to the constant over the parameter's own measure.

A Matérn 5/2 kernel k (for categories: equal or not) less its projection on the constant,

    k(x, x') - m(x) m(x') / c,    m(x) = ∫ k(x, t) dt,    c = ∫ m(t) dt,

and divided by its mean variance (Durrande, Ginsbourger, Roustant, Carraro 2013): functions drawn
from it integrate to zero, so products over parameters are the effects of a functional ANOVA.
Integrals are exact sums over levels, or Gauss-Legendre quadrature over a continuous range.
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
PairKernel = Callable[[float], tuple[Array, Array]]
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
        lost = self._projection(length)
        at_nodes, _ = self._projected(self.nodes, lost, length)
        nodes = lost.removed(
            self._kernel(self._between_nodes, length)[0], at_nodes[:, None], at_nodes
        )
        if self.levels is not None:
            cross = nodes[:, self.levels]
            return Gram(cross[self.levels], cross, nodes)
        return Gram(
            self.to_trials(self.at, length)[0], self.to_trials(self.nodes, length)[0], nodes
        )

    def to_trials(self, positions: Array, length: float) -> tuple[Array, Array]:
        """Return the kernel of M positions with the trials (M, N), each with itself (M,)."""
        lost = self._projection(length)
        here, _ = self._projected(positions, lost, length)
        there, _ = self._projected(self.at, lost, length)
        kernel, _ = self._kernel(np.abs(positions[:, None] - self.at), length)
        own = lost.removed(np.ones(len(positions)), here, here)
        return lost.removed(kernel, here[:, None], there), own

    def between_pairs(self, first: Indices, second: Indices) -> PairKernel:
        """Return a function of the length scale: the kernel of P pairs of trials and its slope.

        Both are (P,); the slope is the derivative by the logarithm of the length scale.  Levels
        make few different pairs, so their kernel is a small table to look up.
        """
        if self.levels is None:
            return self._pair_kernel(self.at, first, second)
        count = len(self.nodes)
        table = self._pair_kernel(self.nodes, *np.divmod(np.arange(count**2), count))
        cell = self.levels[first] * count + self.levels[second]

        def looked_up(length: float) -> tuple[Array, Array]:
            kernel, slope = table(length)
            return kernel[cell], slope[cell]

        return looked_up

    def _pair_kernel(self, positions: Array, first: Indices, second: Indices) -> PairKernel:
        distance = np.abs(positions[first] - positions[second])

        def orthogonal(length: float) -> tuple[Array, Array]:
            kernel, slope = self._kernel(distance, length)
            lost = self._projection(length)
            a, d_a = self._projected(positions, lost, length)
            here, there = a[first], a[second]
            kernel = lost.removed(kernel, here, there)
            slope -= d_a[first] * there
            slope -= here * d_a[second]
            return kernel, (slope - kernel * lost.d_variance) / lost.variance

        return orthogonal

    @cached_property
    def _between_nodes(self) -> Array:
        return np.abs(self.nodes[:, None] - self.nodes)

    def _projection(self, length: float) -> Projection:
        kernel, slope = self._kernel(self._between_nodes, length)
        mean, d_mean = kernel @ self.weights, slope @ self.weights
        whole, d_whole = float(mean @ self.weights), float(d_mean @ self.weights)
        lost = float(self.weights @ mean**2) / whole
        d_lost = 2 * float(self.weights @ (mean * d_mean)) / whole - lost * d_whole / whole
        return Projection(whole, d_whole, 1.0 - lost, -d_lost)

    def _projected(self, positions: Array, lost: Projection, length: float) -> tuple[Array, Array]:
        """Return a and its derivative at (M,) positions."""
        kernel, slope = self._kernel(np.abs(self.nodes[:, None] - positions), length)
        return lost.of(self.weights @ kernel, self.weights @ slope)

    def _kernel(self, distance: Array, length: float) -> tuple[Array, Array]:
        """Return the kernel and its derivative by log length, of any shape."""
        if self.ordered:
            return matern(distance, length)
        return (distance < 1e-9).astype(float), np.zeros_like(distance)


def matern(distance: Array, length: float) -> tuple[Array, Array]:
    """Return the Matérn 5/2 kernel and its derivative by log length, of any shape."""
    r = distance * (math.sqrt(5) / length)
    third = r * r
    third /= 3
    kernel = np.exp(-r)
    r += 1
    r *= kernel
    kernel *= third
    kernel += r
    third *= r
    return kernel, third
