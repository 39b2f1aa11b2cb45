"""Points to start from that an earlier study found: its best, where this study's space holds them.

Only numbers and names of choices are taken over, and only those that this study's own space allows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from search_spaces import SearchSpace
from search_spaces.unit_cube import holds

MOST = 8


def earlier_points(
    ranked: Iterable[Mapping[str, Any]], space: SearchSpace
) -> tuple[list[dict[str, Any]], int]:
    """Return the best different points of an earlier study, and how many better ones do not fit.

    `ranked` are its points, best first; better ones come before the last that is taken.  Parameters
    that this space lacks are left out; those that the earlier study lacked are left to the sampler.
    """
    points: list[dict[str, Any]] = []
    outside = better = 0
    for earlier in ranked:
        if len(points) == MOST:
            break
        point = _within(earlier, space)
        if point is None:
            outside += 1
        elif point not in points:
            points.append(point)
            better = outside
    return points, better


def _within(earlier: Mapping[str, Any], space: SearchSpace) -> dict[str, Any] | None:
    """Return what a point says about the parameters of a space; None if a value is outside."""
    point: dict[str, Any] = {}
    for name, distribution in space.distributions.items():
        if name not in earlier or not space.is_active(name, point):
            continue
        if not holds(distribution, earlier[name]):
            return None
        internal = distribution.to_internal_repr(earlier[name])
        point[name] = distribution.to_external_repr(internal)  # in the type that this space has
    return point or None


def started_from(points: Sequence[Mapping[str, Any]], better: int, target: str) -> str:
    """Return one line about what was taken over."""
    best = "best point" if len(points) == 1 else f"{len(points)} best points"
    left = "1 better one lies" if better == 1 else f"{better} better ones lie"
    line = f"starting from the {best} of {target}, marked as enqueued"
    return f"{line}; {left} outside this study's space" if better else line
