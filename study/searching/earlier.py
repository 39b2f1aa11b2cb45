"""Points to start from that an earlier study found: its best, where this study's space holds them.

Only numbers and names of choices are taken over, and only those that this study's own space allows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution

from search_spaces import SearchSpace

MOST = 8


def earlier_points(
    ranked: Iterable[Mapping[str, Any]], space: SearchSpace, most: int = MOST
) -> tuple[list[dict[str, Any]], int]:
    """Return the best different points of an earlier study, and how many better ones do not fit.

    `ranked` are its points, best first.  Parameters that this space lacks are left out; those that
    the earlier study lacked are left to the sampler.
    """
    points: list[dict[str, Any]] = []
    outside = 0
    for earlier in ranked:
        if len(points) == most:
            break
        point = _within(earlier, space)
        if point is None:
            outside += 1
        elif point not in points:
            points.append(point)
    return points, outside


def _within(earlier: Mapping[str, Any], space: SearchSpace) -> dict[str, Any] | None:
    """Return what a point says about the parameters of a space; None if a value is outside."""
    point: dict[str, Any] = {}
    for name, distribution in space.distributions.items():
        if name not in earlier or not space.is_active(name, point):
            continue
        value = _own_value(distribution, earlier[name])
        if value is None:
            return None
        point[name] = value
    return point or None


def _own_value(distribution: BaseDistribution, value: Any) -> Any:
    """Return the value in the type that the space gives it; None if the space does not hold it."""
    try:
        internal = distribution.to_internal_repr(value)
    except (ValueError, TypeError):
        return None
    if not distribution._contains(internal):
        return None
    return distribution.to_external_repr(internal)


def started_from(points: Sequence[Mapping[str, Any]], outside: int, target: str) -> str:
    """Return one line about what was taken over."""
    line = f"starting from the {len(points)} best points of {target}, marked as enqueued"
    return f"{line}; {outside} better ones lie outside this study's space" if outside else line
