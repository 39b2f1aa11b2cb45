"""Exact functional ANOVA of a random forest (Hutter, Hoos, Leyton-Brown, ICML 2014).

A regression tree is constant on the boxes of its leaves, so every term of its decomposition over
the unit cube is a finite sum: the marginal of a subset of parameters is a step function on the grid
of the tree's own split points, and its variance is summed without sampling.  The forest is
scikit-learn's; as published, each tree is decomposed and the shares are averaged.

Differences from the published implementation and from Optuna's: inputs lie on the unit cube of
their own scale (log, levels), shares are of the whole variance and never rescaled, and step
functions are built from differences and running sums, in time linear in the leaves for a main
effect.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, pairwise
from typing import Any

import numpy as np

from analysis.surrogates.encoding import Array, Column

TREES = 64
MOST_PAIRED = 12  # parameters whose pairs are computed: the time grows as their square
ROWS_AT_ONCE = 1 << 20  # cells of a pair's grid held in memory at a time


@dataclass(frozen=True)
class Shares:
    """Shares of the total variance: `main` (D,), `pairs` (D, D) symmetric, and the noise's.

    `variance` is the total they are shares of, in the objective's units squared.
    """

    main: Array
    pairs: Array
    noise: float
    variance: float

    @property
    def explained(self) -> float:
        """What main effects and pairs sum to."""
        return float(self.main.sum() + self.pairs.sum() / 2)

    def times(self, factor: float) -> Shares:
        """Return these as shares of a part of the variance, the total divided by `factor`."""
        main = np.clip(self.main * factor, 0.0, 1.0)
        pairs = np.clip(self.pairs * factor, 0.0, 1.0)
        return Shares(main, pairs, self.noise * factor, self.variance / factor)


@dataclass(frozen=True)
class Boxes:
    """The leaves of all trees as boxes of the unit cube, L leaves in all.

    `low` and `high` are (L, D) in the measure of each column, `value` and `tree` are (L,).
    """

    low: Array
    high: Array
    value: Array
    tree: np.ndarray[Any, np.dtype[np.int64]]
    trees: int

    @property
    def volume(self) -> Array:
        """Return each leaf's share of the unit cube, (L,)."""
        return np.asarray(np.prod(self.high - self.low, axis=1))


@dataclass(frozen=True)
class ForestSurrogate:
    """A fitted forest and the boxes of its leaves."""

    forest: Any
    boxes: Boxes
    columns: tuple[Column, ...]
    name: str = "forest"

    def predict(self, units: Array) -> Array:
        """Return the predictions at (M, D) positions, (M,)."""
        return np.asarray(self.forest.predict(units))

    @cached_property
    def paired(self) -> list[int]:
        """The parameters whose pairs are computed: those whose splits explain most."""
        if len(self.columns) <= MOST_PAIRED:
            return list(range(len(self.columns)))
        strongest = np.argsort(-self.forest.feature_importances_, kind="stable")
        return sorted(strongest[:MOST_PAIRED].tolist())

    def shares(self, pairs: bool = True, among: Sequence[int] | None = None) -> Shares:
        """Return the mean over trees of each effect's share of that tree's variance.

        Pairs are those of `paired`, or of some parameters; the others are zero.

        A fully grown tree fits the noise too, so the variance includes the noise, mostly in the
        effects of higher order.
        """
        total = total_variance(self.boxes)
        grown = total > 0
        scale = np.where(grown, total, 1.0)
        main = main_effects(self.boxes) / scale
        both = np.zeros((len(self.columns), len(self.columns)))
        for j, k in combinations(self.paired if among is None else among, 2) if pairs else ():
            joint = closed_pair(self.boxes, j, k) / scale - main[j] - main[k]
            both[j, k] = both[k, j] = max(float(joint[grown].mean()) if grown.any() else 0.0, 0.0)
        means = main[:, grown].mean(axis=1) if grown.any() else np.zeros(len(main))
        return Shares(means, both, 0.0, float(total.mean()))

    def share_of(self, subset: Sequence[int]) -> float:
        """Return the share of one subset's own effect, of any size, averaged over the trees."""
        total = total_variance(self.boxes)
        own = _component(self.boxes, tuple(subset))
        return float(np.mean(np.divide(own, total, out=np.zeros_like(own), where=total > 0)))

    def curve(self, column: int) -> Array:
        """Return the marginal mean at `columns[column].grid()`, averaged over the trees."""
        grid = self.columns[column].grid()
        return marginal(self.boxes, column, _inner_measure(self.columns[column], grid))


