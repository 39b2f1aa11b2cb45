"""The joint effect of α, rank and learning rate, and which single number explains it best.

LoRA adds (α / r) · B A to a weight, and under Adam a step of B A has the size learning rate · α / r
whatever the size of the gradient, so the three parameters act largely through one product.  The
share of α then depends on how widely each was searched: α carries the variance where the learning
rate is confined, and the learning rate carries it where that is wide.  Here the joint effect of the
three is compared with each of them and each product of them, as alternative coordinates: how much
of the joint effect does one column explain?

rsLoRA's scale is α / √r (Kalajdzievski 2023).
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.display import Displayed
from analysis.document import Cell, Document, Prose, Table, interval_cell, share_cell
from analysis.importance.exponent import Exponent, exponent_of
from analysis.importance.reliability import intervals
from analysis.parallel import each
from analysis.surrogates.encoding import Array, Column, Encoding, make_column
from analysis.surrogates.fits import Fits
from analysis.surrogates.gaussian_process import GaussianProcessSurrogate
from analysis.wording import interval, listing, share

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

ALIASES = {
    "alpha": ("alpha", "lora_alpha"),
    "rank": ("rank", "r", "lora_r", "lora_rank"),
    "learning_rate": ("learning_rate", "lr"),
}
SAMPLE = 2048  # points at which a column is compared with the joint effect
BINS = 64
Values = Mapping[str, Any]  # role -> value, or array of values


@dataclass(frozen=True)
class Derived:
    """A coordinate computed from several parameters; `compute` takes them by role."""

    name: str
    formula: str
    roles: tuple[str, ...]
    compute: Callable[[Values], Any]


DERIVED = (
    Derived("scale", "alpha / rank", ("alpha", "rank"), lambda v: v["alpha"] / v["rank"]),
    Derived(
        "rslora_scale",
        "alpha / sqrt(rank)",
        ("alpha", "rank"),
        lambda v: v["alpha"] / np.sqrt(v["rank"]),
    ),
    Derived(
        "effective_lr",
        "learning_rate · alpha / rank",
        ("alpha", "rank", "learning_rate"),
        lambda v: v["learning_rate"] * v["alpha"] / v["rank"],
    ),
    Derived(
        "rslora_effective_lr",
        "learning_rate · alpha / sqrt(rank)",
        ("alpha", "rank", "learning_rate"),
        lambda v: v["learning_rate"] * v["alpha"] / np.sqrt(v["rank"]),
    ),
)

WITHOUT_RANK = Derived(
    "alpha_lr",
    "learning_rate · alpha",
    ("alpha", "learning_rate"),
    lambda v: v["learning_rate"] * v["alpha"],
)
"""The product alone, without the rank: also what both effective rates come down to where all trials
have one rank, which is not recorded."""


@dataclass(frozen=True)
class Explanation:
    """How much of a joint effect one column explains.

    `explained` is the part (0 to 1) of the joint effect's variance that a function of this column
    alone explains, with a 95 % interval; `held_out_r2` is the R² of a surrogate on held-out trials
    when this column replaces the whole group.
    """

    name: str
    formula: str
    uses: tuple[str, ...]
    explained: float
    ci: tuple[float, float]
    held_out_r2: float


@dataclass(frozen=True, repr=False)
class Confounding(Displayed):
    """The joint effect of a group of parameters and the columns that explain it, best first.

    `joint` is the group's share of the total variance, interactions within it included;
    `held_out_r2` is that of all parameters as they are.  `exponent` is the power of the rank in the
    product, where rank and product varied.
    """

    group: tuple[str, ...]
    joint: float
    joint_ci: tuple[float, float]
    held_out_r2: float
    columns: tuple[Explanation, ...]
    exponent: Exponent | None = None

    @property
    def best(self) -> Explanation:
        """The number of trainable parameters, where that is a candidate; else the best column."""
        sizes = (c for c in self.columns if c.name == "trainable_parameters")
        return next(sizes, self.columns[0])

    @property
    def summary(self) -> str:
        """The group's share of the variance, and how much of it one column explains."""
        best = self.best
        is_size = best.name == "trainable_parameters"
        return (
            f"{listing(self.group)} together account for {share(self.joint)} of the variance "
            f"(95 % interval {interval(self.joint_ci, share)}); "
            f"{'the number of trainable parameters' if is_size else best.formula} explains "
            f"{share(best.explained)} of that (95 % interval {interval(best.ci, share)})"
        )

    def document(self) -> Document:
        """Return the joint share, and how much of it each coordinate explains, best first."""
        rows = tuple(
            (
                Cell(c.formula),
                share_cell(c.explained),
                interval_cell(c.ci, share),
                share_cell(c.held_out_r2),
            )
            for c in self.columns
        )
        columns = ("coordinate", "explains", "95 % interval", "held-out R²")
        caption = f"One coordinate instead of {listing(self.group)}"
        table = Table(caption, columns, rows)
        said = (f"{self.summary}.", *((f"{self.exponent.sentence}.",) if self.exponent else ()))
        return Document("", (Prose(said), table))


