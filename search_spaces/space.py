"""A search space: names, Optuna's distributions, and conditions between them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import Trial

from search_spaces.unit_cube import from_unit, level_count


@dataclass(frozen=True)
class SearchSpace:
    """Parameters to search: name -> distribution, and the conditions under which each is active.

    `conditions` maps a name to {other name: values}; the parameter is suggested only if each of the
    others was suggested with one of its values.  Conditions refer only to earlier names.
    """

    distributions: Mapping[str, BaseDistribution]
    conditions: Mapping[str, Mapping[str, tuple[Any, ...]]]

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """Ask the trial for every active parameter; returns name -> value."""
        values: dict[str, Any] = {}
        for name, distribution in self.distributions.items():
            if self.is_active(name, values):
                values[name] = _suggest(trial, name, distribution)
        return values

    def is_active(self, name: str, values: Mapping[str, Any]) -> bool:
        """Say whether the values chosen so far make this parameter active."""
        return all(
            other in values and values[other] in allowed
            for other, allowed in self.conditions.get(name, {}).items()
        )

    def middle(self) -> dict[str, Any]:
        """Return the middle of every parameter, on its own scale."""
        return {name: from_unit(d, 0.5) for name, d in self.distributions.items()}

    def product_size(self) -> int | None:
        """Return the product of the numbers of levels; None if a range is continuous."""
        levels = [level_count(d) for d in self.distributions.values()]
        return None if None in levels else math.prod(n for n in levels if n is not None)

    def grid_size(self) -> int | None:
        """Return the number of points of the complete grid; None if a range is continuous."""
        if not self.conditions or self.product_size() is None:
            return self.product_size()
        return len(self.grid_points())

    def grid_points(self) -> list[dict[str, Any]]:
        """Return every point of the complete grid once, the last parameter varying fastest.

        A point holds only its active parameters, so no two points differ only in inactive ones.
        """
        points: list[dict[str, Any]] = [{}]
        for name, distribution in self.distributions.items():
            values = _levels(distribution)
            points = [
                extended
                for point in points
                for extended in (
                    [{**point, name: v} for v in values] if self.is_active(name, point) else [point]
                )
            ]
        return points


def _levels(distribution: BaseDistribution) -> list[Any]:
    if isinstance(distribution, IntDistribution):  # on a log scale their cells are uneven
        return list(range(distribution.low, distribution.high + 1, distribution.step))
    count = level_count(distribution)
    assert count is not None, f"{distribution} is continuous"
    return [from_unit(distribution, (level + 0.5) / count) for level in range(count)]


def _suggest(trial: Trial, name: str, distribution: BaseDistribution) -> Any:
    match distribution:
        case CategoricalDistribution(choices=choices):
            return trial.suggest_categorical(name, choices)
        case IntDistribution(low=low, high=high, log=log, step=step):
            return trial.suggest_int(name, low, high, log=log, step=step)
        case FloatDistribution(low=low, high=high, log=log, step=step):
            return trial.suggest_float(name, low, high, log=log, step=step)
    raise TypeError(f"{name}: unsupported distribution {distribution!r}")
