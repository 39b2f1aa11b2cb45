"""When a conditional parameter is active, learnt from the trials.

A study of any program says which parameters each trial had, not why.  Whether one is active follows
from the others: a decision tree finds the rule, without error where the trials show it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from analysis.surrogates.encoding import Array, Column, Encoding

if TYPE_CHECKING:
    from sklearn.tree import DecisionTreeClassifier

INACTIVE = -1.0  # in place of the position of an inactive parameter


@dataclass(frozen=True)
class Activity:
    """Rules for the conditional columns, in the order in which they can be decided."""

    columns: tuple[Column, ...]
    rules: Mapping[int, DecisionTreeClassifier]

    @classmethod
    def of(cls, encoding: Encoding, points: Sequence[Mapping[str, Any]]) -> Activity:
        """Learn the rules from the points of N encoded trials."""
        from sklearn.tree import DecisionTreeClassifier

        is_active = np.array([[name in p for name in encoding.names] for p in points])  # (N, D)
        shown = np.where(is_active, encoding.units, INACTIVE)
        missing = (~is_active).sum(axis=0)
        decided = np.flatnonzero(missing == 0).tolist()
        rules = {}
        for j in sorted(np.flatnonzero(missing).tolist(), key=lambda j: missing[j]):
            if decided:  # a parameter is active in no fewer trials than one that depends on it
                tree = DecisionTreeClassifier(random_state=0)
                rules[j] = tree.fit(shown[:, decided], is_active[:, j])
            decided.append(j)
        return cls(encoding.columns, rules)

    def at(self, units: Array) -> NDArray[np.bool_]:
        """Return which parameters are active at (M, D) positions, (M, D)."""
        active = np.ones(units.shape, dtype=bool)
        shown = units.copy()
        decided = [j for j in range(len(self.columns)) if j not in self.rules]
        for j, tree in self.rules.items():
            active[:, j] = tree.predict(shown[:, decided])
            shown[~active[:, j], j] = INACTIVE
            decided.append(j)
        return active

    def names_at(self, unit: Array) -> list[str]:
        """Return the names of the parameters that are active at a position (D,)."""
        active = self.at(unit[None])[0]
        return [c.name for c, on in zip(self.columns, active, strict=True) if on]

    def point_at(self, unit: Array) -> dict[str, Any]:
        """Return a possible configuration: the values of the parameters active at a position."""
        active = self.at(unit[None])[0]
        return {
            c.name: c.value_at(u) for c, u, on in zip(self.columns, unit, active, strict=True) if on
        }
