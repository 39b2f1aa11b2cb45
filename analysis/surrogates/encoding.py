"""Trials as points of the unit cube, each parameter on its own scale.

`search_spaces.unit_cube` defines the scale of a distribution; this module adds what an analysis
needs: the measure of every column (so that an integral over a parameter is one over what a uniform
sampler would draw), numeric categories in their natural order, and a rule for values that are
missing because their condition was not met.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from search_spaces.unit_cube import from_unit, holds, in_words, level_count, to_unit
from study.store.from_other_programs import silent_about_choices

Array = NDArray[np.float64]

MAX_LEVELS = 64  # a discrete range with more levels is integrated as a continuous one
GRID_SIZE = 33  # points of a continuous parameter at which its marginal curve is given
NARROW = 0.1  # a parameter whose trials span less than this share of its range "hardly varied"
CROWDED = 0.5  # or, if it is continuous, this share of them has one value
CROWDED_LEVEL = 0.9  # the same with levels, some of which samplers favour
TRIALS_PER_CATEGORY = 3  # on average; with fewer, categories cannot be told apart
TOO_EVEN = 0.01  # the chance of counts so even: below it, repeats were planned
MOSTLY_FILLED = 0.8  # of the cells of a grid over ranges, from which it counts as one
HARDLY_VARIED = "it hardly varied"
MIN_ACTIVE = 5  # trials in which a conditional parameter must be active


@dataclass(frozen=True)
class Column:
    """One parameter on the unit interval.

    `positions` (L,) and `weights` (L,) are the levels' places and their share of the interval, None
    for a continuous parameter; `values` are the external values of the levels, in the same order.
    """

    name: str
    distribution: BaseDistribution
    ordered: bool
    positions: Array | None
    weights: Array | None
    values: tuple[Any, ...]

    @property
    def is_log(self) -> bool:
        """Whether the scale is logarithmic, as declared or as levels such as powers of two show."""
        return bool(getattr(self.distribution, "log", False)) or _is_geometric(self.values)

    @property
    def is_categorical(self) -> bool:
        """Whether its levels have no order."""
        return not self.ordered

    def to_unit(self, value: Any) -> float:
        """Return the position of an external value; raise ValueError for one out of range."""
        if not holds(self.distribution, value):
            raise ValueError(
                f"parameter {self.name!r}: the trials hold {value!r}, which is not in "
                f"{self.distribution}: was this name used with different distributions?"
            )
        if self.positions is not None and isinstance(self.distribution, CategoricalDistribution):
            return float(self.positions[self.level_of(value)])
        return min(max(to_unit(self.distribution, value), 0.0), 1.0)

    def level_of(self, value: Any) -> int:
        """Return the position of a value's level; a value entered by hand may be rounded."""
        assert self.positions is not None, f"{self.name} has no levels"
        if isinstance(self.distribution, CategoricalDistribution):
            return next(i for i, v in enumerate(self.values) if _is_choice(v, value))
        return int(np.abs(self.positions - self.to_unit(value)).argmin())

    def holds(self, value: Any) -> bool:
        """Whether a value lies in the parameter's range."""
        return holds(self.distribution, value)

    @property
    def middle(self) -> Any:
        """The value in the middle of the parameter's own scale."""
        if self.weights is None:
            return from_unit(self.distribution, 0.5)
        return self.values[int(np.searchsorted(np.cumsum(self.weights), 0.5))]

    def value_at(self, unit: float) -> Any:
        """Return the external value at a position, the nearest where there are levels."""
        if self.positions is None:
            return from_unit(self.distribution, unit)
        return self.values[int(np.abs(self.positions - unit).argmin())]

    def measure_below(self, thresholds: Array) -> Array:
        """Return the share of the parameter's range at or below each threshold, any shape."""
        if self.positions is None or self.weights is None:
            return np.clip(thresholds, 0.0, 1.0)
        cumulative = np.concatenate([[0.0], np.cumsum(self.weights)])
        cumulative[-1] = 1.0
        below = np.searchsorted(self.positions, thresholds, side="right")
        return np.asarray(cumulative[below])

    def at_quantiles(self, quantiles: Array) -> tuple[Array, Any]:
        """Return the positions (M,) of quantiles of the column's measure, and their values (M,)."""
        if self.positions is None or self.weights is None:
            values = [from_unit(self.distribution, float(q)) for q in quantiles]
            return quantiles, np.array(values)
        edges = np.cumsum(self.weights)
        level = np.minimum(np.searchsorted(edges, quantiles, side="right"), len(edges) - 1)
        return self.positions[level], np.array(self.values)[level]

    def grid(self) -> Array:
        """Return the positions at which the marginal is shown: the levels, or an even grid."""
        return np.linspace(0.0, 1.0, GRID_SIZE) if self.positions is None else self.positions

    def grid_values(self) -> tuple[Any, ...]:
        """Return the external values at `grid()`."""
        if self.positions is not None:
            return self.values
        return tuple(from_unit(self.distribution, float(unit)) for unit in self.grid())


