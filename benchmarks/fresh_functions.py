"""Functions with coefficients drawn afresh: what the intervals and verdicts are measured on.

Twelve families of four acting and one or two idle parameters in the unit cube.  Nobody tuned
anything on them: every study draws its own coefficients, noise and trials.  Shares of main effects
and pairs come from a grid of midpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from analysis.surrogates.encoding import Array, make_column

ACTING = 4
CELLS = 25  # of the grid, along each parameter: five in a level
Function = Callable[[Array], Array]


def _sigmoid(rng: np.random.Generator) -> Function:
    w, shift = rng.normal(0, 3, ACTING), rng.uniform(-1, 1)
    return lambda u: np.tanh((u - 0.5) @ w - shift)


def _exponential(rng: np.random.Generator) -> Function:
    w = rng.normal(0, 1.2, ACTING)
    return lambda u: np.exp(u @ w)


def _sines(rng: np.random.Generator) -> Function:
    k, shift = rng.uniform(0.5, 2.5, ACTING), rng.uniform(0, 6, ACTING)
    w = rng.exponential(size=ACTING)
    return lambda u: np.sin(k * np.pi * u + shift) @ w + 2 * np.prod(u[:, :2] - 0.4, axis=1)


def _kinks(rng: np.random.Generator) -> Function:
    a = rng.uniform(0, 6, ACTING)
    place = rng.uniform(0.3, 0.7, ACTING)
    return lambda u: np.prod((4 * np.abs(u - place) + a) / (1 + a), axis=1)


def _bump(rng: np.random.Generator) -> Function:
    place, width, w = rng.uniform(0.2, 0.8, 2), rng.uniform(0.05, 0.2), rng.uniform(-1, 1, 2)
    return lambda u: np.exp(-((u[:, :2] - place) ** 2).sum(axis=1) / width) + u[:, 2:4] @ w


def _cliff(rng: np.random.Generator) -> Function:
    w, edge = rng.uniform(0.2, 1, ACTING), rng.uniform(0.5, 0.75)
    return lambda u: np.where(u @ w / w.sum() > edge, -1.0, u[:, 0] + w[0] * u[:, 1] ** 2)


def _lora(rng: np.random.Generator) -> Function:
    w = np.array([1.0, *rng.uniform(0.2, 0.8, 2)]) * rng.uniform(2, 5)
    best, edge = rng.uniform(0.4, 0.8), rng.uniform(0.8, 1.2)

    def f(u: Array) -> Array:
        z = (u[:, 0] - best) * w[0] + (u[:, 1] - 0.5) * w[1] - (u[:, 2] - 0.5) * w[2]
        return np.where(z > edge, -2.0, -(z**2)) + 0.3 * u[:, 3]

    return f


def _polynomial(rng: np.random.Generator) -> Function:
    line, square = rng.normal(size=ACTING), rng.normal(size=(ACTING, ACTING))
    return lambda u: u @ line + np.einsum("nj,jk,nk->n", u - 0.5, 1.5 * square, u - 0.5)


def _friedman(rng: np.random.Generator) -> Function:
    w = rng.uniform(2, 15, 3)
    return lambda u: (
        w[0] * np.sin(np.pi * u[:, 0] * u[:, 1]) + 2 * w[1] * (u[:, 2] - 0.5) ** 2 + w[2] * u[:, 3]
    )


def _largest(rng: np.random.Generator) -> Function:
    w = rng.uniform(0.5, 1.5, ACTING)
    return lambda u: (u * w).max(axis=1)


def _plateaus(rng: np.random.Generator) -> Function:
    edge, w, steep = rng.uniform(0.2, 0.8, ACTING), rng.normal(size=ACTING), rng.uniform(3, 30)
    return lambda u: (1 / (1 + np.exp(-steep * (u - edge)))) @ w + np.prod(u[:, 1:3], axis=1)


def _choices(rng: np.random.Generator) -> Function:
    level, slope, w = rng.normal(size=5), rng.normal(size=5), rng.normal(size=2)

    def f(u: Array) -> Array:
        chosen = np.minimum((u[:, 0] * 5).astype(int), 4)
        return level[chosen] + slope[chosen] * (u[:, 1] - 0.5) + u[:, 2:4] ** 2 @ w

    return f


FAMILIES: Mapping[str, Callable[[np.random.Generator], Function]] = {
    "sigmoid": _sigmoid,
    "exponential": _exponential,
    "sines": _sines,
    "kinks": _kinks,
    "bump": _bump,
    "cliff": _cliff,
    "lora": _lora,
    "polynomial": _polynomial,
    "friedman": _friedman,
    "largest": _largest,
    "plateaus": _plateaus,
    "choices": _choices,
}


@dataclass(frozen=True)
class FreshStudy:
    """A function of a family, the share of noise in the values, and the number of parameters."""

    family: str
    function: Function
    noise: float
    width: int

    @classmethod
    def drawn(cls, family: str, rng: np.random.Generator) -> FreshStudy:
        """Draw coefficients, noise and idle parameters."""
        function = FAMILIES[family](rng)
        return cls(family, function, float(rng.choice([0.05, 0.2, 0.4])), int(rng.integers(5, 7)))

    @property
    def names(self) -> list[str]:
        """The parameters' names."""
        return [f"x{j}" for j in range(self.width)]

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """Continuous parameters; the first of `choices` has five categories."""
        space: dict[str, BaseDistribution] = {n: FloatDistribution(0, 1) for n in self.names}
        if self.family == "choices":
            space["x0"] = CategoricalDistribution(list("abcde"))
        return space

    @property
    def first(self) -> str:
        """The parameter with the largest main effect."""
        return max(self.names, key=lambda name: self.truth[name,])

    @property
    def lead(self) -> float:
        """By how much its share is larger than the next."""
        *_, second, first = sorted(self.truth[name,] for name in self.names)
        return first - second

    def measured(self, units: Array, rng: np.random.Generator) -> Array:
        """Return noisy values (N,) at (N, D) positions."""
        deviation = np.sqrt(self._grid.var() * self.noise / (1 - self.noise))
        return self.function(units[:, :ACTING]) + deviation * rng.normal(size=len(units))

    def trials(self, count: int, rng: np.random.Generator) -> tuple[list[dict[str, Any]], Array]:
        """Return random points and their noisy values (N,)."""
        units = rng.random((count, self.width))
        values = self.measured(units, rng)
        columns = [make_column(n, d) for n, d in self.distributions.items()]
        placed = [c.at_quantiles(units[:, j])[1].tolist() for j, c in enumerate(columns)]
        return [
            dict(zip(self.names, row, strict=True)) for row in zip(*placed, strict=True)
        ], values

    @cached_property
    def _grid(self) -> Array:
        along = (np.arange(CELLS) + 0.5) / CELLS
        cells = np.stack(np.meshgrid(*[along] * ACTING, indexing="ij"), axis=-1)
        return self.function(cells.reshape(-1, ACTING)).reshape([CELLS] * ACTING)

    @cached_property
    def truth(self) -> dict[tuple[str, ...], float]:
        """The share of every main effect and pair in the variance of noisy values."""

        def closed(*kept: int) -> float:
            others = tuple(j for j in range(ACTING) if j not in kept)
            return float(self._grid.mean(axis=others).var())

        whole = self._grid.var() / (1 - self.noise)
        main = [closed(j) for j in range(ACTING)]
        found: dict[tuple[str, ...], float] = {}
        for j in range(self.width):
            found[f"x{j}",] = main[j] / whole if j < ACTING else 0.0
        for j, k in combinations(range(self.width), 2):
            own = closed(j, k) - main[j] - main[k] if k < ACTING else 0.0
            found[f"x{j}", f"x{k}"] = own / whole
        return found