def fit_forest(
    units: Array,
    values: Array,
    columns: Sequence[Column],
    seed: int = 0,
    trees: int = TREES,
    bootstrap: bool = True,
) -> ForestSurrogate:
    """Fit scikit-learn's forest, fully grown trees, to (N, D) positions and (N,) values."""
    from sklearn.ensemble import RandomForestRegressor

    forest = RandomForestRegressor(
        n_estimators=trees, bootstrap=bootstrap, random_state=seed, n_jobs=1
    )
    forest.fit(units, values)
    return ForestSurrogate(forest, leaf_boxes(forest, columns), tuple(columns))


def leaf_boxes(forest: Any, columns: Sequence[Column]) -> Boxes:
    """Return the leaves of a fitted forest as boxes, all trees in one pass per depth."""
    trees = [estimator.tree_ for estimator in forest.estimators_]
    start = np.concatenate([[0], np.cumsum([tree.node_count for tree in trees])])
    left = np.concatenate([t.children_left + s for t, s in zip(trees, start, strict=False)])
    right = np.concatenate([t.children_right + s for t, s in zip(trees, start, strict=False)])
    feature = np.concatenate([tree.feature for tree in trees])
    threshold = _measured(columns, feature, np.concatenate([tree.threshold for tree in trees]))
    value = np.concatenate([tree.value[:, 0, 0] for tree in trees])
    low = np.zeros((len(feature), len(columns)))
    high = np.ones((len(feature), len(columns)))
    front = start[:-1]
    while len(front := front[feature[front] >= 0]):
        for child, bound, sides in ((left[front], high, -1), (right[front], low, 1)):
            low[child], high[child] = low[front], high[front]
            meet = np.minimum if sides < 0 else np.maximum
            bound[child, feature[front]] = meet(bound[child, feature[front]], threshold[front])
        front = np.concatenate([left[front], right[front]])
    leaf = np.flatnonzero(feature < 0)
    tree_of = np.searchsorted(start, leaf, side="right") - 1
    return Boxes(low[leaf], high[leaf], value[leaf], tree_of.astype(np.int64), len(trees))


def total_variance(boxes: Boxes) -> Array:
    """Return each tree's variance over the unit cube, (T,)."""
    mean = np.bincount(boxes.tree, boxes.volume * boxes.value, boxes.trees)
    deviation = boxes.value - mean[boxes.tree]
    return np.asarray(np.bincount(boxes.tree, boxes.volume * deviation**2, boxes.trees), float)


def main_effects(boxes: Boxes) -> Array:
    """Return each tree's main-effect variances, (D, T)."""
    return np.stack([_main_effect(boxes, j) for j in range(boxes.low.shape[1])])


def closed_pair(boxes: Boxes, j: int, k: int) -> Array:
    """Return each tree's variance of the marginal of two parameters, both mains included, (T,)."""
    weight = _centred(boxes) * _other_volume(boxes, (j, k))
    ends = np.searchsorted(boxes.tree, np.arange(boxes.trees + 1))
    return np.array(
        [
            _surface_variance(boxes.low[a:b][:, [j, k]], boxes.high[a:b][:, [j, k]], weight[a:b])
            for a, b in pairwise(ends)
        ]
    )


def closed_subset(boxes: Boxes, subset: Sequence[int]) -> Array:
    """Return each tree's variance of the marginal of any subset of parameters, (T,).

    Sums the overlaps of all pairs of leaves: quadratic in the leaves of a tree, a row at a time.
    """
    weight = _centred(boxes) * _other_volume(boxes, subset)
    result = np.zeros(boxes.trees)
    for t in range(boxes.trees):
        leaves = np.flatnonzero(boxes.tree == t)
        low, high = boxes.low[leaves][:, list(subset)], boxes.high[leaves][:, list(subset)]
        for a, w in enumerate(weight[leaves]):
            overlap = np.minimum(high, high[a]) - np.maximum(low, low[a])
            result[t] += w * (weight[leaves] @ np.prod(np.maximum(overlap, 0.0), axis=1))
    return result


