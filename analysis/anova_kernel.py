"""One parameter's kernel, orthogonal to the constant over the parameter's own measure.

A Matérn 5/2 kernel k (for categories: equal or not) less its projection on the constant,

    k(x, x') - m(x) m(x') / c,    m(x) = ∫ k(x, t) dt,    c = ∫ m(t) dt,

and divided by its mean variance (Durrande, Ginsbourger, Roustant, Carraro 2013): functions drawn
from it integrate to zero, so products over parameters are the effects of a functional ANOVA.
Integrals are exact sums over levels, or Gauss-Legendre quadrature over a continuous range.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from analysis.encoding import Array, Column

NODES, NODE_WEIGHTS = (
    a / 2 + b for a, b in zip(np.polynomial.legendre.leggauss(32), (0.5, 0.0), strict=True)
)


@dataclass(frozen=True)
class Gram:
    """One parameter's orthogonal kernel: between trials (N, N), nodes and trials (Q, N), nodes.

    `slope` is the derivative of `trials` by the logarithm of the length scale.
    """

    trials: Array
    slope: Array
    cross: Array
    nodes: Array


@dataclass(frozen=True)
class Axis:
    """One parameter's N trials and Q quadrature nodes, weights adding up to one."""

    at: Array
    nodes: Array
    weights: Array
    ordered: bool
    levels: np.ndarray[Any, np.dtype[np.int64]] | None  # (N,) each trial's node

    @classmethod
    def of(cls, column: Column, unit: Array) -> Axis:
        """Return the axis of a column's (N,) positions."""
        if column.positions is None or column.weights is None:
            return cls(unit, NODES, NODE_WEIGHTS, True, None)
        levels = np.abs(unit[:, None] - column.positions).argmin(axis=1)
        return cls(unit, column.positions, column.weights, column.ordered, levels)

    @cached_property
    def apart(self) -> tuple[Array, Array, Array]:
        """The distances between nodes (Q, Q), nodes and trials (Q, N), and trials (N, N)."""
        return (
            np.abs(self.nodes[:, None] - self.nodes),
            np.abs(self.nodes[:, None] - self.at),
            np.abs(self.at[:, None] - self.at),
        )

    def gram(self, length: float) -> Gram:
        """Return the orthogonal kernel at a length scale."""
        (nodes, d_nodes), (cross, d_cross), (trials, d_trials) = self._kernels(length)
        mean, d_mean = self.weights @ cross, self.weights @ d_cross  # (N,)
        at_nodes, d_at_nodes = nodes @ self.weights, d_nodes @ self.weights  # (Q,)
        whole, d_whole = at_nodes @ self.weights, d_at_nodes @ self.weights
        spread = 1.0 - self.weights @ at_nodes**2 / whole
        d_spread = self.weights @ (at_nodes * (at_nodes * d_whole / whole - 2 * d_at_nodes)) / whole
        half = np.outer(d_mean - mean * (d_whole / (2 * whole)), mean / whole)
        centred = (trials - np.outer(mean, mean / whole)) / spread
        return Gram(
            centred,
            (d_trials - half - half.T) / spread - centred * (d_spread / spread),
            (cross - np.outer(at_nodes, mean / whole)) / spread,
            (nodes - np.outer(at_nodes, at_nodes / whole)) / spread,
        )

    def to_trials(self, positions: Array, length: float) -> tuple[Array, Array]:
        """Return the kernel of M positions with the trials (M, N), each with itself (M,)."""
        nodes, _ = self._kernel(np.abs(self.nodes[:, None] - self.nodes), length)
        at_nodes = nodes @ self.weights
        whole = at_nodes @ self.weights
        spread = 1.0 - self.weights @ at_nodes**2 / whole
        here = self._kernel(np.abs(positions[:, None] - self.nodes), length)[0] @ self.weights
        there = self._kernel(np.abs(self.at[:, None] - self.nodes), length)[0] @ self.weights
        cross = self._kernel(np.abs(positions[:, None] - self.at), length)[0]
        return (
            (cross - np.outer(here, there / whole)) / spread,
            (1.0 - here**2 / whole) / spread,
        )

    def _kernels(self, length: float) -> list[tuple[Array, Array]]:
        """Return kernel and slope of nodes, nodes with trials, trials: gathered where it can."""
        nodes, cross, trials = self.apart
        if self.levels is None:
            return [self._kernel(distance, length) for distance in (nodes, cross, trials)]
        k, slope = self._kernel(nodes, length)
        with_trials = k[:, self.levels], slope[:, self.levels]
        return [(k, slope), with_trials, (with_trials[0][self.levels], with_trials[1][self.levels])]

    def _kernel(self, distance: Array, length: float) -> tuple[Array, Array]:
        """Return the kernel and its derivative by log length, of any shape."""
        if not self.ordered:
            return (distance < 1e-9).astype(float), np.zeros_like(distance)
        r = distance * (math.sqrt(5) / length)
        decay = np.exp(-r)
        third = r * r / 3
        r += 1
        return (r + third) * decay, third * r * decay
