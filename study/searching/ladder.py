"""The ladder of starts: eight values of learning rate · alpha, spread over two decades.

LoRA's best learning rate is about ten times that of full fine-tuning, and hardly depends on model
or rank: 5e-4 at alpha 32 for a width of 2,000 (Schulman et al. 2025, "LoRA Without Regret"), a
product of 0.016.  The ladder goes from 0.002 to 0.2 around it, from the middle outwards.
Dropout is the lowest (PEFT's default is none), modules are the largest set in the space, and
everything else stands in the middle of its range.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution

from search_spaces import SearchSpace
from search_spaces.unit_cube import from_unit, level_count
from study.searching.coordinates import PRODUCT

LOW, HIGH, RUNGS = 2e-3, 0.2, 8
WIDEST = ("all-linear", "attention+ffn", "attention", "qv")
ADAPTER = "lora"
MOST_GROWTH = 4  # rungs above the ladder: a decade
NEAR = 0.05  # decades by which a rung may miss its product
STEPS = 65  # positions of a continuous range that are tried


def ladder(
    space: SearchSpace, fixed: Mapping[str, Any], shift: float = 0.0
) -> list[dict[str, Any]]:
    """Return the points to start from: none if neither learning rate nor alpha is searched.

    `fixed` holds the values of those that the space does not search.  A rung outside the space is
    moved to its edge; rungs that fall together are one.  `shift` moves the ladder by decades.
    """
    if not _searched(space):
        return []
    rungs = np.logspace(math.log10(LOW) + shift, math.log10(HIGH) + shift, RUNGS)
    points: list[dict[str, Any]] = []
    for place in sorted(range(RUNGS), key=lambda i: (abs(i - (RUNGS - 1) / 2), i)):
        point = _point(space, fixed, float(rungs[place]))
        if point not in points:
            points.append(point)
    return points


def _searched(space: SearchSpace) -> list[str]:
    return [name for name in PRODUCT if name in space.distributions]


def _point(space: SearchSpace, fixed: Mapping[str, Any], product: float) -> dict[str, Any]:
    """Return the point of the space with this product, or with the nearest to it."""
    searched = _searched(space)
    rate, alpha = min(
        (
            (rate, alpha)
            for alpha in _values_of(space, fixed, "alpha")
            for rate in _rates(space, fixed, product / alpha)
        ),
        key=lambda pair: _off(space, pair, product),
    )
    of_product = {"learning_rate": rate, "alpha": alpha}
    point: dict[str, Any] = {}
    for name, distribution in space.distributions.items():
        if space.is_active(name, point):
            point[name] = of_product[name] if name in searched else _middle(name, distribution)
    return point


def _off(space: SearchSpace, pair: tuple[Any, Any], product: float) -> tuple[float, float]:
    """Return how far a pair is from the product, in decades, and alpha from its middle."""
    rate, alpha = pair
    off = abs(math.log10(rate * alpha / product))
    if "alpha" not in space.distributions:
        return round(off, 6), 0.0
    return round(off, 6), abs(math.log(alpha / from_unit(space.distributions["alpha"], 0.5)))


def _values_of(space: SearchSpace, fixed: Mapping[str, Any], name: str) -> Iterator[Any]:
    """Yield the values that a parameter can have, or positions spread over a wide range."""
    distribution = space.distributions.get(name)
    if distribution is None:
        yield fixed[name]
        return
    count = level_count(distribution)
    steps = STEPS if count is None or count > STEPS else count
    yield from dict.fromkeys(from_unit(distribution, (i + 0.5) / steps) for i in range(steps))


def _rates(space: SearchSpace, fixed: Mapping[str, Any], wanted: float) -> Sequence[Any]:
    """Return the learning rate that is wanted, moved into its range, or all that there are."""
    distribution = space.distributions.get("learning_rate")
    if distribution is None or level_count(distribution) is not None:
        return list(_values_of(space, fixed, "learning_rate"))
    low, high = distribution.low, distribution.high  # type: ignore[attr-defined]
    return [min(max(wanted, low), high)]


def _middle(name: str, distribution: BaseDistribution) -> Any:
    """Return where a parameter stands that is not on the ladder."""
    if isinstance(distribution, CategoricalDistribution):
        if name == "method" and ADAPTER in distribution.choices:
            return ADAPTER
        if name == "target_modules":
            return max(distribution.choices, key=_breadth)
    return from_unit(distribution, 0.0 if name == "dropout" else 0.5)


def _breadth(modules: Any) -> tuple[int, int]:
    """Return how much of a model a set of modules, or a list of names, covers."""
    if modules in WIDEST:
        return len(WIDEST) - WIDEST.index(modules), 0
    return 0, str(modules).count(",")


@dataclass(frozen=True)
class GrowingLadder:
    """A ladder that grows upwards while no trial is clearly better than the untrained model.

    Then its steps may be too small.  A model of the scores would stay where they are smallest,
    since nothing there is worse than the untrained model.  Steps that are too large need no such
    help: they make scores worse, and a model follows that down.

    `bar` is the score, in the objective's own direction, from which a trial is clearly better.
    """

    space: SearchSpace
    fixed: Mapping[str, Any]
    bar: float
    shift: float = 0.0

    def rung(self, index: int) -> dict[str, Any] | None:
        """Return the `index`-th rung above the ladder.

        None beyond a decade above it, where the space ends, or if it has no ladder.
        """
        if index >= MOST_GROWTH or not _searched(self.space):
            return None
        wanted = HIGH * 10**self.shift * (HIGH / LOW) ** ((index + 1) / (RUNGS - 1))
        point = _point(self.space, self.fixed, wanted)
        both = {**self.fixed, **point}
        off = math.log10(both["learning_rate"] * both["alpha"] / wanted)
        return point if abs(off) <= NEAR else None


def ladder_in_words(points: Sequence[Mapping[str, Any]], trials: int) -> str:
    """Return one line about a study of so many trials that starts on the ladder."""
    if not points:
        return "no ladder of starts: the space searches neither learning rate nor alpha"
    searched = [name for name in PRODUCT if name in points[0]]
    tried = points[: max(trials, 1)]
    ends = dict.fromkeys(f"{end:.2g}" for end in _ends(tried))
    return (
        f"the search begins with {len(tried)} trial{'s' * (len(tried) > 1)} at "
        f"{' · '.join(searched)} = {' to '.join(ends)}, marked as enqueued; "
        "search.start = 'none' leaves this out"
    )


def _ends(points: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    products = [math.prod(point[name] for name in PRODUCT if name in point) for point in points]
    return min(products), max(products)