def with_derived(point: Mapping[str, Any]) -> dict[str, Any]:
    """Return a trial's parameters with the derived columns that follow from them."""
    values = {role: point[n] for role, n in roles_in(point).items() if _is_factor(point[n])}
    known = [d for d in _products(values) if all(role in values for role in d.roles)]
    return {**point, **{d.name: float(d.compute(values)) for d in known}}


def formula_of(name: str) -> str:
    """Return how a derived coordinate is computed."""
    return next(d.formula for d in (*DERIVED, WITHOUT_RANK) if d.name == name)


def _products(roles: Container[str]) -> tuple[Derived, ...]:
    return DERIVED if "rank" in roles else (WITHOUT_RANK,)


def products_of(
    distributions: Mapping[str, BaseDistribution],
) -> tuple[dict[str, str], tuple[Derived, ...]]:
    """Return the parameters by role, and the products that can be computed from them."""
    roles = roles_in(factors(distributions))
    every = (*DERIVED, WITHOUT_RANK)
    return roles, tuple(d for d in every if roles.keys() >= set(d.roles))


def confounding(fits: Fits) -> Confounding | None:
    """Return how α, rank and learning rate act together in N finished trials.

    None where fewer than two of them varied, or where there are too few trials to fit anything.
    The surrogate is the Gaussian process, whose joint effects are in closed form.
    """
    known = roles_in(factors(fits.distributions))
    roles = {role: name for role, name in known.items() if name in fits.encoding.names}
    if len(roles) < 2 or not fits.say_something:
        return None
    fixed = _fixed(fits, roles)
    found = explained_by(Group(fits, roles, fixed), _candidates(roles, fixed))
    exponent = exponent_of(fits.encoding, fits.target, fits.points, roles)
    return replace(found, exponent=exponent)


@dataclass(frozen=True)
class Group:
    """Fitted parameters that act together, by role.

    `fixed` holds the value of a role whose parameter hardly varied.
    """

    fits: Fits
    roles: Mapping[str, str]
    fixed: Mapping[str, Any]

    @property
    def columns(self) -> list[int]:
        """Which columns of the encoding the group has, in the order of its roles."""
        return [self.fits.encoding.names.index(name) for name in self.roles.values()]


def explained_by(group: Group, candidates: Sequence[Derived]) -> Confounding:
    """Return a group's joint effect, and what each candidate explains of it, best first."""
    joint, explained = _explained_by_each(group, candidates)
    encodings = [_stand_in(group, derived) for derived in candidates]
    held_out = list(each(group.fits.held_out_r2_in, encodings))
    columns = [
        Explanation(
            d.name,
            d.formula,
            tuple(group.roles[r] for r in d.roles if r in group.roles),
            share,
            ci,
            r2,
        )
        for d, (share, ci), r2 in zip(candidates, explained, held_out, strict=True)
    ]
    return Confounding(
        tuple(group.roles.values()),
        *joint,
        group.fits.held_out_r2,
        tuple(sorted(columns, key=lambda c: -c.explained)),
    )


def _explained_by_each(
    group: Group, candidates: Sequence[Derived]
) -> tuple[tuple[float, tuple[float, float]], list[tuple[float, tuple[float, float]]]]:
    """Return (share, interval) of the joint effect, and of each candidate's part in it."""
    fits, places = group.fits, group.columns
    columns = [fits.encoding.columns[j] for j in places]
    units, by_role = _sample(columns, list(group.roles), fits.seed)
    values = {**group.fixed, **by_role}
    derived = [np.asarray(d.compute(values), dtype=float) for d in candidates]
    estimate = _parts(fits.whole, places, units, derived)
    low, high = np.zeros_like(estimate), np.ones_like(estimate)
    if fits.resamples > 1:
        refits = list(each(lambda part: _parts(part, places, units, derived), fits.parts))
        low, high = intervals(estimate, np.stack(refits), fits.part)
    rows = [
        (float(e), (float(lo), float(hi))) for e, lo, hi in zip(estimate, low, high, strict=True)
    ]
    return rows[0], rows[1:]


