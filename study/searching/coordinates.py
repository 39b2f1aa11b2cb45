"""The coordinates in which scores of LoRA trainings vary smoothly.

A score depends on learning rate, alpha and rank mostly through one product, lr · alpha / rank^p:
under Adam, a step moves the layer's weight by about the learning rate times the scale on BA, which
is alpha / rank.  How much of the rank cancels differs between studies, so p is estimated.

Every other parameter keeps its own scale: the logarithm of a log-scaled range and of choices that
span a factor of four or more, and one axis per choice where choices have no order.  A unit of
length is the distance over which scores are expected to change: 0.8 decades of the product, and the
whole range of anything else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from search_spaces.unit_cube import from_unit, level_count, to_unit
from study.kinds.metrics import Array

PRODUCT = ("learning_rate", "alpha")
RANK = "rank"
DECADES = 0.8  # of the product, over which scores are expected to change
LOG_FACTOR = 4.0  # choices that span as much are compared by their logarithms
MOST_LEVELS = 256  # more are treated as a continuous range
UNKNOWN = 0.5  # the position of a parameter that a trial does not have


@dataclass(frozen=True)
class Axis:
    """One parameter: how a position on the unit interval becomes coordinates."""

    name: str
    distribution: BaseDistribution

    @cached_property
    def levels(self) -> list[Any] | None:
        """The values of choices and of few equal steps, in order; None for other ranges."""
        count = level_count(self.distribution)
        is_range = not isinstance(self.distribution, CategoricalDistribution)
        if count is None or (is_range and (count > MOST_LEVELS or self._is_log)):
            return None
        return [from_unit(self.distribution, (i + 0.5) / count) for i in range(count)]

    @cached_property
    def ends(self) -> tuple[float, float] | None:
        """The smallest and the largest value; None if its values are not numbers."""
        if isinstance(self.distribution, CategoricalDistribution):
            numbers = [
                float(c)
                for c in self.distribution.choices
                if isinstance(c, (int, float)) and not isinstance(c, bool)
            ]
            is_whole = len(numbers) == len(self.distribution.choices)
            return (min(numbers), max(numbers)) if is_whole else None
        assert isinstance(self.distribution, (IntDistribution, FloatDistribution))
        return float(self.distribution.low), float(self.distribution.high)

    @property
    def is_positive(self) -> bool:
        """Whether its values have logarithms."""
        return self.ends is not None and self.ends[0] > 0

    @property
    def _is_log(self) -> bool:
        return bool(getattr(self.distribution, "log", False))

    def places(self, units: Array) -> Array:
        """Return the coordinates (N, C) of positions (N,)."""
        if self.ends is None:
            assert self.levels is not None
            chosen = self._level(units)[:, None] == np.arange(len(self.levels))
            return np.asarray(chosen / math.sqrt(2.0))  # different choices are at distance one
        return self._scaled(units)[:, None]

    def logarithms(self, units: Array) -> Array:
        """Return the decimal logarithms of the positive values at positions (N,), (N,)."""
        if self.levels is not None:
            return np.asarray(np.log10(np.array(self.levels, float))[self._level(units)])
        assert self.ends is not None
        low, high = self.ends
        if self._is_log:
            return np.asarray(math.log10(low) + units * math.log10(high / low))
        return np.asarray(np.log10(low + units * (high - low)))

    def _scaled(self, units: Array) -> Array:
        """Return positions (N,) on the parameter's own scale, from 0 to 1 over its range."""
        if not isinstance(self.distribution, CategoricalDistribution):
            return units
        assert self.ends is not None
        values, (low, high) = np.array(self.distribution.choices, float), self.ends
        if self.is_positive and high >= LOG_FACTOR * low:
            values, low, high = np.log(values), math.log(low), math.log(high)
        return np.asarray(((values - low) / ((high - low) or 1.0))[self._level(units)])

    def _level(self, units: Array) -> Any:
        assert self.levels is not None
        return np.clip((units * len(self.levels)).astype(int), 0, len(self.levels) - 1)


@dataclass(frozen=True)
class Coordinates:
    """The axes of a search space."""

    axes: tuple[Axis, ...]

    @classmethod
    def of(cls, distributions: Mapping[str, BaseDistribution]) -> Coordinates:
        """Return the coordinates of a space."""
        return cls(tuple(Axis(name, d) for name, d in distributions.items()))

    @cached_property
    def in_product(self) -> tuple[int, ...]:
        """The places of learning rate and alpha among the axes."""
        return tuple(
            i for i, axis in enumerate(self.axes) if axis.name in PRODUCT and axis.is_positive
        )

    @cached_property
    def rank(self) -> int | None:
        """The place of the rank, where it divides the product."""
        places = [i for i, axis in enumerate(self.axes) if axis.name == RANK and axis.is_positive]
        return places[0] if places and self.in_product else None

    def units(self, points: Sequence[Mapping[str, Any]]) -> Array:
        """Return the positions (N, D) of points; a parameter that one lacks is in the middle."""
        return np.array(
            [
                [
                    to_unit(axis.distribution, point[axis.name]) if axis.name in point else UNKNOWN
                    for axis in self.axes
                ]
                for point in points
            ]
        ).reshape(len(points), len(self.axes))

    def places(self, units: Array, exponent: float) -> Array:
        """Return the coordinates (N, C) of positions (N, D), with rank^exponent in the product.

        Alpha has no coordinate beside the product, and the learning rate has one only if alpha is
        searched too.
        """
        parts = [
            axis.places(units[:, i])
            for i, axis in enumerate(self.axes)
            if i not in self.in_product or (axis.name == PRODUCT[0] and len(self.in_product) > 1)
        ]
        if self.in_product:
            logs = [self.axes[i].logarithms(units[:, i]) for i in self.in_product]
            product = np.sum(logs, axis=0)
            if self.rank is not None:
                product = product - exponent * self.axes[self.rank].logarithms(units[:, self.rank])
            parts.append((product / DECADES)[:, None])
        return np.hstack(parts)
