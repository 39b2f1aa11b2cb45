"""Where the score is flat: the values from which nearly the best can still be reached.

A configuration is good enough unless it loses more than a margin against the best, by more than one
standard error of that loss, as the surrogate's posterior has it.  (Breiman, Friedman, Olshen, Stone
1984 choose the simplest tree within one standard error of the best for the same reason: the best of
many estimates is too good.)  Without that allowance the ranges are too narrow wherever the expected
best lies in a corner beyond the trials: it is too high there, and known too little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from analysis.importance.confounding import Derived, products_of
from analysis.importance.other_questions import FittedSurrogate
from analysis.surrogates.encoding import Array, Column
from analysis.surrogates.gaussian_process import GaussianProcessSurrogate
from analysis.wording import setting

ALLOWANCE = 1.0  # standard errors of the loss (`benchmarks/tuning_worth.py`)
WIDENED, FEW = 1.2, 10  # the posterior's deviation is widened by 1.2 + 10 / trials, since lengths,
# scales and noise of the process are estimates (`benchmarks/tuning_worth.py`)
MOSTLY = 0.9  # of the configurations with a product must be good enough
BINS = 40  # of a product, with equally many configurations in each


@dataclass(frozen=True)
class FlatRange:
    """The values of a parameter or product that reach the best score less the margin.

    `low` and `high` are its ends, or `values` the levels; `whole` says that all values do.
    """

    name: str
    low: Any
    high: Any
    values: tuple[Any, ...]
    whole: bool

    @property
    def words(self) -> str:
        """The range as a person writes it."""
        ends = self.values or dict.fromkeys((self.low, self.high))
        joined = (", " if self.values else " to ").join(map(setting, ends))
        return f"{joined} (all)" if self.whole else joined


def widening(fitted: FittedSurrogate) -> float:
    """Return what the posterior's standard deviations are multiplied by."""
    return WIDENED + FEW / len(fitted.values)


def flat_ranges(
    fitted: FittedSurrogate,
    process: GaussianProcessSurrogate,
    best: Array,
    reaching: Sequence[Array],
    margin: float,
) -> tuple[FlatRange, ...]:
    """Return the good values of each parameter that is active at the best position (D,).

    `reaching` is of `reaching_best`: a value is good if its configuration is good enough.
    """
    active = fitted.activity.at(best[None])[0]
    found = []
    for j, tried in enumerate(reaching):
        if active[j]:
            good = is_good_enough(fitted, process, best, tried, margin)
            found.append(_range(process.columns[j], best[j], good))
    return tuple(found)


def is_good_enough(
    fitted: FittedSurrogate,
    process: GaussianProcessSurrogate,
    best: Array,
    tried: Array,
    margin: float,
) -> Any:
    """Return which of (M, D) positions lose no more than the margin, within the allowance, (M,)."""
    difference, error = process.deviation_from(best, tried)
    return -fitted.sign * difference - ALLOWANCE * widening(fitted) * error <= margin


def reaching_best(
    fitted: FittedSurrogate, process: GaussianProcessSurrogate, best: Array
) -> list[Array]:
    """Return for each grid value of each parameter the best configuration with it, (G, D) each.

    The others are as in the best, but for the one that makes up for most, which must leave the
    parameter active.
    """
    at, columns = process.factors_at(best), process.columns
    grids = [column.grid() for column in columns]
    tried, reached, kept = [], [], []
    for j, grid in enumerate(grids):
        along = np.tile(best, (len(grid), 1))
        along[:, j] = grid
        tried.append(along)
        reached.append(fitted.sign * process.plane(at, j)[:, 0])
        kept.append(fitted.activity.at(along))  # (G, D): what each of its values leaves active
    for j, k in combinations(range(len(columns)), 2):
        plane = fitted.sign * process.plane(at, j, k)  # (G, H)
        for one, other, scores in ((j, k, plane), (k, j, plane.T)):
            scores = np.where(kept[other][:, one], scores, -np.inf)
            place = scores.argmax(axis=1)
            better = scores.max(axis=1) > reached[one]
            reached[one][better] = scores.max(axis=1)[better]
            tried[one][better] = best
            tried[one][better, one] = grids[one][better]
            tried[one][better, other] = grids[other][place[better]]
    return tried


def _range(column: Column, best: float, good: Any) -> FlatRange:
    """Return the values of a parameter around its `best` position that are `good` (G,) enough."""
    nearest = int(np.abs(column.grid() - best).argmin())
    values = column.grid_values()
    if not column.ordered:
        kept = tuple(v for v, ok in zip(values, good, strict=True) if ok) or (values[nearest],)
        return FlatRange(column.name, None, None, kept, len(kept) == len(values))
    low = high = nearest  # the best itself is good enough, if not its neighbour on the grid
    while low > 0 and good[low - 1]:
        low -= 1
    while high < len(good) - 1 and good[high + 1]:
        high += 1
    return FlatRange(
        column.name, values[low], values[high], (), (low, high) == (0, len(values) - 1)
    )


def widest_product(
    fitted: FittedSurrogate,
    process: GaussianProcessSurrogate,
    best: Array,
    candidates: Array,
    margin: float,
) -> FlatRange | None:
    """Return the widest range of a product in which most of the candidates (M, D) are good enough.

    None where there is no such range, or a factor is not active at the best position (D,).
    """
    point, activity = fitted.activity.point_at(best), fitted.activity
    space = {c.name: c.distribution for c in process.columns if c.name in point}
    names, products = products_of(space)
    wanted = [j for j, c in enumerate(process.columns) if c.name in names.values()]
    some = candidates[activity.at(candidates)[:, wanted].all(axis=1)]
    if not products or len(some) < BINS:
        return None
    good = is_good_enough(fitted, process, best, some, margin)
    points = [activity.point_at(unit) for unit in some]
    ranges = (_product(product, names, points, good, point) for product in products)
    return max(
        (r for r in ranges if r is not None), key=lambda r: np.log(r.high / r.low), default=None
    )


def _product(
    product: Derived,
    names: Mapping[str, str],
    points: Sequence[Mapping[str, Any]],
    good: Any,
    best: Mapping[str, Any],
) -> FlatRange | None:
    """Return the widest range of a product around the best in which most configurations are good.

    `names` are the parameters by role, `good` (M,) says which points are good enough.
    """

    def of(point: Mapping[str, Any]) -> float:
        return float(product.compute({role: float(point[name]) for role, name in names.items()}))

    at = np.array([of(point) for point in points])
    order = np.argsort(at)
    bins = np.array_split(order, BINS)
    share = np.array([good[b].mean() for b in bins])
    edges = np.array([at[b[0]] for b in bins] + [at[order[-1]]])
    here = int(np.clip(np.searchsorted(edges, of(best)) - 1, 0, BINS - 1))
    if share[here] < MOSTLY:
        here = int(share.argmax())
    if share[here] < MOSTLY:
        return None
    low = high = here
    while low > 0 and share[low - 1] >= MOSTLY:
        low -= 1
    while high < BINS - 1 and share[high + 1] >= MOSTLY:
        high += 1
    whole = (low, high) == (0, BINS - 1)
    return FlatRange(product.formula, float(edges[low]), float(edges[high + 1]), (), whole)
