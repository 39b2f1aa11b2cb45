"""Objectives whose shares are known: what the importance benchmarks are run on.

Every case is a function of positions in the unit cube, so a log-scaled parameter acts through its
logarithm, as a learning rate does.  True first-order shares come from the pick-freeze estimator of
Saltelli et al. (2010) on 2^15 scrambled Sobol points, good to about 0.001; noise of a given part of
the variance shrinks them all alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from scipy.stats import qmc

from analysis.surrogates.encoding import Array, Column, make_column

NOISE = (0.0, 0.1, 0.3)


@dataclass(frozen=True)
class Case:
    """A named objective over a search space."""

    name: str
    distributions: dict[str, BaseDistribution]
    function: Callable[[Array], Array]

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """The parameters as columns of the unit cube."""
        return tuple(make_column(n, d) for n, d in self.distributions.items())

    def trials(
        self, count: int, noise: float, seed: int
    ) -> tuple[list[dict[str, Any]], Array, Array]:
        """Return random points, their noisy values (N,), and the true shares of the whole (D,)."""
        rng = np.random.default_rng([seed, count, int(100 * noise)])
        positions, values = self._placed(rng.random((count, len(self.columns))))
        points = [
            {c.name: _plain(v[i]) for c, v in zip(self.columns, values, strict=True)}
            for i in range(count)
        ]
        share, variance = self.truth
        deviation = np.sqrt(variance * noise / (1.0 - noise))
        observed = self.function(positions) + deviation * rng.normal(size=count)
        return points, observed, share * (1.0 - noise)

    @cached_property
    def truth(self) -> tuple[Array, float]:
        """The first-order shares (D,) without noise, and the variance."""
        width = len(self.columns)
        raw = qmc.Sobol(2 * width, rng=np.random.default_rng(0)).random(1 << 15)
        a, b = self._placed(raw[:, :width])[0], self._placed(raw[:, width:])[0]
        f_a, f_b = self.function(a), self.function(b)
        both = np.concatenate([f_a, f_b])
        shares = []
        for j in range(width):
            mixed = b.copy()
            mixed[:, j] = a[:, j]
            f_mixed = self.function(mixed)
            shares.append(np.mean((f_a - f_a.mean()) * (f_mixed - f_mixed.mean())) / both.var())
        return np.maximum(np.array(shares), 0.0), float(both.var())

    def _placed(self, quantiles: Array) -> tuple[Array, list[Any]]:
        placed = [c.at_quantiles(quantiles[:, j]) for j, c in enumerate(self.columns)]
        return np.stack([p for p, _ in placed], axis=1), [v for _, v in placed]


def linear(*names: str) -> dict[str, BaseDistribution]:
    """Return continuous parameters between zero and one."""
    return {name: FloatDistribution(0.0, 1.0) for name in names}


def ishigami(u: Array) -> Array:
    """Ishigami, Homma (1990): a parameter that acts through an interaction only."""
    x = (2 * u - 1) * np.pi
    return np.sin(x[:, 0]) + 7 * np.sin(x[:, 1]) ** 2 + 0.1 * x[:, 2] ** 4 * np.sin(x[:, 0])


def sobol_g(u: Array) -> Array:
    """Sobol's g-function, a = 0, 1, 4.5, 9: kinks and interactions of every order."""
    a = np.array([0, 1, 4.5, 9])
    return np.prod((np.abs(4 * u - 2) + a) / (1 + a), axis=1)


def additive(u: Array) -> Array:
    """A sum of a line, a wave and a parabola, and an idle parameter."""
    return 3 * u[:, 0] + np.sin(2 * np.pi * u[:, 1]) + u[:, 2] ** 2


def multiplicative(u: Array) -> Array:
    """A product of three."""
    return (0.2 + u[:, 0]) * (0.5 + u[:, 1]) * np.exp(-u[:, 2])


def cliff(u: Array) -> Array:
    """A log-scaled learning rate that improves until training diverges."""
    return np.where(u[:, 0] > 0.8, -4.0, -((3 * (u[:, 0] - 0.6)) ** 2)) + 0.3 * u[:, 1]


def plateau(u: Array) -> Array:
    """Flat, a ramp, flat again, and a step."""
    return np.clip(8 * (u[:, 0] - 0.4), 0, 1) + 0.5 * (u[:, 1] > 0.5)


def category(u: Array) -> Array:
    """Five target-module sets, one of them modulated by a log-scaled learning rate."""
    effect = np.array([0, 1.5, -0.5, 0.3, 2.0])[np.minimum((u[:, 0] * 5).astype(int), 4)]
    return effect * (1 + 0.5 * (u[:, 2] - 0.5)) + u[:, 1]


def lora(u: Array) -> Array:
    """A rise and fall in α / r · learning rate over the narrow LoRA space, with collapse beyond."""
    z = 9 * u[:, 0] - u[:, 1] + 1.5 * (u[:, 2] - 0.5) - 4.5
    return np.where(z > 3.2, 10.0, 60 - 3 * z**2)


def wide_rate(u: Array) -> Array:
    """The same product with the learning rate over four decades: the rate takes α's place."""
    z = 4 * np.log(10) * (u[:, 1] - 0.5) + (u[:, 0] - 0.5) * np.log(16)
    return 40 + 20 * np.tanh(z / 2) - np.where(z > 3, (z - 3) * 15, 0)


def optimum(u: Array) -> Array:
    """Two log-scaled parameters with one optimum and a ridge between them."""
    return -((4 * (u[:, 0] - 0.6)) ** 2) - 3 * (u[:, 0] + u[:, 1] - 1.1) ** 2 - 0.5 * u[:, 2]


def log(low: float, high: float) -> FloatDistribution:
    """Return a log-scaled range."""
    return FloatDistribution(low, high, log=True)


RATE = {"learning_rate": log(1e-5, 1e-1)}
ALPHA: dict[str, BaseDistribution] = {"alpha": CategoricalDistribution([2**i for i in range(9)])}
CASES = (
    Case("ishigami", linear("a", "b", "c"), ishigami),
    Case("sobol_g", linear("a", "b", "c", "d"), sobol_g),
    Case("additive", linear("a", "b", "c", "d"), additive),
    Case("multiplicative", linear("a", "b", "c", "d"), multiplicative),
    Case("plateau", linear("a", "b", "c", "d"), plateau),
    Case("cliff", {**RATE, **linear("dropout", "c", "d")}, cliff),
    Case(
        "category",
        {"target": CategoricalDistribution(list("abcde")), **linear("dropout"), **RATE},
        category,
    ),
    Case(
        "lora",
        {
            **ALPHA,
            "rank": CategoricalDistribution([8, 16]),
            "learning_rate": log(2e-4, 5e-4),
            "dropout": FloatDistribution(0.0, 0.3),
        },
        lora,
    ),
    Case("wide_rate", {"alpha": log(8, 128), **RATE, **linear("dropout")}, wide_rate),
    Case("optimum", {**RATE, "weight_decay": log(1e-6, 1e-1), **linear("dropout")}, optimum),
)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