def _component(boxes: Boxes, subset: tuple[int, ...]) -> Array:
    """Return each tree's variance of a subset's own effect: less that of all its own subsets."""
    smaller = [u for size in range(1, len(subset)) for u in combinations(subset, size)]
    return np.asarray(closed_subset(boxes, subset) - sum(_component(boxes, u) for u in smaller))


def marginal(boxes: Boxes, column: int, positions: Array) -> Array:
    """Return the forest's marginal mean of one parameter at (G,) positions in its measure."""
    weight = boxes.value * _other_volume(boxes, (column,)) / boxes.trees
    order = np.argsort(positions)
    first = np.searchsorted(positions[order], boxes.low[:, column], side="left")
    last = np.searchsorted(positions[order], boxes.high[:, column], side="left")
    # the last position may be 1 itself, which belongs to the last box
    last = np.where(boxes.high[:, column] >= 1.0, len(positions), last)
    steps = np.bincount(first, weight, len(positions) + 1)
    steps -= np.bincount(last, weight, len(positions) + 1)
    curve = np.empty(len(positions))
    curve[order] = np.cumsum(steps)[:-1]
    return curve


def _main_effect(boxes: Boxes, j: int) -> Array:
    """Build all trees' step functions in one array: tree t lives on [2t, 2t + 1]."""
    weight = _centred(boxes) * _other_volume(boxes, (j,))
    edges = np.concatenate([boxes.low[:, j], boxes.high[:, j]]) + 2.0 * np.tile(boxes.tree, 2)
    grid, index = np.unique(edges, return_inverse=True)
    height = np.cumsum(np.bincount(index, np.concatenate([weight, -weight]), len(grid)))[:-1]
    owner = (grid[:-1] / 2.0).astype(np.int64)
    squares = np.diff(grid) * height**2 * (grid[1:] <= 2.0 * owner + 1.0)
    return np.asarray(np.bincount(owner, squares, boxes.trees), float)


def _surface_variance(low: Array, high: Array, weight: Array) -> float:
    """Return the integral of the squared surface that (L, 2) boxes of (L,) heights add up to."""
    rows, row = np.unique(np.concatenate([low[:, 0], high[:, 0]]), return_inverse=True)
    cols, col = np.unique(np.concatenate([low[:, 1], high[:, 1]]), return_inverse=True)
    row_low, row_high = np.split(row, 2)
    col_low, col_high = np.split(col, 2)
    width = np.diff(cols)
    at_row = np.concatenate([row_low, row_low, row_high, row_high])
    at_col = np.concatenate([col_low, col_high, col_low, col_high])
    step = np.concatenate([weight, -weight, -weight, weight])
    block = max(ROWS_AT_ONCE // len(cols), 1)
    carry, result = np.zeros(len(cols)), 0.0
    for first in range(0, len(rows) - 1, block):
        inside = slice(None) if block >= len(rows) else (at_row >= first) & (at_row < first + block)
        count = min(block, len(rows) - first)
        flat = (at_row[inside] - first) * len(cols) + at_col[inside]
        steps = np.bincount(flat, step[inside], count * len(cols)).reshape(count, len(cols))
        surface = np.cumsum(steps, axis=0) + carry
        carry = surface[-1]
        surface = np.cumsum(surface, axis=1)[:, :-1]  # (rows of the block, columns)
        tall = np.diff(rows[first : first + count + 1])
        result += float(tall @ (surface[: len(tall)] ** 2 @ width))
    return result


def _centred(boxes: Boxes) -> Array:
    """Return each leaf's value less its tree's mean over the cube, (L,): no cancellation later."""
    mean = np.bincount(boxes.tree, boxes.volume * boxes.value, boxes.trees)
    return np.asarray(boxes.value - mean[boxes.tree])


def _other_volume(boxes: Boxes, subset: Sequence[int]) -> Array:
    others = [j for j in range(boxes.low.shape[1]) if j not in subset]
    return np.asarray(np.prod(boxes.high[:, others] - boxes.low[:, others], axis=1))


def _measured(columns: Sequence[Column], feature: Any, threshold: Array) -> Array:
    result = np.zeros(len(threshold))
    for j, column in enumerate(columns):
        at = feature == j
        result[at] = column.measure_below(threshold[at])
    return result


def _inner_measure(column: Column, grid: Array) -> Array:
    """Return positions in the column's measure: the middle of a level's cell, else the position."""
    if column.weights is None:
        return grid
    return np.asarray(np.cumsum(column.weights) - column.weights / 2)
