"""Which parameters have an effect beyond chance: a permutation test of its own.

The verdict does not depend on the surrogate.  For each parameter, what a quick model of the other
parameters leaves unexplained is compared with curves along that parameter: line and parabola
together, a scan over all steps, and four cosines together; the categories, and each against the
rest.  The largest of these statistics is the parameter's, and the largest over all parameters,
under permutations of the trials, is what one must exceed (Westfall, Young 1993), so that the chance
of naming any parameter where none matters is LEVEL.

- Statistics of different parameters and curves are brought to one scale by their own permutations,
  continued beyond these by an exponential tail: ties would otherwise limit how many parameters
  can be tested.  Whatever the scale, the test is exact.
- Where the residuals spread more at some values of the parameter than at others, each statistic is
  divided by its own spread instead of the common one (Chung, Romano 2013), so that neither noise
  that grows nor a pure interaction passes for a main effect.  The variance follows the line and the
  parabola, or the categories.
- Repeated configurations are permuted as a whole, by the mean of their values.
- Parameters that depend on each other are not permuted but drawn again: see `design`.

That a parameter acts together with others is tested apart: does it modulate what the others leave?
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from analysis.importance.design import Design, features_of
from analysis.parallel import each
from analysis.significance import LEVEL
from analysis.surrogates.choice import Blind, blind_to
from analysis.surrogates.encoding import Array, Column, Encoding

PERMUTATIONS = 999
JOINT_PERMUTATIONS = 299  # enough for its level, and each is a sum over all pairs of trials
JOINT_LEVEL = 0.01  # for "acts only together with others", a question of its own
WAVES = (1.0, 1.0, 0.6, 0.6)  # weights of the cosines
LEAST_SIDE = 3  # trials on each side of a step
MAX_STEPS = 64
TAIL = 0.1  # of the permutations, from which the tail is continued
UNEVEN = 4.6  # the 90 % point of χ² with two degrees of freedom
SCREENED = 8  # parameters in the model of the others: those with the strongest effects
AT_ONCE = 4_000_000  # numbers held at a time
MODULATED = 300  # trials at most in the test for modulation
CELLS = 256  # of a continuous parameter that is drawn again


@dataclass(frozen=True)
class Verdict:
    """Family-wise p-values of D parameters.

    `p` tests a parameter's own effect, `joint` whether it modulates the effects of others;
    `tied` holds pairs of parameters that hardly varied independently, with the p-value of their
    effect together.
    """

    p: Array
    joint: Array
    tied: tuple[tuple[int, int, float], ...] = ()

    @property
    def significant(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Return which parameters have an effect of their own, (D,)."""
        return np.asarray(self.p <= LEVEL)

    @property
    def only_jointly(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Return which parameters act, but only together with others, (D,)."""
        return np.asarray(~self.significant & (self.joint <= JOINT_LEVEL))


def verdict_on(
    encoding: Encoding,
    values: Array,
    seed: int = 0,
    permutations: int = PERMUTATIONS,
    tick: Callable[[], None] = lambda: None,
) -> Verdict:
    """Test each of D parameters on N trials."""
    once, means = per_configuration(encoding, values)
    columns, units, design = once.columns, once.units, Design(once)
    order = np.tile(np.arange(len(means)), (permutations + 1, 1))
    order[1:] = np.random.default_rng([seed, 1]).permuted(order[1:], axis=1)
    shapes = [shapes_of(column, unit) for column, unit in zip(columns, units.T, strict=True)]
    alone = [
        _largest(_permuted(shape, unit, means - means.mean(), order), shape)
        for shape, unit in zip(shapes, units.T, strict=True)
    ]
    ranked = np.argsort([-scores[0] for scores in alone], kind="stable").tolist()

    partners_of = [design.partners(j) for j in range(len(columns))]
    models = [
        (*sorted({*[k for k in ranked if k != j][:SCREENED], *partners_of[j]}),)
        for j in range(len(columns))
    ]
    distinct = list(dict.fromkeys(models))
    fitted = []
    for model in each(lambda kept: blind_to(once, means, kept, seed), distinct):
        fitted.append(model)
        tick()
    for _ in range(len(columns) - len(distinct)):
        tick()
    blind = dict(zip(distinct, fitted, strict=True))

    few = order[: JOINT_PERMUTATIONS + 1]

    def statistics(j: int) -> tuple[Array, Array]:
        unit, left = units[:, j], blind[models[j]]
        depends = bool(partners_of[j]) or design.has_exact_ranges(j)
        residuals = left.for_a_dependent if depends else left.residuals
        centred = residuals - residuals.mean()
        if not depends:
            joint = _modulation(left, features_of(columns[j], unit, waves=True), few)
            return _largest(_permuted(shapes[j], unit, centred, order), shapes[j]), joint
        rng = np.random.default_rng([seed, 10, j])
        drawn = np.vstack([unit, design.redrawn(j, permutations, rng)])
        return _largest(_redrawn(shapes[j], columns[j], drawn, centred), shapes[j]), np.zeros(
            len(few)
        )

    own, joint = map(np.array, zip(*each(statistics, range(len(columns))), strict=True))
    tied = tuple(
        (j, k, float(_adjusted(np.maximum(alone[j], alone[k])[None])[0])) for j, k in design.tied
    )
    return Verdict(_adjusted(own), _adjusted(joint), tied)


def per_configuration(encoding: Encoding, values: Array) -> tuple[Encoding, Array]:
    """Return each configuration that was repeated on purpose once, with the mean of its values."""
    group = encoding.configurations
    _, first = np.unique(group, return_index=True)
    means = np.bincount(group, values) / np.bincount(group)
    ranges = {name: rows[first] for name, rows in encoding.ranges.items()}
    return replace(encoding, units=encoding.units[first], ranges=ranges), means


# ---------------------------------------------------------------- the curves


@dataclass(frozen=True)
class Shape:
    """Q curves along a parameter, as a function of positions (...) to heights (..., Q).

    Their squared statistics are added with `weights` (Q,); None takes the largest.
    """

    curves: Callable[[Array], Array]
    weights: Array | None


def shapes_of(column: Column, unit: Array) -> list[Shape]:
    """Return the families of curves to test a parameter with, as many as its levels allow."""
    levels, count = np.unique(unit, return_counts=True)
    if column.is_categorical:
        rest = 1.0 - count / len(unit)

        def each_level(u: Array) -> Array:
            return np.asarray(u[..., None] == levels, dtype=float)

        if len(levels) == 2:
            return [Shape(each_level, None)]
        return [Shape(each_level, rest), Shape(each_level, None)]
    found = [
        _orthogonal(unit, [lambda u: 2 * u - 1, lambda u: (2 * u - 1) ** 2][: len(levels) - 1])
    ]
    below = np.cumsum(count)[:-1]
    possible = (below >= LEAST_SIDE) & (len(unit) - below >= LEAST_SIDE)
    cuts = ((levels[1:] + levels[:-1]) / 2)[possible]
    if len(levels) > 2 and len(cuts):
        kept = np.unique(np.linspace(0, len(cuts) - 1, min(len(cuts), MAX_STEPS)).round())
        cuts = cuts[kept.astype(int)]
        found.append(Shape(lambda u: (u[..., None] > cuts).astype(float), None))
    if len(levels) > len(WAVES):
        waves = [lambda u, k=k: np.cos(np.pi * k * u) for k in range(1, len(WAVES) + 1)]
        found.append(_orthogonal(unit, waves, np.array(WAVES)))
    return found


def _orthogonal(
    unit: Array, functions: Sequence[Callable[[Array], Array]], weights: Array | None = None
) -> Shape:
    """Return curves that are orthonormal over the trials, each a sum of the functions."""

    def raw(u: Array) -> Array:
        return np.stack([np.ones_like(u), *(f(u) for f in functions)], axis=-1)

    _, triangle = np.linalg.qr(raw(unit))
    clear = np.abs(np.diag(triangle)) > 1e-9
    back = np.linalg.pinv(triangle)[:, clear][:, 1:]
    weights = np.ones(len(functions)) if weights is None else weights
    return Shape(lambda u: raw(u) @ back, weights[clear[1:]])


# ---------------------------------------------------------------- the statistics


def _permuted(
    shapes: Sequence[Shape], unit: Array, left: Array, order: np.ndarray[Any, Any]
) -> list[Array]:
    """Return the squared statistics (1 + P, Q) of each shape, residuals (N,) in each order."""
    moved = left[order]  # (1 + P, N)
    variance = max(float(left @ left) / max(len(left) - 1, 1), np.finfo(float).tiny)
    families = [_standard(shape.curves(unit)) for shape in shapes]
    every = np.column_stack(families)
    projected = moved @ every
    statistics = projected**2 / variance
    best = np.abs(projected).argmax(axis=1)
    rest = moved - projected[np.arange(len(order)), best, None] * every[:, best].T
    uneven = _unevenness(rest, families[0]) > UNEVEN
    spread = _variance_along(rest[uneven], families[0], variance) @ every**2
    statistics[uneven] = projected[uneven] ** 2 / np.maximum(spread, variance)
    return np.split(statistics, np.cumsum([f.shape[1] for f in families])[:-1], axis=1)


def _redrawn(shapes: Sequence[Shape], column: Column, drawn: Array, left: Array) -> list[Array]:
    """Return the same for positions (1 + P, N) drawn again, the observed ones first.

    Each curve is taken relative to its mean over the redraws, trial by trial.  Curves are read from
    a table of C places, so that nothing of size P · N · Q is held.
    """
    places = (np.arange(CELLS) + 0.5) / CELLS if column.positions is None else column.positions
    cell = np.searchsorted((places[1:] + places[:-1]) / 2, drawn)  # (1 + P, N)
    rows, count = cell.shape
    families = [shape.curves(places) for shape in shapes]
    table = np.column_stack(families)  # (C, Q)
    row = np.arange(rows)[:, None] * len(places)
    summed = np.bincount((cell + row).ravel(), np.tile(left, rows), rows * len(places))
    trial = np.arange(count)[None] * len(places)
    times = np.bincount((cell + trial).ravel(), minlength=count * len(places))
    middle = times.reshape(count, -1) / rows @ table  # (N, Q)
    along = summed.reshape(rows, -1) @ table - left @ middle
    floor = 1e-12 * float(left @ left) + np.finfo(float).tiny
    variance = np.maximum(along.var(axis=0), floor)
    statistics = along**2 / variance
    best = statistics.argmax(axis=1)
    chosen = table[cell, best[:, None]] - middle.T[best]
    length = np.maximum((chosen**2).sum(axis=1), floor)
    rest = left - ((chosen @ left) / length)[:, None] * chosen
    here = _standard(families[0][cell[0]])
    uneven = np.flatnonzero(_unevenness(rest, here) > UNEVEN)
    common = float(left @ left) / max(count - 1, 1)
    for part in np.array_split(uneven, max(len(uneven) * middle.size // AT_ONCE, 1)):
        off = table[cell[part]] - middle  # (B, N, Q)
        own = np.einsum("bnq,bn->bq", off**2, _variance_along(rest[part], here, common))
        statistics[part] = along[part] ** 2 / np.maximum(own, variance)
    return np.split(statistics, np.cumsum([f.shape[1] for f in families])[:-1], axis=1)


def _standard(curves: Array) -> Array:
    """Return curves (N, Q) centred and of unit length; a constant one is zero."""
    centred = curves - curves.mean(axis=0)
    length = np.sqrt((centred**2).sum(axis=0))
    return np.asarray(centred / np.where(length > 1e-9, length, 1.0) * (length > 1e-9))


def _unevenness(rest: Array, curves: Array) -> Array:
    """Return how far the squares of residuals (M, N) follow (N, Q) curves, (M,), as χ²."""
    squares = rest**2
    squares = squares - squares.mean(axis=1, keepdims=True)
    total = np.maximum((squares**2).sum(axis=1), np.finfo(float).tiny)
    return np.asarray(rest.shape[1] * ((squares @ curves) ** 2).sum(axis=1) / total)


def _variance_along(rest: Array, curves: Array, common: float) -> Array:
    """Return the variances (M, N) of residuals along (N, Q) curves, `common` on average.

    A trial's own square would not do: at a step, the few trials beyond it would be compared with
    the step itself.
    """
    squares = rest**2
    mean = np.maximum(squares.mean(axis=1, keepdims=True), np.finfo(float).tiny)
    along = 1.0 + (squares / mean - 1.0) @ curves @ curves.T
    return np.asarray(common * np.maximum(along, 0.0))


def _modulation(left: Blind, basis: Array, order: np.ndarray[Any, Any]) -> Array:
    """Return how clearly a parameter modulates the others' effects, in each order, (1 + P,).

    A sum over pairs of different trials, divided by its own spread: noise that grows along the
    parameter is no modulation.
    """
    few = left.score[:MODULATED, :MODULATED]  # enough, and its products are cubic
    score = few - np.diag(np.diag(few))
    total = np.zeros(len(order))
    for curve in basis.T:
        moved = curve[order[:, :MODULATED]]
        spread = np.einsum("pn,pn->p", moved**2 @ score**2, moved**2)
        total += np.einsum("pn,pn->p", moved @ score, moved) / np.sqrt(
            np.maximum(spread, np.finfo(float).tiny)
        )
    return total


# ---------------------------------------------------------------- from statistics to p-values


def _largest(families: Sequence[Array], shapes: Sequence[Shape]) -> Array:
    """Return the largest score of any family of curves in each order, (1 + P,), on one scale."""
    joined = [
        f.max(axis=1) if shape.weights is None else f @ shape.weights
        for f, shape in zip(families, shapes, strict=True)
    ]
    return np.asarray(_scores(_scores(np.array(joined)).max(axis=0)[None])[0])


def _scores(statistics: Array) -> Array:
    """Return -log p of each statistic among its row (S, 1 + P), with an exponential tail."""
    count = statistics.shape[1]
    tail = max(int(TAIL * count), 2)
    ordered = np.sort(statistics, axis=1)
    start = ordered[:, -tail - 1, None] if tail < count else ordered[:, :1]
    beyond = np.maximum((ordered[:, -tail:] - start).mean(axis=1, keepdims=True), 1e-300)
    rank = np.array(
        [np.searchsorted(row, own) for row, own in zip(ordered, statistics, strict=True)]
    )
    within = -np.log1p(-rank / count)
    edge = -np.log(tail / count)
    in_tail = statistics > start
    return np.asarray(
        np.where(in_tail, edge + (statistics - start) / beyond, np.minimum(within, edge))
    )


def _adjusted(scores: Array) -> Array:
    """Return the p-values (D,) of the first of (D, 1 + P) scores, by the largest in each order."""
    scale = _scores(scores)
    largest = scale.max(axis=0)
    return np.array([float(np.mean(largest >= own - 1e-9)) for own in scale[:, 0]])