@dataclass(frozen=True)
class Encoding:
    """The trials that an importance is based on.

    `units` is (N trials, D parameters), `inactive` counts a parameter's missing values, `excluded`
    says why a parameter has no importance.  `ranges` has the parameters whose range differed from
    trial to trial: its (low, high) positions (N, 2), or the weights of its levels (N, L).
    """

    columns: tuple[Column, ...]
    units: Array
    inactive: Mapping[str, int]
    excluded: Mapping[str, str]
    ranges: Mapping[str, Array] = field(default_factory=dict)

    @property
    def is_complete_grid(self) -> bool:
        """Whether every combination of the parameters' levels was tried, equally often."""
        sizes = [0 if c.positions is None else len(c.positions) for c in self.columns]
        cells = math.prod(sizes)
        if not sizes or cells == 0 or len(self.units) % cells:
            return False
        found, count = np.unique(self.units, axis=0, return_counts=True)
        return len(found) == cells and bool(np.all(count == count[0]))

    @cached_property
    def configurations(self) -> Any:
        """The configuration of each trial, (N,) from zero on, where some were repeated on purpose.

        Trials of one configuration stay together when trials are resampled or permuted.  A small
        discrete space repeats configurations by chance, unevenly, and these trials are independent:
        then every trial is its own configuration.
        """
        _, first, group = np.unique(self.units, axis=0, return_index=True, return_inverse=True)
        order = np.argsort(np.argsort(first))
        return order[group.ravel()] if self._repeats_are_meant(group) else np.arange(len(group))

    def some(self, size: int, rng: np.random.Generator) -> Any:
        """Return about `size` random trials, all or none of each configuration."""
        group = self.configurations
        place = rng.permutation(int(group.max()) + 1)[group]
        return np.argsort(place, kind="stable")[: _whole(np.sort(place), size)]

    def _repeats_are_meant(self, group: Any) -> bool:
        """Whether repeats are too many, or too even, for chance."""
        count = np.bincount(group.ravel())
        if len(count) == len(self.units):
            return False
        sizes = [len(self.units) if c.positions is None else len(c.positions) for c in self.columns]
        if math.prod(sizes) > len(self.units) ** 2:
            return True
        return _is_even(count)

    @property
    def names(self) -> tuple[str, ...]:
        """Return the D parameter names, in the columns' order."""
        return tuple(column.name for column in self.columns)


def encode(
    points: Sequence[Mapping[str, Any]],
    distributions: Mapping[str, BaseDistribution],
    seed: int = 0,
) -> Encoding:
    """Return N trials as (N, D) positions in the unit cube.

    A value is missing where a conditional parameter is inactive.  It has no effect there, so any
    value describes such a trial equally well: it is drawn uniformly (from `seed`), which tells the
    surrogate just that, whereas a fixed substitute would let it extrapolate.
    Parameters with one value, never active or hardly varied are excluded, each with its reason.
    """
    alike = _alike(points)
    excluded: dict[str, str] = {}
    inactive: dict[str, int] = {}
    columns: list[Column] = []
    units: list[Array] = []
    for index, (name, distribution) in enumerate(distributions.items()):
        column = make_column(name, distribution)
        unit = np.array([column.to_unit(p[name]) if name in p else np.nan for p in points])
        reason = _why_excluded(column, unit)
        if reason:
            excluded[name] = reason
            continue
        absent = np.isnan(unit)
        if missing := int(absent.sum()):
            inactive[name] = missing
            rng = np.random.default_rng([seed, 9, index])
            if column.positions is None:
                drawn = rng.random(len(points))
            else:
                drawn = rng.choice(column.positions, size=len(points), p=column.weights)
            unit[absent] = drawn[alike[absent]]
        columns.append(column)
        units.append(unit)
    stacked = np.stack(units, axis=1) if units else np.empty((len(points), 0))
    return _on_its_grid(Encoding(tuple(columns), stacked, inactive, excluded), points)


