"""Whether the best trials crowd at an end of a searched range."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from analysis.significance import LEVEL
from analysis.surrogates.encoding import Array, Column

EDGE = 0.1  # the part of a continuous range that counts as its end
TOP_SHARE, TOP_LEAST = 0.1, 5
Flags = NDArray[np.bool_]
End = Literal["low", "high"]


@dataclass(frozen=True)
class Crowd:
    """`inside` of the `best` best trials lie at the `end`."""

    end: End
    inside: int
    best: int


def how_many_best(trials: int) -> int:
    """Return how many of N trials count as the best: a tenth, but at least five."""
    return min(max(math.ceil(TOP_SHARE * trials), TOP_LEAST), trials)


def crowd_at_end(best: Array, column: Column) -> Crowd | None:
    """Return the end of a parameter's range at which the best trials crowd beyond chance.

    `best` (k,) holds their positions.  The end is the last level, or a tenth of a continuous range.
    A one-sided binomial test at LEVEL per end: where chance alone fills an end too easily, as with
    two levels and few trials, the result is None.
    """
    if column.positions is None or column.weights is None:
        return _crowd(best <= EDGE, best >= 1 - EDGE, EDGE, EDGE)
    middle = (column.positions[:-1] + column.positions[1:]) / 2
    first, last = float(column.weights[0]), float(column.weights[-1])
    return _crowd(best < middle[0], best > middle[-1], first, last)


def crowd_in_sample(best: Array, uniform: Array) -> Crowd | None:
    """Return the same for a derived coordinate: each end holds a tenth of `uniform` (M,)."""
    low, high = np.quantile(uniform, [EDGE, 1 - EDGE])
    return _crowd(best <= low, best >= high, EDGE, EDGE)


def _crowd(at_low: Flags, at_high: Flags, low: float, high: float) -> Crowd | None:
    from scipy.stats import binom

    ends: tuple[tuple[End, Flags, float], ...] = (("low", at_low, low), ("high", at_high, high))
    for end, at_end, expected in ends:
        inside, best = int(at_end.sum()), len(at_end)
        if float(binom.sf(inside - 1, best, expected)) <= LEVEL:
            return Crowd(end, inside, best)
    return None
