"""Map values of Optuna's distributions to the unit interval and back.

Every distribution keeps its own scale: a log-scaled range is uniform in the logarithm, and a
distribution of n levels (categories, stepped or integer ranges) divides [0, 1) into n equal cells
or, on a log scale, into the cells that Optuna samples.  Samplers map uniform numbers to values; the
analysis maps values to the unit interval.  Both directions are defined here so that they agree.
"""

from __future__ import annotations

import math
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)


def in_words(distribution: BaseDistribution) -> str:
    """Return the values that a distribution allows, for messages: "4, 8, 16", "0.1 to 0.5"."""
    if isinstance(distribution, CategoricalDistribution):
        return ", ".join(map(str, distribution.choices))
    assert isinstance(distribution, (IntDistribution, FloatDistribution))
    step = f" in steps of {distribution.step:g}" if distribution.step not in (None, 1) else ""
    return f"{distribution.low:g} to {distribution.high:g}{step}"


def holds(distribution: BaseDistribution, value: Any) -> bool:
    """Return whether a distribution allows an external value, of whatever type."""
    try:
        return bool(distribution._contains(distribution.to_internal_repr(value)))
    except (TypeError, ValueError):
        return False


def level_count(distribution: BaseDistribution) -> int | None:
    """Return the number of levels of a discrete distribution; None for a continuous one."""
    if isinstance(distribution, CategoricalDistribution):
        return len(distribution.choices)
    if isinstance(distribution, IntDistribution):
        return (distribution.high - distribution.low) // distribution.step + 1
    if isinstance(distribution, FloatDistribution) and distribution.step is not None:
        return round((distribution.high - distribution.low) / distribution.step) + 1
    return None


def from_unit(distribution: BaseDistribution, unit: float) -> Any:
    """Return the external value at position 0 <= `unit` < 1 on the distribution's scale."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[_cell(unit, len(distribution.choices))]
    if isinstance(distribution, IntDistribution):
        if distribution.log:
            low, high = math.log(distribution.low - 0.5), math.log(distribution.high + 0.5)
            level = round(math.exp(low + unit * (high - low)))
            return min(max(level, distribution.low), distribution.high)
        levels = level_count(distribution)
        assert levels is not None
        return distribution.low + distribution.step * _cell(unit, levels)
    assert isinstance(distribution, FloatDistribution), distribution
    if distribution.step is not None:
        levels = level_count(distribution)
        assert levels is not None
        # rounding may put the last level above `high`, which Optuna would refuse
        return min(distribution.low + distribution.step * _cell(unit, levels), distribution.high)
    if distribution.log:
        low, high = math.log(distribution.low), math.log(distribution.high)
        value = math.exp(low + unit * (high - low))
        return min(max(value, distribution.low), distribution.high)
    return distribution.low + unit * (distribution.high - distribution.low)


def to_unit(distribution: BaseDistribution, value: Any) -> float:
    """Return the position of an external value in [0, 1]; for a level, the middle of its cell."""
    if isinstance(distribution, CategoricalDistribution):
        return (distribution.to_internal_repr(value) + 0.5) / len(distribution.choices)
    if isinstance(distribution, IntDistribution) and distribution.log:
        low, high = math.log(distribution.low - 0.5), math.log(distribution.high + 0.5)
        return float((math.log(value) - low) / (high - low))
    levels = level_count(distribution)
    assert isinstance(distribution, (IntDistribution, FloatDistribution)), distribution
    if levels is not None:
        assert distribution.step is not None
        return float((round((value - distribution.low) / distribution.step) + 0.5) / levels)
    if distribution.high == distribution.low:
        return 0.5
    if distribution.log:
        width = math.log(distribution.high / distribution.low)
        return float(math.log(value / distribution.low) / width)
    return float((value - distribution.low) / (distribution.high - distribution.low))


def _cell(unit: float, levels: int) -> int:
    return min(int(unit * levels), levels - 1)
