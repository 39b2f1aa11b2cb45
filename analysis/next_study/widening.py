"""A search parameter as written in a study file, with its ends moved."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Any

from analysis.next_study.boundaries import End

GROWTH = 1 / 3  # of a range's width on its own scale, added at one end
NEW_LEVELS = 2
MARGIN = 0.1  # of a range, around its good part
WORTH = 0.6  # of a range: a larger part is not worth narrowing to

Written = Mapping[str, Any]  # low and high, or choices, or value, as in [search.parameters.NAME]


def widened(parameter: Written, end: End, limits: tuple[float, float]) -> dict[str, Any] | None:
    """Return the parameter extended at one end; None where it has no order or no room there.

    A range grows by a third of its width on its own scale, choices by two levels in their own
    progression; it stays within `limits`, those of `study.spec.hyperparameters.limits_of`.
    """
    if "choices" in parameter:
        return _more_choices(parameter, end, limits)
    return _more_range(parameter, end, limits)


def narrowed(parameter: Written, good: Sequence[Any], best: Any) -> dict[str, Any] | None:
    """Return the part of a parameter that holds the good values and the best, with a margin.

    The lowest and the highest tenth of the good values do not count; the margin is a tenth of the
    range, or the next choice.  None where the part is nearly all of it.
    """
    few = len(good) // 10
    good = sorted([*sorted(good)[few : len(good) - few], best])
    if "choices" in parameter:
        return _fewer_choices(parameter, good)
    scale, back = (math.log, math.exp) if parameter.get("log") else (float, float)
    low, high = scale(parameter["low"]), scale(parameter["high"])
    margin = MARGIN * (high - low)
    start = max(scale(good[0]) - margin, low)
    end = min(scale(good[-1]) + margin, high)
    is_whole_or_stepped = isinstance(parameter["low"], int) or parameter.get("step")
    if end - start > WORTH * (high - low) or is_whole_or_stepped:
        return None
    ends = {"low": rounded(back(start), "low"), "high": rounded(back(end), "high")}
    return {**parameter, **ends}


def _fewer_choices(parameter: Written, good: Sequence[Any]) -> dict[str, Any] | None:
    choices = parameter["choices"]
    if not _are_numbers(choices):
        return None
    levels = sorted(choices)
    start = max(levels.index(good[0]) - 1, 0)
    part = levels[start : levels.index(good[-1]) + 2]
    return {**parameter, "choices": part} if len(part) <= WORTH * len(levels) else None


def _more_range(parameter: Written, end: End, limits: tuple[float, float]) -> dict[str, Any] | None:
    low, high = parameter["low"], parameter["high"]
    whole = isinstance(low, int) and isinstance(high, int)
    if parameter.get("step"):
        moved = _some_steps_on(parameter, end, limits)
    elif parameter.get("log"):
        factor = (high / low) ** GROWTH
        moved = rounded(low / factor if end == "low" else high * factor, end)
    else:
        width = (high - low) * GROWTH
        width = math.ceil(width) if whole else width
        moved = rounded(low - width if end == "low" else high + width, end)
    if not limits[0] < moved < limits[1]:
        moved = (parameter[end] + limits[end == "high"]) / 2
    moved = round(moved) if whole else float(moved)
    if moved == parameter[end] or not limits[0] < moved < limits[1]:
        return None
    return {**parameter, end: moved}


def _some_steps_on(parameter: Written, end: End, limits: tuple[float, float]) -> float:
    """Return the end moved by as many whole steps as the limits allow, perhaps none.

    In decimals, as written in a study file: the step must still divide the range.
    """
    low, high, step = (Decimal(str(parameter[key])) for key in ("low", "high", "step"))
    steps = math.ceil(round(float((high - low) / step) * GROWTH, 9))
    ways = (low - n * step if end == "low" else high + n * step for n in range(steps, 0, -1))
    return float(next((way for way in ways if limits[0] < way < limits[1]), parameter[end]))


def _more_choices(
    parameter: Written, end: End, limits: tuple[float, float]
) -> dict[str, Any] | None:
    choices = parameter["choices"]
    if len(choices) < 2 or not _are_numbers(choices):
        return None
    levels = sorted(choices, reverse=end == "low")  # outwards
    is_geometric = min(levels) > 0 and _is_constant([b / a for a, b in pairwise(levels)])
    new = list(levels)
    for _ in range(NEW_LEVELS):
        grown = new[-1] ** 2 / new[-2] if is_geometric else 2 * new[-1] - new[-2]
        grown = round(grown) if all(isinstance(c, int) for c in choices) else rounded(grown, end)
        if not limits[0] < grown < limits[1] or grown in new:
            break
        new.append(grown)
    return {**parameter, "choices": sorted(new)} if len(new) > len(levels) else None


def _are_numbers(choices: Sequence[Any]) -> bool:
    return not any(isinstance(choice, (bool, str)) for choice in choices)


def _is_constant(ratios: list[float]) -> bool:
    return max(ratios) - min(ratios) < 1e-6 * abs(ratios[0])


def rounded(value: float, end: End) -> float:
    """Round outwards to two significant digits, as a person writes an end."""
    if value == 0:
        return 0.0
    places = 1 - math.floor(math.log10(abs(value)))
    scaled = value * 10.0**places
    outwards = math.floor(scaled + 1e-6) if end == "low" else math.ceil(scaled - 1e-6)
    return float(f"{outwards / 10.0**places:.6g}")
