"""Several objectives in one order: by fronts, and in a front the least crowded first.

Deb et al. 2002 (NSGA-II): the first front are those that nobody dominates, the next those that
only the fronts before it dominate.  In a front its ends come first, then those whose neighbours are
farthest away.  Equal ones take one place, so only the first of them can be an end.  Optuna ranks so
too, but offers no public function for it.  With one objective this is the order of its values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from study.kinds.metrics import Array


def fronts(values: Mapping[int, Sequence[float]]) -> list[list[int]]:
    """Return the keys in fronts, best first; of ties the lower number comes first.

    `values` are M each, higher is better; one that was not measured is -inf in all.
    """
    numbers = sorted(values)
    points = np.array([values[number] for number in numbers])  # (N, M)
    at_least = np.all(points[:, None] >= points[None], axis=2)  # (N, N)
    dominates = at_least & ~at_least.T
    better = dominates.sum(axis=0)  # (N,): how many of those left dominate each
    left = np.ones(len(numbers), dtype=bool)
    found: list[list[int]] = []
    while left.any():
        front = left & (better == 0)
        left &= ~front
        better -= dominates[front].sum(axis=0)
        (places,) = front.nonzero()
        order = np.argsort(-_room(points[places]), kind="stable")
        found.append([numbers[place] for place in places[order]])
    return found


def _room(points: Array) -> Array:
    """Return the crowding distances (n,) of a front's points (n, M)."""
    room = np.zeros(len(points))
    _, different = np.unique(points, axis=0, return_index=True)
    for values in points.T:
        order = different[np.argsort(values[different], kind="stable")]
        low, high = values[order[[0, -1]]]
        if high > low:
            room[order[1:-1]] += (values[order[2:]] - values[order[:-2]]) / (high - low)
            room[order[[0, -1]]] = np.inf
    return room
