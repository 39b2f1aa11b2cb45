"""What tuning is worth: the gain over the default from each parameter alone, and from all.

The tunability of Probst, Boulesteix, Bischl (JMLR 2019): how much better than the default is the
best value of one parameter, all others left at their defaults?  A share of the variance depends on
how widely a parameter was searched; this is in the objective's own units.

Gains are those of a Gaussian process.  The best of many estimates is too good, most of all in a
corner beyond the trials, so the value that is named is the one whose gain is most certain: the one
with the highest lower end of the interval.  The gain is what it is expected to bring.  The upper
end is about the best value that there could be, so "at most" holds for every value in the range.
All parameters together gain no less than any one of them.

Beside it stands where the score is flat (`flat_region`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np

from analysis.display import Displayed
from analysis.document import Cell, Document, Listing, Part, Prose, Table, interval_cell
from analysis.importance.flat_region import (
    FlatRange,
    flat_ranges,
    reaching_best,
    widening,
    widest_product,
)
from analysis.importance.other_questions import FittedSurrogate
from analysis.surrogates.encoding import Array, Column
from analysis.surrogates.gaussian_process import GaussianProcessSurrogate
from analysis.wording import (
    alike,
    alike_signed,
    configuration,
    in_region,
    label_of,
    number,
    setting,
)

DRAWS = 1000  # of the posterior
CANDIDATES = 2048  # random configurations among which the best, and the flat ones, are found
LEADERS = 192  # of them that may be the best, for the upper end
SWEEPS = 12  # over the parameters, at most, to climb from the best of them
EDGE = 0.025  # of the posterior on each side of an interval
BEYOND = 0.1  # of the quartile range, and twice the noise: a best further beyond all trials is none
ROUNDING = 1e-9  # of a gain: a flat forest gives differences of 1e-14


@dataclass(frozen=True)
class Gain:
    """What the best value of one parameter brings over its default; `name` "" is all together."""

    name: str
    default: Any
    best: Any
    gain: float
    ci: tuple[float, float]

    @property
    def is_worth_it(self) -> bool:
        """Whether the best value is better than the default beyond doubt, and beyond rounding."""
        return self.ci[0] > ROUNDING * self.ci[1]

    def at_least(self, others: Sequence[Gain]) -> Gain:
        """This gain, where it cannot be less than any of the others."""
        every = (self, *others)
        low, high = (max(g.ci[end] for g in every) for end in (0, 1))
        return replace(self, gain=max(g.gain for g in every), ci=(low, high))

    def verdict(self, write: Callable[[float], str]) -> str:
        """Whether it is worth it, or what it is worth at most."""
        return "worth tuning" if self.is_worth_it else f"at most {write(float(self.ci[1]))}"

    def sentence(self, unit: str) -> str:
        """The gain in words, as people quote it."""
        name = self.name or "all together"
        if not self.is_worth_it:
            return f"{name}: nothing to gain for certain, at most {number(self.ci[1], 2)} {unit}"
        write = alike([self.gain, *self.ci])
        low, high = map(write, self.ci)
        return f"{name}: +{write(self.gain)} {unit} ({low} to {high})"


@dataclass(frozen=True, repr=False)
class Tuning(Displayed):
    """The gains over the default, largest first, and the flat region around the best.

    `together` is the gain of tuning all parameters.  `product` is the range of learning rate · α /
    rank^p in which 90 % of all configurations are good enough; None where there is no such range.
    All in the objective's units, positive where it improves.
    """

    objective: str
    direction: str
    gains: tuple[Gain, ...]
    together: Gain
    flat: tuple[FlatRange, ...]
    product: FlatRange | None
    margin: float
    default: Mapping[str, Any]
    reasons: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    region: str = ""

    @property
    def sentences(self) -> tuple[str, ...]:
        """One sentence per parameter, and one for all, as people quote them; or why not."""
        if self.reasons:
            return (f"Not reliable: {'; '.join(self.reasons)}.",)
        unit = label_of(self.objective)
        return tuple(gain.sentence(unit) for gain in (*self.gains, self.together))

    def document(self) -> Document:
        """Return the gains, the flat region and what they are based on."""
        unit = label_of(self.objective)
        parts: list[Part] = []
        if self.reasons:
            parts.append(Prose(self.sentences, "warning"))
        every = (*self.gains, self.together)
        signed = alike_signed(g.gain for g in every)
        plain = alike([float(end) for g in every for end in g.ci])
        rows = tuple(
            (
                Cell(g.name or "all together"),
                Cell(setting(g.default) if g.name else ""),
                Cell(setting(g.best) if g.name else configuration(g.best)),
                Cell(signed(g.gain), g.gain, numeric=True),
                interval_cell(g.ci, plain),
                Cell("" if self.reasons else g.verdict(plain)),
            )
            for g in every
        )
        head = ("tuned", "default", "best", "gain", "95 % interval", "verdict")
        parts.append(Table(f"Gain in {unit} over the default", head, rows))
        ranges = [] if self.reasons else [*self.flat, *filter(None, [self.product])]
        values = tuple((Cell(r.name), Cell(r.words)) for r in ranges)
        caption = f"Good enough: within {number(self.margin, 2)} {unit} of the best"
        parts += [Table(caption, ("parameter", "values"), values)] if values else []
        if self.product and values:
            parts.append(
                Prose(
                    (
                        "A parameter's values are good enough with the right value of another; "
                        f"{self.product.name} is with almost any: 90 % of the configurations in "
                        "its range are.",
                    )
                )
            )
        parts += [Listing("Remarks", self.remarks)] if self.remarks else []
        title = f"What is tuning worth, over the default{in_region(self.region)}?"
        return Document(title, tuple(parts))


def tuning(
    fitted: FittedSurrogate,
    default: Mapping[str, Any],
    margin: float | None = None,
    seed: int = 0,
    remarks: Sequence[str] = (),
) -> Tuning:
    """Return what each parameter alone, and all, gain over a default configuration.

    `margin` is how much less than the best is good enough, in the objective's units; None is the
    standard deviation of one trial's noise.  Raises ValueError for a surrogate without posterior.
    """
    process = fitted.surrogate
    if not isinstance(process, GaussianProcessSurrogate):
        raise ValueError("the gains need the posterior of a Gaussian process, got a forest")
    rng = np.random.default_rng([seed, 17])
    columns, activity = fitted.encoding.columns, fitted.activity
    start = fitted.at(default)
    gains, slices = [], []
    for j, column in enumerate(columns):
        if column.name in default:
            along = np.tile(start, (len(column.grid()), 1))
            along[:, j] = column.grid()
            slices.append(along)
            at, gain, ci = _gain(fitted, process, start, along, rng)
            gains.append(Gain(column.name, default[column.name], column.value_at(at[j]), gain, ci))
    candidates = _candidates(columns, rng)
    seen = np.vstack([candidates, fitted.encoding.units, start])
    score = fitted.sign * fitted.predict(seen)
    top = _climbed(fitted, process, seen[score.argmax()])
    reaching = reaching_best(fitted, process, top)
    at, gain, ci = _gain(fitted, process, start, np.vstack([top, *reaching, *slices, seen]), rng)
    together = Gain("", dict(default), activity.point_at(at), gain, ci).at_least(gains)
    allowed = process.unit * process.noise**0.5 if margin is None else margin
    said = [*remarks, *fitted.remarks]
    if margin is None:
        said.append("good enough is the best less one standard deviation of a trial's noise")
    return Tuning(
        fitted.given.objective,
        fitted.given.direction,
        tuple(sorted(gains, key=lambda g: -g.gain)),
        together,
        flat_ranges(fitted, process, top, reaching, allowed),
        widest_product(fitted, process, top, candidates, allowed),
        float(allowed),
        dict(default),
        (*fitted.doubts, *_too_good(fitted, process, top)),
        tuple(said),
        fitted.given.region,
    )


def _gain(
    fitted: FittedSurrogate,
    process: GaussianProcessSurrogate,
    start: Array,
    tried: Array,
    rng: np.random.Generator,
) -> tuple[Array, float, tuple[float, float]]:
    """Return the most certain gain over the start among (M, D) positions: where, what, interval.

    That is the one with the highest lower end; the start itself where none is above zero.  The
    upper end is that of the best there could be.
    """
    units = np.vstack([start, tried])
    difference, error = process.deviation_from(start, units)
    gain, error = fitted.sign * difference, widening(fitted) * error
    low = gain + NormalDist().inv_cdf(EDGE) * error
    gain[0] = low[0] = 0.0  # the start over itself
    chosen = int(low.argmax())
    leaders = np.argsort(-gain - 2 * error)[:LEADERS]
    mean, covariance = process.posterior(np.vstack([start, units[leaders]]))
    eigenvalue, direction = np.linalg.eigh(covariance)
    spread = widening(fitted) * direction * np.sqrt(np.maximum(eigenvalue, 0.0))
    drawn = fitted.sign * mean[:, None] + spread @ rng.normal(size=(len(mean), DRAWS))
    high = float(np.quantile(drawn.max(axis=0) - drawn[0], 1 - EDGE))
    return units[chosen], float(gain[chosen]), (float(low[chosen]), max(high, float(gain[chosen])))


def _too_good(
    fitted: FittedSurrogate, process: GaussianProcessSurrogate, best: Array
) -> Iterator[str]:
    """Say where the expected best lies far beyond every trial, as it does beside a cliff."""
    low, high = np.quantile(fitted.values, [0.25, 0.75])
    allowed = 2 * process.unit * process.noise**0.5 + BEYOND * (high - low)
    expected = float(fitted.predict(best[None])[0])
    seen = float(fitted.sign * (fitted.sign * fitted.values).max())
    if fitted.sign * (expected - seen) > allowed:
        yield (
            f"the expected best, {number(expected)}, lies far beyond the best trial, "
            f"{number(seen)}: the score falls off a cliff, or few trials are near the best"
        )


def _candidates(columns: Sequence[Column], rng: np.random.Generator) -> Array:
    """Return random positions (M, D) of the search space, on the levels where there are any."""
    return np.stack([c.at_quantiles(rng.random(CANDIDATES))[0] for c in columns], axis=1)


def _climbed(fitted: FittedSurrogate, process: GaussianProcessSurrogate, unit: Array) -> Array:
    """Return the position that is best by one parameter at a time, from `unit` on."""
    here, reached = unit.copy(), float(fitted.sign * fitted.predict(unit[None])[0])
    at = process.factors_at(here)
    for _ in range(SWEEPS):
        before = reached
        for j, column in enumerate(process.columns):
            along = fitted.sign * process.plane(at, j)[:, 0]
            if along.max() > reached:
                here[j], reached = column.grid()[along.argmax()], float(along.max())
                at = process.factors_at(here)
        if reached == before:
            break
    return here
