"""What tuning is worth: the gain over the default from each parameter alone, and from all.

The tunability of Probst, Boulesteix, Bischl (JMLR 2019): how much better than the default is the
best value of one parameter, all others left at their defaults?  A share of the variance depends on
how widely a parameter was searched; this is in the objective's own units.

Gains are those of a Gaussian process.  The best value is the one with the best expected score, and
the gain is what it is expected to bring.  The interval is from the process's posterior: its lower
end is about that value, its upper end about the best value that there could be, so "at most" holds
for every value in the range.

Beside it stands where the score is flat: the values of each parameter from which another one can
still reach the best score less a margin, and the range of learning rate · α / rank^p in which
nearly every configuration does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from analysis.display import Displayed
from analysis.document import Cell, Document, Listing, Part, Prose, Table, interval_cell
from analysis.importance.confounding import Derived, products_of
from analysis.importance.other_questions import FittedSurrogate
from analysis.surrogates.encoding import Array, Column
from analysis.surrogates.gaussian_process import GaussianProcessSurrogate
from analysis.wording import alike, alike_signed, configuration, label_of, number, setting

DRAWS = 1000  # of the posterior
CANDIDATES = 2048  # configurations among which the best, and the flat ones, are looked for
LEADERS = 192  # of them that may be the best
SWEEPS = 12  # over the parameters, at most, to climb from the best of them
WIDENED, FEW = 1.2, 10  # the posterior's deviation is widened by 1.2 + 10 / trials, since lengths,
# scales and noise of the process are estimates (`benchmarks/tuning_worth.py`)
MOSTLY = 0.9  # of the configurations with a product must be good enough
BINS = 40  # of a product, with equally many configurations in each
EDGE = 0.025  # of the draws on each side of an interval
BEYOND = 0.1  # of the quartile range, and twice the noise: a best further beyond all trials is none


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
        """Whether the best value is better than the default beyond doubt."""
        return self.ci[0] > 0

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
        return Document("What is tuning worth, over the default?", tuple(parts))


def tuning(
    fitted: FittedSurrogate,
    default: Mapping[str, Any],
    margin: float | None = None,
    seed: int = 0,
    objective: str = "value",
    direction: str = "maximize",
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
    columns = fitted.encoding.columns
    start = fitted.at(default)
    gains = []
    for j, column in enumerate(columns):
        slice_ = np.tile(start, (len(column.grid()), 1))
        slice_[:, j] = column.grid()
        best, value, ci = _gain(fitted, process, start, slice_, rng)
        gains.append(Gain(column.name, default[column.name], column.value_at(best[j]), value, ci))
    candidates = _candidates(columns, rng)
    seen = np.vstack([candidates, fitted.encoding.units, start])
    score = fitted.sign * fitted.predict(seen)
    top = _climbed(fitted, process, seen[score.argmax()])
    spread = process.marginal(range(len(columns)), seen)[1]
    leaders = np.vstack([top, seen[np.argsort(-score - 2 * spread)[:LEADERS]]])
    best, value, ci = _gain(fitted, process, start, leaders, rng)
    configured = {c.name: c.value_at(u) for c, u in zip(columns, best, strict=True)}
    together = Gain("", dict(default), configured, value, ci)
    allowed = process.unit * process.noise**0.5 if margin is None else margin
    least = float(fitted.sign * fitted.predict(best[None])[0]) - allowed
    reasons = [*fitted.doubts, *_too_good(fitted, process, best)]
    reached = _reached(fitted, process, best)
    flat = tuple(
        _flat(column, unit, scores >= least)
        for column, unit, scores in zip(columns, best, reached, strict=True)
    )
    good = fitted.sign * fitted.predict(candidates) >= least
    points = [
        {c.name: c.value_at(u) for c, u in zip(columns, row, strict=True)} for row in candidates
    ]
    names, products = products_of({c.name: c.distribution for c in columns})
    ranges = (_product(product, names, points, good, configured) for product in products)
    widest = max(
        (r for r in ranges if r is not None), key=lambda r: np.log(r.high / r.low), default=None
    )
    said = [*remarks, *fitted.remarks]
    if margin is None:
        said.append("good enough is the best less one standard deviation of a trial's noise")
    return Tuning(
        objective,
        direction,
        tuple(sorted(gains, key=lambda g: -g.gain)),
        together,
        flat,
        widest,
        float(allowed),
        dict(default),
        tuple(reasons),
        tuple(said),
    )


def _gain(
    fitted: FittedSurrogate,
    process: GaussianProcessSurrogate,
    start: Array,
    tried: Array,
    rng: np.random.Generator,
) -> tuple[Array, float, tuple[float, float]]:
    """Return the best of (M, D) positions, what it gains over the start, and the interval."""
    units = np.vstack([start, tried])
    mean, covariance = process.posterior(units)
    mean = fitted.sign * mean
    best = int(mean.argmax())
    eigenvalue, direction = np.linalg.eigh(covariance)
    widened = WIDENED + FEW / len(fitted.values)
    spread = widened * direction * np.sqrt(np.maximum(eigenvalue, 0.0))
    drawn = mean[:, None] + spread @ rng.normal(size=(len(mean), DRAWS))
    low = float(np.quantile(drawn[best] - drawn[0], EDGE))
    high = float(np.quantile(drawn.max(axis=0) - drawn[0], 1 - EDGE))
    gain = float(mean[best] - mean[0])
    return units[best], gain, (max(low, 0.0), max(high, gain))


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


def _reached(
    fitted: FittedSurrogate, process: GaussianProcessSurrogate, best: Array
) -> list[Array]:
    """Return the best score at each grid value of each parameter, (G,) each.

    The others are as in `best`, but for the one that makes up for most.
    """
    at, width = process.factors_at(best), len(process.columns)
    found = [fitted.sign * process.plane(at, j)[:, 0] for j in range(width)]
    for j, k in combinations(range(width), 2):
        plane = fitted.sign * process.plane(at, j, k)
        found[j] = np.maximum(found[j], plane.max(axis=1))
        found[k] = np.maximum(found[k], plane.max(axis=0))
    return found


def _flat(column: Column, best: float, good: Any) -> FlatRange:
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