def _alike(points: Sequence[Mapping[str, Any]]) -> Any:
    """Return for each trial the first one that shares what is drawn for inactive parameters, (N,).

    That is itself, unless configurations were repeated, all about equally often.
    """
    known: dict[Any, int] = {}
    first = np.array([known.setdefault(_key(p), i) for i, p in enumerate(points)], dtype=int)
    count = np.unique(first, return_counts=True)[1]
    return first if len(points) > len(count) and _is_even(count) else np.arange(len(points))


def _is_even(count: Any) -> bool:
    """Whether counts are too even for chance."""
    from scipy.stats import chi2

    uneven = float(((count - count.mean()) ** 2).sum() / count.mean())
    return bool(chi2.cdf(uneven, max(len(count) - 1, 1)) < TOO_EVEN)


def _whole(ordered: Any, size: int) -> int:
    """Return the least count from `size` on that cuts no run of equal entries."""
    return int(np.searchsorted(ordered, ordered[min(size, len(ordered)) - 1], side="right"))


def _key(point: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, repr(value)) for name, value in point.items()))


def make_column(name: str, distribution: BaseDistribution) -> Column:
    """Return the column of one distribution: its levels in order, and their measure."""
    levels = level_count(distribution)
    if isinstance(distribution, CategoricalDistribution):
        ordered = all_numbers(distribution.choices)
        values: list[Any] = list(distribution.choices)
        values = sorted(values, key=float) if ordered else values
        positions = (np.arange(len(values)) + 0.5) / len(values)
        even = np.full(len(values), 1 / len(values))
        return Column(name, distribution, ordered, positions, even, tuple(values))
    if levels is None or levels > MAX_LEVELS:
        return Column(name, distribution, True, None, None, ())
    assert isinstance(distribution, (IntDistribution, FloatDistribution))
    assert distribution.step is not None
    values = [
        min(distribution.low + distribution.step * i, distribution.high) for i in range(levels)
    ]
    positions = np.array([to_unit(distribution, value) for value in values])
    weights = np.full(levels, 1 / levels)
    if distribution.log:
        edges = np.log(np.array([*[v - 0.5 for v in values], values[-1] + 0.5]))
        weights = np.diff(edges) / (edges[-1] - edges[0])
    return Column(name, distribution, True, positions, weights, tuple(values))


def common_distributions(
    trials: Iterable[Mapping[str, BaseDistribution]],
) -> tuple[dict[str, BaseDistribution], list[str]]:
    """Return one distribution per parameter name over all trials, and remarks.

    Ranges that changed within a study are merged into their hull and choices are joined, with a
    remark.  A name that was used for choices and a range, or on different scales, is left out, with
    a remark too.
    """
    common: dict[str, BaseDistribution] = {}
    changed: dict[str, None] = {}
    clashing: dict[str, str] = {}
    for trial in trials:
        for name, distribution in trial.items():
            known = common.setdefault(name, distribution)
            if known != distribution and name not in clashing:
                hull = _hull(known, distribution)
                common[name] = hull or known
                changed[name] = None
                if hull is None:
                    clashing[name] = f"{known} and {distribution}"
    for name in clashing:
        del common[name], changed[name]
    return common, [
        *(
            f"the {_kind(common[name])} of {name} changed during the study; "
            f"{in_words(common[name])} is used"
            for name in changed
        ),
        *(
            f"{name} is left out: it was used with different distributions, {both}"
            for name, both in clashing.items()
        ),
    ]


def ranges_that_differ(
    columns: Sequence[Column], trials: Sequence[Mapping[str, BaseDistribution]]
) -> dict[str, Array]:
    """Return `Encoding.ranges` from each trial's own distributions, as Optuna stores them.

    A parameter that was inactive in a trial could have had any value.
    """
    found = {}
    for column in columns:
        used = [trial.get(column.name, column.distribution) for trial in trials]
        if len(distinct := dict.fromkeys(used)) > 1:
            row = {d: _allowed(column, d) for d in distinct}
            found[column.name] = np.array([row[d] for d in used])
    return found


def _allowed(column: Column, distribution: Any) -> Array:
    """Return a trial's (low, high) positions, or the weights (L,) of its levels."""
    if column.positions is None or column.weights is None:
        return np.array([column.to_unit(distribution.low), column.to_unit(distribution.high)])
    weights = column.weights * [holds(distribution, value) for value in column.values]
    return np.asarray(weights / weights.sum() if weights.any() else column.weights)


def _kind(distribution: BaseDistribution) -> str:
    return "set of choices" if isinstance(distribution, CategoricalDistribution) else "range"


