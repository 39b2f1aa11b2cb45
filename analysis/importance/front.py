"""Two goals at once: what matters along the front between them.

Each importance is that of a weighted sum of the two values (MO-fANOVA: Theodorakopoulos, Stahl,
Lindauer, ECAI 2024), turned so that more is better and divided by their standard deviations over
the trials.  At weight 1 it is the first value's own importance, at weight 0 the second's; between
them it says what decides for those who care for both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.display import Displayed
from analysis.document import Cell, Document, Listing, Part, Prose, Table, cell, share_cell
from analysis.importance.question import Points, Question
from analysis.importance.result import Importances
from analysis.importance.variance import variance
from analysis.wording import in_region, label_of, listing

RESAMPLES = 20  # at most, for the intervals at each weight
WEIGHTS = (1.0, 0.75, 0.5, 0.25, 0.0)  # of the first value


@dataclass(frozen=True, repr=False)
class Front(Displayed):
    """The importances of each weighted sum, from the first value alone to the second alone."""

    objectives: tuple[str, str]
    directions: tuple[str, str]
    weights: tuple[float, ...]
    importances: tuple[Importances, ...]
    region: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters, the one with the largest share at any weight first."""
        most = {
            p.name: max(self.share(p.name, i) for i in range(len(self.weights)))
            for found in self.importances
            for p in found.parameters
        }
        return tuple(sorted(most, key=lambda name: -most[name]))

    def share(self, name: str, place: int) -> float:
        """One parameter's share at one weight; zero where it has none."""
        shares = {p.name: p.importance for p in self.importances[place].parameters}
        return shares.get(name, 0.0)

    def document(self) -> Document:
        """Return a row per weight: the shares, those beyond chance marked, and the verdict."""
        first, second = map(label_of, self.objectives)
        rows = []
        for place, (weight, found) in enumerate(zip(self.weights, self.importances, strict=True)):
            sure = {p.name for p in found.parameters if p.significant}
            shares = (
                replace(share_cell(self.share(name, place)), mark="*" * (name in sure))
                for name in self.names
            )
            verdict = Cell("reliable" if found.reliable else "not reliable")
            rows.append((cell(weight, "{:g}".format), *shares, verdict))
        parts: list[Part] = [
            Table(
                f"Share of the variance of weight · {first} + (1 − weight) · {second}",
                ("weight", *self.names, "verdict"),
                tuple(rows),
            ),
            Prose(("* beyond chance. Each value is divided by its standard deviation.",)),
        ]
        reasons = dict.fromkeys(reason for f in self.importances for reason in f.reasons)
        parts += [Listing("Not reliable because", tuple(reasons))] if reasons else []
        title = f"What matters between {listing((first, second))}{in_region(self.region)}?"
        return Document(title, tuple(parts))


def front(
    one: Points,
    other: Points,
    question: Question,
    progress: Callable[[int, int], None] | None = None,
    weights: Sequence[float] = WEIGHTS,
) -> Front:
    """Return the importances along the front between two values of the same N trials.

    Raises ValueError where a value does not vary or no trial has both.
    """
    values = np.stack([_oriented(one), _oriented(other)])
    both = np.isfinite(values).all(axis=0)
    deviation = values[:, both].std(axis=1) if both.any() else np.zeros(2)
    for given, spread in zip((one, other), deviation, strict=True):
        if spread == 0:
            raise ValueError(f"{given.objective}: its values do not vary in trials that have both")
    scaled = values / deviation[:, None]
    few = min(question.resamples, RESAMPLES)
    asked = replace(question, kind="variance", objective=None, against=None, resamples=few)

    def at(place: int, weight: float) -> Importances:
        mixed = weight * scaled[0] + (1 - weight) * scaled[1]
        given = replace(
            one,
            values=mixed,
            objective=_mixture(weight, one.objective, other.objective),
            direction="maximize",
        )
        step = None
        if progress is not None:
            step = lambda done, total: progress(  # noqa: E731
                int(1000 * (place + done / total)), 1000 * len(weights)
            )
        return variance(asked, given, step)

    found = tuple(at(place, weight) for place, weight in enumerate(weights))
    names = (one.objective, other.objective)
    return Front(names, (one.direction, other.direction), tuple(weights), found, one.region)


def _oriented(given: Points) -> np.ndarray:
    """Return the values turned so that more is better."""
    return given.measured if given.direction == "maximize" else -given.measured


def _mixture(weight: float, one: str, other: str) -> str:
    return (
        one
        if weight == 1
        else other
        if weight == 0
        else f"{weight:g} {one} + {1 - weight:g} {other}"
    )
