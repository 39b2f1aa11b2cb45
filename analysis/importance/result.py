"""The result of an importance analysis: numbers, and the document that shows them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from analysis.display import Displayed
from analysis.document import (
    Cell,
    Document,
    Facts,
    Listing,
    Part,
    Prose,
    Table,
    interval_cell,
    share_cell,
)
from analysis.surrogates.encoding import Array
from analysis.wording import counted, label_of, named, percent, share

if TYPE_CHECKING:
    import pandas as pd

SMALLEST_PAIR, MAX_PAIRS = 0.01, 3  # for the pairs in tables and figures
EVALUATORS = {"fanova": "functional ANOVA", "fanova-original": "the authors' fANOVA"}
SURROGATES = {"gp": "Gaussian process", "forest": "random forest"}
GRID = "grid"  # where sums over a complete grid need no surrogate
POLICIES = {"drop": "left out", "last": "last report", "worst": "worst value"}
STATES = ("complete", "pruned", "failed")


@dataclass(frozen=True)
class ParameterImportance:
    """One main effect: its share, 95 % interval and verdict.

    `p` tests whether the parameter has an effect of its own, adjusted for the number of parameters;
    `significant` means that it is LEVEL or less.
    """

    name: str
    importance: float
    ci: tuple[float, float]
    p: float
    significant: bool


@dataclass(frozen=True)
class InteractionImportance:
    """The share of two or more parameters beyond the effects of fewer of them.

    `ci` is None where it would cost too much: for a forest's subsets of three or more.
    """

    names: tuple[str, ...]
    importance: float
    ci: tuple[float, float] | None


@dataclass(frozen=True)
class Marginal:
    """The mean objective along one parameter, all others averaged out, with a 95 % band.

    `values` are external values in the parameter's own order; `mean`, `low`, `high` are (G,).
    """

    name: str
    values: tuple[Any, ...]
    mean: Array
    low: Array
    high: Array
    is_log: bool = field(metadata={"json": False})
    is_categorical: bool = field(metadata={"json": False})


@dataclass(frozen=True, repr=False)
class Importances(Displayed):
    """A study's importances and what they are based on.

    Shares are of the surrogate's variance over the unit cube, noise included.  `noise` is the
    share of the noise; None for a forest, whose fully grown trees have the noise in their effects.
    Where configurations were repeated, shares are of the reproducible variance, and `seed_noise` is
    the share of a trial's whole variance that repeats differ by.
    `surrogates` holds the held-out R² of each surrogate tried, `stability` how far refits on half
    the trials agree on the order, `sample` how far the trials are from a uniform sample, `policies`
    the main effects under each treatment of pruned trials (`policy` is the one used), `excluded`
    why a parameter has no share, `sampler` which sampler chose the points.
    """

    study: str
    objective: str
    direction: str
    evaluator: str
    surrogate: str
    trials: dict[str, int]
    reliable: bool
    reasons: tuple[str, ...]
    held_out_r2: float
    parameters: tuple[ParameterImportance, ...]
    interactions: tuple[InteractionImportance, ...]
    unexplained: float
    question: str = ""
    quantile: float | None = None
    policy: str = "drop"
    sampler: str | None = None
    noise: float | None = None
    excluded: Mapping[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    surrogates: Mapping[str, float] = field(default_factory=dict)
    stability: Mapping[str, float] = field(default_factory=dict)
    sample: Mapping[str, Any] = field(default_factory=dict)
    policies: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    marginals: tuple[Marginal, ...] = ()
    seed_noise: float | None = None
    seed_noise_ci: tuple[float, float] | None = None
    region: str = ""

    @property
    def pairs(self) -> tuple[InteractionImportance, ...]:
        """The largest pairs that are worth showing, and every larger subset asked for."""
        largest = sorted(self.interactions, key=lambda i: -i.importance)
        pairs = [i for i in largest if len(i.names) == 2 and i.importance >= SMALLEST_PAIR]
        return (*pairs[:MAX_PAIRS], *(i for i in largest if len(i.names) > 2))

    @property
    def method(self) -> str:
        """The evaluator and the surrogate in words."""
        evaluator = EVALUATORS.get(self.evaluator, self.evaluator)
        if self.surrogate == GRID:
            return f"{evaluator}, sums over a complete grid"
        if self.surrogate not in SURROGATES:
            return evaluator
        return f"{evaluator} on a {SURROGATES[self.surrogate]}"

    @property
    def verdict(self) -> str:
        """Whether the shares are reliable, and the evidence for it."""
        used = self.trials.get("used", self.trials.get("complete", 0))
        fitted = f"{self.method}, {used} trial{'s' * (used != 1)}"
        if self.parameters:
            fitted += f", held-out R² {share(self.held_out_r2)}"
        if self.reliable:
            return f"Reliable: {fitted}."
        return f"Not reliable: {'; '.join(self.reasons)}. Based on: {fitted}.{self.despite}"

    @property
    def despite(self) -> str:
        """What "beyond chance" still says where the shares are not reliable; empty otherwise."""
        if self.reliable or not any(p.significant for p in self.parameters):
            return ""
        return (
            " A parameter beyond chance has an effect in these trials; how large it is over the "
            "whole space, they do not show."
        )

    @property
    def policy_span(self) -> tuple[str, float, float] | None:
        """The parameter whose share depends most on the pruned trials, with its smallest and
        largest share."""
        spans = [
            (p.name, min(seen), max(seen))
            for p in self.parameters
            if len(seen := [by[p.name] for by in self.policies.values() if p.name in by]) > 1
        ]
        return max(spans, key=lambda span: span[2] - span[1], default=None)

    def document(self, more: Mapping[str, str] | None = None) -> Document:
        """Return the question, the verdict, the shares, and the evidence with `more` facts."""
        title = self.question or f"importance for {self.objective}"
        parts: list[Part] = [Prose((self.verdict,), "" if self.reliable else "warning")]
        parts += [self.share_table()] if self.parameters else []
        parts += self.policy_parts()
        parts.append(Facts("Evidence", {**self.evidence(), **(more or {})}))
        parts += [Listing("Remarks", self.remarks)] if self.remarks else []
        return Document(title[:1].upper() + title[1:], tuple(parts))

    def share_table(self) -> Table:
        """One row per parameter, the largest interactions, and the unexplained rest."""
        nothing = Cell("")
        rows: list[tuple[Cell, ...]] = [
            (
                Cell(named(p.name)),
                share_cell(p.importance),
                self.interval_cell(p.ci),
                Cell("beyond chance" if p.significant else ""),
            )
            for p in self.parameters
        ]
        for pair in self.pairs:
            shares = share_cell(pair.importance), self.interval_cell(pair.ci)
            rows.append((Cell(" × ".join(map(named, pair.names))), *shares, nothing))
        rows.append((Cell("unexplained"), share_cell(self.unexplained), *[nothing] * 2))
        of = f"variance of {label_of(self.objective)}"
        caption = f"Share of the {of}"
        if self.seed_noise is not None:
            caption = f"Share of the reproducible {of}; seed noise: of the whole variance"
            noise = share_cell(self.seed_noise), interval_cell(self.seed_noise_ci, share)
            rows.append((Cell("seed noise"), *noise, nothing))
        return Table(
            caption,
            ("parameter", "share", "95 % interval", "verdict"),
            tuple(rows),
            marked=frozenset(i for i, p in enumerate(self.parameters) if p.significant),
            emphasis="strong",
        )

    def interval_cell(self, ci: tuple[float, float] | None) -> Cell:
        """An interval; `exact` for a sum over the values of a grid, which no refit varies."""
        if self.surrogate == GRID and ci is not None and ci[1] - ci[0] < 1e-6:
            return Cell("exact")
        return interval_cell(ci, share)

    def policy_parts(self) -> tuple[Part, ...]:
        """Each parameter's share under every treatment of the pruned trials, if there are any."""
        if not self.policies:
            return ()
        rows = tuple(
            (
                Cell(named(p.name)),
                *(share_cell(by.get(p.name, math.nan)) for by in self.policies.values()),
            )
            for p in self.parameters
        )
        columns = ("share if pruned trials are", *(POLICIES[policy] for policy in self.policies))
        table = Table("Effect of the pruned trials", columns, rows)
        if (span := self.policy_span) is None:
            return (table,)
        name, low, high = span
        said = (
            f"The share of {name} depends most on how pruned trials are treated: it lies between "
            f"{share(low)} and {share(high)}."
        )
        return table, Prose((said,))

    def evidence(self) -> dict[str, str]:
        """What the shares are based on: trials, sampler, sample, surrogates, stability, noise."""
        states = {state: n for state, n in self.trials.items() if state in STATES and n}
        facts = {"trials": counted(states) or "none", "sampler": self.sampler or "unknown"}
        if self.sample:
            verdict = "consistent with uniform" if self.sample["is_uniform"] else "not uniform"
            facts["sample"] = (
                f"{verdict}: largest distance {share(self.sample['distance'])} "
                f"({self.sample['parameter']}), largest rank correlation "
                f"{share(self.sample['correlation'])}"
            )
        if self.surrogates:
            facts["held-out R²"] = ", ".join(
                f"{SURROGATES.get(name, name)} {share(r2)}" for name, r2 in self.surrogates.items()
            )
        if self.stability:
            facts["stability"] = (
                f"{percent(self.stability['first'])} of half-sample refits agree on the top "
                f"parameter, {percent(self.stability['order'])} on the order of a pair"
            )
        if self.noise is not None:
            facts["noise"] = f"{share(self.noise)} of the variance"
        return facts

    def to_frame(self) -> pd.DataFrame:
        """Return one row per parameter: name, importance, ci_low, ci_high, p, significant."""
        import pandas as pd

        return pd.DataFrame(
            [(p.name, p.importance, *p.ci, p.p, p.significant) for p in self.parameters],
            columns=["name", "importance", "ci_low", "ci_high", "p", "significant"],
        )
