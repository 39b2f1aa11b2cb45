"""How a study's configurations were chosen: which parameters depend on each other, and redraws.

A test of one parameter compares its values with others that could equally have been drawn.  Where
parameters were drawn independently these are permutations of its column.  Where a range depends on
another parameter (α as a multiple of the rank, a learning rate whose range depends on the method, a
forbidden corner) permutations make configurations that could never have been drawn, and an idle
parameter inherits the effect of its partner.  There the parameter is drawn again given the others
(conditional randomisation: Candès, Fan, Janson, Lv 2018): exactly, from each trial's own range as
Optuna stores it; or, where no ranges are known, from a fitted dependence.  No test is valid for
every unknown dependence (Shah, Peters 2020); the fitted one assumes that a parameter is an additive
curve of its partners plus a deviation that changes little between neighbouring trials.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np

from analysis.surrogates.encoding import Array, Column, Encoding

DOUBT = 0.02  # the chance of taking an independent parameter for a dependent one, which costs power
MAX_PARTNERS = 4  # that a redraw takes into account, the strongest
NEAR = 10  # neighbouring trials at least, from which a deviation is drawn
NEAREST_BY = 2  # the partners that say which trials are neighbours
COLUMN_EACH = 5  # trials that a column of a regression needs
TIED = 0.5  # a correlation from which two parameters' effects are hard to tell apart


@dataclass(frozen=True)
class Design:
    """The N configurations of a study, as its parameters depend on each other."""

    encoding: Encoding

    @cached_property
    def features(self) -> list[Array]:
        """The curves (N, Q) along each of D parameters."""
        units = self.encoding.units
        return [features_of(c, u) for c, u in zip(self.encoding.columns, units.T, strict=True)]

    @cached_property
    def correlations(self) -> Array:
        """The largest correlation of any curve of one parameter with any of another, (D, D)."""
        width = len(self.features)
        found = np.zeros((width, width))
        for j, k in combinations(range(width), 2):
            if self.features[j].size and self.features[k].size:
                found[j, k] = found[k, j] = np.abs(self.features[j].T @ self.features[k]).max()
        return found

    def partners(self, column: int) -> list[int]:
        """Return the parameters on which one depends, the strongest first."""
        from scipy.special import ndtri

        strength = self.correlations[column]
        width = [curves.shape[1] for curves in self.features]
        tests = max(width[column] * (sum(width) - width[column]), 1)
        detected = -ndtri(DOUBT / 2 / tests) / np.sqrt(len(self.encoding.units))
        clear = np.flatnonzero(strength > detected)
        return sorted(clear.tolist(), key=lambda k: -strength[k])[:MAX_PARTNERS]

    @property
    def tied(self) -> list[tuple[int, int]]:
        """The pairs of parameters that hardly varied independently, the most strongly tied first.

        Only where that is beyond the doubt of a small sample.
        """
        least = max(TIED, 4.0 / np.sqrt(len(self.encoding.units)))
        pairs = combinations(range(len(self.correlations)), 2)
        found = [(j, k) for j, k in pairs if self.correlations[j, k] >= least]
        return sorted(found, key=lambda pair: -self.correlations[pair])

    def redrawn(self, column: int, count: int, rng: np.random.Generator) -> Array:
        """Return other positions (count, N) that a parameter could have had, given the others."""
        units = self.encoding.units
        own, partners = units[:, column], self.partners(column)
        here = self.encoding.columns[column]
        if self.has_exact_ranges(column):
            return _drawn_within(self.encoding.ranges[here.name], here, count, rng)
        near = self._neighbours(partners[:NEAREST_BY])
        chosen = _one_of_each(near, count, rng)  # (count, N) positions of trials
        if here.is_categorical:
            return np.asarray(own[chosen])
        curves = [features_of(self.encoding.columns[k], units[:, k], waves=True) for k in partners]
        left = without(orthonormal(few_columns(len(own), curves)), own)
        drawn = np.clip(own - left + left[chosen], 0.0, 1.0)
        if here.positions is None:
            return np.asarray(drawn)
        edges = (here.positions[1:] + here.positions[:-1]) / 2
        return np.asarray(here.positions[np.searchsorted(edges, drawn)])

    def has_exact_ranges(self, column: int) -> bool:
        """Whether each trial's own range says how a parameter was drawn given the others.

        Not where another such parameter goes with it: its range may depend on this one.
        """
        names, ranges = self.encoding.names, self.encoding.ranges
        others = [k for k in self.partners(column) if names[k] in ranges]
        return names[column] in ranges and not others

    def _neighbours(self, partners: Sequence[int]) -> Any:
        """Return a mask (N, N) of the trials whose partners have nearly the same values.

        All trials at the same distance count, so the levels of a partner are strata of their own.
        """
        units = self.encoding.units
        apart = np.zeros((len(units), len(units)))
        for k in partners:
            step = np.abs(units[:, k, None] - units[None, :, k])
            apart += (step > 0) if self.encoding.columns[k].is_categorical else step
        enough = min(max(NEAR, len(units) // 10), len(units)) - 1
        reach = np.partition(apart, enough, axis=1)[:, enough]
        return apart <= reach[:, None] + 1e-12


def features_of(column: Column, unit: Array, waves: bool = False) -> Array:
    """Return orthonormal curves (N, Q) along one parameter: line and parabola, or its categories.

    With `waves` also a cubic and a quartic, or one curve per level where there are few levels.
    """
    levels = np.unique(unit)
    if column.is_categorical or (waves and len(levels) <= 6):
        raw = (unit[:, None] == levels[None, 1:]).astype(float)
    else:
        place = 2 * unit - 1
        raw = np.stack([place**k for k in range(1, min(4 if waves else 2, len(levels) - 1) + 1)], 1)
    return orthonormal(np.column_stack([np.ones(len(unit)), raw]))[:, 1:]


def few_columns(count: int, curves: Sequence[Array]) -> Array:
    """Return a constant and as many columns of curves (N, Q) as N trials can bear: a fifth of N."""
    return np.column_stack([np.ones(count), *curves])[:, : max(count // COLUMN_EACH, 1)]


def orthonormal(columns: Array) -> Array:
    """Return orthonormal columns that span the given ones (N, Q), fewer where some add nothing."""
    basis, triangle = np.linalg.qr(columns)
    adds = np.abs(np.diag(triangle)) > 1e-9
    # the place of a column that adds nothing holds an arbitrary direction, which later ones lack
    return np.asarray(basis if adds.all() else np.linalg.qr(columns[:, np.flatnonzero(adds)])[0])


def without(basis: Array, numbers: Array) -> Array:
    """Return what a regression on orthonormal columns leaves of (N, ...) numbers."""
    return np.asarray(numbers - basis @ (basis.T @ numbers))


def _drawn_within(ranges: Array, column: Column, count: int, rng: np.random.Generator) -> Array:
    """Return positions (count, N) drawn from each trial's own range."""
    chance = rng.random((count, len(ranges)))
    if column.positions is None:
        return np.asarray(ranges[:, 0] + chance * (ranges[:, 1] - ranges[:, 0]))
    level = np.sum(chance[:, :, None] >= np.cumsum(ranges, axis=1)[None, :, :-1], axis=2)
    return np.asarray(column.positions[level])


def _one_of_each(near: Any, count: int, rng: np.random.Generator) -> Any:
    """Return for each of N trials `count` random neighbours, itself among the possible, (count, N).

    `near` is an (N, N) mask.
    """
    order = np.argsort(~near, axis=1, kind="stable")
    size = near.sum(axis=1)
    place = (rng.random((count, len(near))) * size).astype(int)
    return order[np.arange(len(near)), place]