def _parts(
    fitted: GaussianProcessSurrogate, group: Sequence[int], units: Array, columns: Sequence[Array]
) -> Array:
    """Return the joint effect's share of all variance, and each column's part of that effect."""
    effect = fitted.marginal_mean(group, units)
    joint = float(effect.var()) / fitted.shares(pairs=False).variance
    return np.array([min(joint, 1.0), *(correlation_ratio(column, effect) for column in columns)])


def correlation_ratio(column: Array, effect: Array) -> float:
    """Return the part of (M,) effects' variance between groups of equal, or similar, column value.

    More than BINS distinct values are cut into BINS groups of equal size.  Adjusted for the number
    of groups, as ω² is, so that an unrelated column explains nothing.
    """
    if effect.var() == 0:
        return 0.0
    distinct, group = np.unique(np.round(np.log(column), 9), return_inverse=True)
    if len(distinct) > BINS:
        rank = np.empty(len(column), dtype=int)
        rank[np.argsort(column, kind="stable")] = np.arange(len(column))
        group = rank * BINS // len(column)
    size = np.bincount(group)
    mean = np.bincount(group, effect) / np.maximum(size, 1)
    within = float(np.mean((effect - mean[group]) ** 2)) / float(effect.var())
    groups = int((size > 0).sum())
    return float(np.clip(1.0 - within * (len(effect) - 1) / max(len(effect) - groups, 1), 0.0, 1.0))


def _candidates(roles: Mapping[str, str], fixed: Mapping[str, Any]) -> list[Derived]:
    """Return each varied parameter by itself, and each product of two or more varied ones."""
    single = [Derived(name, name, (role,), itemgetter(role)) for role, name in roles.items()]
    known = {*roles, *fixed}
    every = (*_products(known), *((WITHOUT_RANK,) if "rank" in roles else ()))
    joint = [d for d in every if known.issuperset(d.roles) and sum(r in roles for r in d.roles) > 1]
    return [*single, *joint]


def _sample(
    columns: Sequence[Column], roles: Sequence[str], seed: int
) -> tuple[Array, dict[str, Array]]:
    """Return SAMPLE positions (M, |U|) of a scrambled Sobol sequence and their values by role."""
    from scipy.stats import qmc

    raw = qmc.Sobol(len(columns), rng=np.random.default_rng([seed, 8])).random(SAMPLE)
    units, values = np.empty_like(raw), {}
    for i, (column, role) in enumerate(zip(columns, roles, strict=True)):
        units[:, i], values[role] = column.at_quantiles(raw[:, i])
    return units, values


def _stand_in(group: Group, derived: Derived) -> Encoding:
    """Return the trials with one derived column in place of the whole group."""
    from optuna.distributions import FloatDistribution

    by_role = {
        role: np.array([p.get(name, np.nan) for p in group.fits.points])
        for role, name in group.roles.items()
    }
    value = np.asarray(derived.compute({**group.fixed, **by_role}), dtype=float)
    value = np.where(np.isfinite(value), value, np.nanmedian(value))
    low, high = float(value.min()), float(value.max())
    column = make_column(derived.name, FloatDistribution(low, high, log=True))
    unit = np.array([column.to_unit(v) for v in value])
    encoding = group.fits.encoding
    others = [j for j in range(len(encoding.columns)) if j not in group.columns]
    return replace(
        encoding,
        columns=(column, *(encoding.columns[j] for j in others)),
        units=np.column_stack([unit, encoding.units[:, others]]),
    )


def _fixed(fits: Fits, roles: Mapping[str, str]) -> dict[str, Any]:
    """Return the value of every role whose parameter exists but hardly varied."""
    result = {}
    for role, name in roles_in(factors(fits.distributions)).items():
        seen = [p[name] for p in fits.points if name in p]
        if role not in roles and seen:
            result[role] = float(np.median(seen))
    return result


def factors(distributions: Mapping[str, BaseDistribution]) -> list[str]:
    """Return the parameters whose values are all positive numbers, as a product needs."""
    return [name for name, d in distributions.items() if all(map(_is_factor, _least(d)))]


def _least(distribution: Any) -> tuple[Any, ...]:
    """Return the choices, or the lower end of a range."""
    return getattr(distribution, "choices", None) or (distribution.low,)


def _is_factor(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0


def roles_in(names: Container[str]) -> dict[str, str]:
    """Return these parameters by role: alpha, rank, learning_rate."""
    found = {role: next((n for n in known if n in names), None) for role, known in ALIASES.items()}
    return {role: name for role, name in found.items() if name is not None}
