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

DOUBT = 0.1  # the chance of taking an independent parameter for a dependent one
MAX_PARTNERS = 4  # that a redraw takes into account, the strongest
NEAR = 10  # neighbouring trials at least, from which a deviation is drawn
NEAREST_BY = 2  # the partners that say which trials are neighbours
TIED = 0.5  # a correlation from which two parameters' effects are hard to tell apart


@dataclass(frozen=True)
class Design:
    """The N configurations of a study, as its parameters depend on each other."""

    encoding: Encoding

    @cached_property
    def correlations(self) -> Array:
        """The largest correlation of any curve of one parameter with any of another, (D, D)."""
        features = [features_of(c, u) for c, u in self._columns]
        width = len(features)
        found = np.zeros((width, width))
        for j, k in combinations(range(width), 2):
            if features[j].size and features[k].size:
                found[j, k] = found[k, j] = np.abs(features[j].T @ features[k]).max()
        return found

    def partners(self, column: int) -> list[int]:
        """Return the parameters on which one depends, the strongest first."""
        from scipy.special import ndtri

        strength = self.correlations[column]
        width = [features_of(c, u).shape[1] for c, u in self._columns]
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
        near = self._neighbours(partners[:NEAREST_BY])
        chosen = _one_of_each(near, count, rng)  # (count, N) positions of trials
        if here.is_categorical:
            return np.asarray(own[chosen])
        curves = [features_of(*self._columns[k], waves=True) for k in partners]
        known = np.column_stack([np.ones(len(own)), *curves])
        known = known[:, : max(len(own) // 5, 1)]
        expected = known @ np.linalg.lstsq(known, own, rcond=None)[0]
        drawn = np.clip(expected + (own - expected)[chosen], 0.0, 1.0)
        if here.positions is None:
            return np.asarray(drawn)
        edges = (here.positions[1:] + here.positions[:-1]) / 2
        return np.asarray(here.positions[np.searchsorted(edges, drawn)])

    @property
    def _columns(self) -> list[tuple[Column, Array]]:
        return list(zip(self.encoding.columns, self.encoding.units.T, strict=True))

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
    basis, triangle = np.linalg.qr(np.column_stack([np.ones(len(unit)), raw]))
    return np.asarray(basis[:, 1:][:, np.abs(np.diag(triangle)[1:]) > 1e-9])


def _one_of_each(near: Any, count: int, rng: np.random.Generator) -> Any:
    """Return for each of N trials `count` random neighbours, itself among the possible, (count, N).

    `near` is an (N, N) mask.
    """
    order = np.argsort(~near, axis=1, kind="stable")
    size = near.sum(axis=1)
    place = (rng.random((count, len(near))) * size).astype(int)
    return order[np.arange(len(near)), place]