def loose_range(used: Sequence[BaseDistribution], values: Iterable[Any]) -> BaseDistribution:
    """Return one range that covers several; the values as choices, where one is not a range."""
    ranges = [d for d in used if isinstance(d, (IntDistribution, FloatDistribution))]
    if len(ranges) < len(used):
        with silent_about_choices():
            return CategoricalDistribution(tuple(dict.fromkeys(values)))
    low, high = min(d.low for d in ranges), max(d.high for d in ranges)
    return FloatDistribution(low, high, log=all(d.log for d in ranges))


def all_numbers(choices: Sequence[Any]) -> bool:
    """Return whether every choice is a number and no bool, so that the choices have an order."""
    return all(isinstance(c, (int, float)) and not isinstance(c, bool) for c in choices)


def _on_its_grid(encoding: Encoding, points: Sequence[Mapping[str, Any]]) -> Encoding:
    """Treat the points of a grid over continuous ranges as levels, also where a few are missing."""
    if encoding.inactive or not any(c.positions is None for c in encoding.columns):
        return encoding
    columns = []
    for j, column in enumerate(encoding.columns):
        seen, first = np.unique(encoding.units[:, j], return_index=True)
        if len(seen) > len(encoding.units) // 2:
            return encoding
        if column.positions is None:
            values = tuple(points[i][column.name] for i in first)
            even = np.full(len(seen), 1 / len(seen))
            columns.append(replace(column, positions=seen, weights=even, values=values))
        else:
            columns.append(column)
    cells = math.prod(len(c.positions) for c in columns if c.positions is not None)
    filled = len(np.unique(encoding.units, axis=0)) / cells
    return replace(encoding, columns=tuple(columns)) if filled >= MOSTLY_FILLED else encoding


def _hull(one: BaseDistribution, other: BaseDistribution) -> BaseDistribution | None:
    """Return what covers both; None where they differ in kind or scale."""
    if isinstance(one, FloatDistribution) and isinstance(other, FloatDistribution):
        if (one.log, one.step) == (other.log, other.step):
            low, high = min(one.low, other.low), max(one.high, other.high)
            return FloatDistribution(low, high, log=one.log, step=one.step)
    elif (
        isinstance(one, IntDistribution)
        and isinstance(other, IntDistribution)
        and (one.log, one.step) == (other.log, other.step)
    ):
        low_int, high_int = min(one.low, other.low), max(one.high, other.high)
        return IntDistribution(low_int, high_int, log=one.log, step=one.step)
    elif isinstance(one, CategoricalDistribution) and isinstance(other, CategoricalDistribution):
        return _joined(one, other)
    return None


def _is_choice(one: Any, other: Any) -> bool:
    return one is other or bool(one == other) or (one != one and other != other)  # NaN too


def _joined(one: CategoricalDistribution, other: CategoricalDistribution) -> BaseDistribution:
    """Return the choices of both, each once, in their order."""
    more = (choice for choice in other.choices if not holds(one, choice))
    with silent_about_choices():
        return CategoricalDistribution((*one.choices, *more))


def _why_excluded(column: Column, unit: Array) -> str | None:
    active = unit[~np.isnan(unit)]
    seen, count = np.unique(active, return_counts=True)
    if column.positions is not None and len(column.positions) == 1:
        return "it has a single value in the search space"
    if len(seen) == 0:
        return "it was never active"
    if len(active) < min(MIN_ACTIVE, len(unit)):
        return f"it was active in only {len(active)} of {len(unit)} trials"
    if len(seen) == 1:
        return "all trials have the same value"
    if column.ordered and np.ptp(seen) < NARROW:
        return f"{HARDLY_VARIED}: the trials span only {100 * np.ptp(seen):.1f} % of its range"
    crowded = CROWDED if column.positions is None else CROWDED_LEVEL
    if count.max() >= max(2, crowded * len(active)):
        return f"{HARDLY_VARIED}: {count.max()} of {len(active)} trials have the same value"
    if column.is_categorical and len(active) < TRIALS_PER_CATEGORY * len(seen):
        return f"{len(active)} trials are too few to tell {len(seen)} categories apart"
    return None


def _is_geometric(values: Sequence[Any]) -> bool:
    if len(values) < 3 or not all_numbers(values) or not 0 < min(values) <= max(values) < math.inf:
        return False
    steps = np.diff(np.log(np.array(values, dtype=float)))
    return bool(np.allclose(steps, steps[0], rtol=1e-6)) and not math.isclose(steps[0], 0.0)
