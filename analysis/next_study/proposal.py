"""What to search next: one study's evidence, turned into the search space of the next.

Each change states its reason:

- where parameters act through one product, one of them is searched: α is fixed, and the learning
  rate covers the same products;
- where the best trials crowd at an end of a range, the range grows there;
- a parameter that holds most of the variance shrinks to the good part of its range: its bad values
  would hide everything else;
- where nothing dominates, a parameter with a small share, interactions included, is fixed;
- an undecided parameter stays, with an estimate of how many trials would decide it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from analysis.importance.answers import confounding_of, importances_of
from analysis.importance.confounding import Confounding, roles_in
from analysis.importance.reliability import SMALL, is_open, more_trials, undecided
from analysis.importance.result import Importances, Marginal, ParameterImportance
from analysis.next_study.boundaries import Crowd, crowd_at_end, crowd_in_sample, how_many_best
from analysis.next_study.widening import Written, narrowed, rounded, widened
from analysis.studies.study_data import MAXIMIZE, StudyData, is_enqueued
from analysis.surrogates.encoding import Array, make_column
from search_spaces import Parameter
from search_spaces.unit_cube import from_unit
from study.errors import InputError
from study.spec.hyperparameters import is_integer, limits_of

EXPLAINS = 0.8  # of a joint effect: from here on one product replaces its factors
UNIFORM = 2048  # points of the search space that show the range of a product
ENQUEUED = 3
DOMINATES = 0.5  # the share from which one effect hides the others
GOOD = 0.25  # of the trials, or of a marginal curve: they lie in the good part of a range
Kind = Literal["kept", "widened", "narrowed", "fixed", "replaced"]


@dataclass(frozen=True)
class Change:
    """What one search parameter becomes, as written in a study file, and why."""

    parameter: str
    kind: Kind
    becomes: Written
    reason: str


@dataclass(frozen=True)
class Proposal:
    """The next search, judged by `objective`, the first of the study's `objectives`.

    `enqueue` holds the best known points, as points of the new space; `trials` is the next budget.
    `used` trials carry the evidence and `counted` trials have used budget; `more_trials` is None
    where nothing is undecided.
    """

    changes: tuple[Change, ...]
    enqueue: tuple[Mapping[str, Any], ...]
    trials: int
    used: int
    more_trials: int | None
    undecided: tuple[str, ...]
    reliable: bool
    objective: str
    objectives: int = 1
    counted: int = 0

    @property
    def changes_space(self) -> bool:
        """Whether the next search space differs in more than fixed parameters."""
        return any(c.kind in ("widened", "narrowed", "replaced") for c in self.changes)

    @property
    def settled(self) -> bool:
        """Whether nothing is left to learn from this search."""
        return self.reliable and not self.changes_space and self.more_trials is None

    def to_json(self) -> dict[str, Any]:
        """Return the document that `optuna-study next --json` prints."""
        return {
            "settled": self.settled,
            "reliable": self.reliable,
            "objective": self.objective,
            "changes": [
                {
                    "parameter": c.parameter,
                    "kind": c.kind,
                    "becomes": dict(c.becomes),
                    "reason": c.reason,
                }
                for c in self.changes
            ],
            "enqueue": [dict(point) for point in self.enqueue],
            "trials": self.trials,
            "trials_used": self.used,
            "more_trials": self.more_trials,
            "undecided": list(self.undecided),
        }


def propose(data: StudyData, found: Importances, product: Confounding | None) -> Proposal:
    """Return what this study suggests for the next one.

    `found` and `product` are the study's importances and confounding.  Where the importances are
    not reliable, every parameter is kept: too little is known to change anything.
    """
    assert data.spec is not None
    written = {n: p for n, p in data.spec["search"]["parameters"].items() if "value" not in p}
    evidence = _Evidence(data, found, written)
    changes: dict[str, Change] = {}
    one = _product_of(evidence, product) if found.reliable else None
    if one is not None:
        changes |= _through_product(evidence, one)
    for name in written:
        if name not in changes:
            changes[name] = _alone(evidence, name) if found.reliable else _kept(evidence, name)
    if found.reliable:
        dominates = any(p.importance >= DOMINATES for p in found.parameters)
        hides = dominates or (one is not None and one.joint >= DOMINATES)
        judge = _perhaps_hidden if hides else _fixed_if_small
        changes = {name: judge(evidence, change) for name, change in changes.items()}
    kept = {name for name, change in changes.items() if change.kind == "kept"}
    more = more_trials(found, kept)
    return Proposal(
        tuple(changes[name] for name in written),
        _enqueued(evidence, changes, one),
        trials=max(found.trials["used"], more or 0),
        used=found.trials["used"],
        more_trials=more,
        undecided=tuple(name for name in undecided(found) if name in kept),
        reliable=found.reliable,
        objective=data.objective,
        objectives=len(data.objectives),
        counted=sum(data.counts.get(state, 0) for state in ("complete", "pruned", "fail")),
    )


def proposal_of(
    data: StudyData,
    *,
    seed: int = 0,
    resamples: int = 100,
    progress: Callable[[int, int], None] | None = None,
) -> Proposal:
    """Return what a study suggests for the next one, computing its importances first.

    Raises InputError where this program did not run the study, or no trial of it is complete.
    """
    if not data.is_ours:
        raise InputError(
            f"{data.target}: optuna-study did not run this study, so it has no study file to extend"
        )
    if not data.complete:
        raise InputError(f"{data.target}: needs at least one finished trial, got none")
    found = importances_of(data, seed=seed, resamples=resamples, progress=progress)
    few = min(resamples, 20)
    product = confounding_of(data, seed=seed, resamples=few) if found.reliable else None
    return propose(data, found, product)


class _Evidence:
    """A study's sampled trials, best first, and what they show about each parameter."""

    def __init__(self, data: StudyData, found: Importances, written: Mapping[str, Written]) -> None:
        self.data = data
        self.written = written
        self.ranked = [t for t in data.ranked() if not is_enqueued(t)]
        self.best = self.ranked[: how_many_best(len(self.ranked))]
        self.good = self.ranked[: math.ceil(GOOD * len(self.ranked))]
        self.effects: dict[str, ParameterImportance] = {p.name: p for p in found.parameters}
        self.marginals: dict[str, Marginal] = {m.name: m for m in found.marginals}
        self._found = found

    def is_ordered(self, name: str) -> bool:
        """Whether a parameter has ends."""
        return make_column(name, self.data.distributions[name]).ordered

    def crowd(self, name: str) -> Crowd | None:
        """The end of a parameter's range at which the best trials crowd; None if there is none."""
        if not self.is_ordered(name):
            return None
        column = make_column(name, self.data.distributions[name])
        best = [column.to_unit(t.params[name]) for t in self.best if name in t.params]
        return crowd_at_end(np.array(best), column)

    def upper_share(self, name: str) -> float:
        """The largest share that a parameter may have, alone and with others."""
        with_others = sum(max(i.importance, 0) for i in self._found.interactions if name in i.names)
        return self.effects[name].ci[1] + with_others

    def is_conditional(self, name: str) -> bool:
        """Whether a parameter has a condition or is one."""
        others = (p.get("when", {}) for p in self.written.values())
        return bool(self.written[name].get("when")) or any(name in when for when in others)


# ---------------------------------------------------------------- one parameter


def _alone(evidence: _Evidence, name: str) -> Change:
    """Widen a parameter at a crowded end, narrow a dominant one to its good part, or keep it."""
    effect, marginal = evidence.effects.get(name), evidence.marginals.get(name)
    if effect is None or marginal is None:
        return _kept(evidence, name)
    if (moved := _at_its_end(evidence, name, marginal)) is not None:
        return moved
    if effect.significant and effect.importance >= DOMINATES:
        sign = -1 if evidence.data.direction == MAXIMIZE else 1
        best = np.argsort(sign * marginal.mean)[: math.ceil(GOOD * len(marginal.mean))]
        observed = evidence.ranked[0].params.get(name, marginal.values[best[0]])
        good = [marginal.values[i] for i in best]
        becomes = narrowed(evidence.written[name], good, observed)
        if becomes is not None:
            share = f"its share of {effect.importance:.2f} hides the other parameters"
            return Change(name, "narrowed", becomes, f"{share}; its best values lie here")
    return _kept(evidence, name)


def _perhaps_hidden(evidence: _Evidence, change: Change) -> Change:
    """Add why a parameter with little effect is searched again."""
    effect = evidence.effects.get(change.parameter)
    if change.kind != "kept" or effect is None or effect.significant or is_open(effect):
        return change
    return replace(change, reason=f"{change.reason}, but the dominant effect may hide it")


def _fixed_if_small(evidence: _Evidence, change: Change) -> Change:
    """Fix a kept parameter with nearly no effect, not even on which trials are best."""
    name = change.parameter
    effect = evidence.effects.get(name)
    if change.kind != "kept" or effect is None:
        return change
    upper = evidence.upper_share(name)
    if upper >= SMALL or evidence.is_conditional(name):
        return change
    crowd = evidence.crowd(name)
    if crowd is not None:
        where = f"{crowd.inside} of the {crowd.best} best trials lie at its {crowd.end} end"
        return replace(change, reason=f"{change.reason}, but {where}")
    reason = f"at most {upper:.2f} of the variance, interactions included; the best trial's value"
    return Change(name, "fixed", {"value": evidence.ranked[0].params[name]}, reason)


def _kept(evidence: _Evidence, name: str) -> Change:
    effect = evidence.effects.get(name)
    if effect is None:
        reason = "unknown: it hardly varied, or was active in too few trials"
    elif effect.significant:
        reason = f"beyond chance (share {_with_interval(effect)})"
        if evidence.is_ordered(name) and evidence.crowd(name) is None:
            reason += ", and the best trials do not crowd at either end"
    elif not is_open(effect):
        reason = f"little effect (share {_with_interval(effect)})"
    else:
        reason = f"undecided: share {_with_interval(effect)}"
    return Change(name, "kept", evidence.written[name], reason)


def _with_interval(effect: ParameterImportance) -> str:
    low, high = effect.ci
    return f"{effect.importance:.2f}, interval {low:.2f} to {high:.2f}"


def _at_its_end(evidence: _Evidence, name: str, marginal: Marginal) -> Change | None:
    """Return a wider range where both the best trials and the best mean effect are at one end."""
    crowd = evidence.crowd(name)
    if crowd is None:
        return None
    best = np.argmax if evidence.data.direction == MAXIMIZE else np.argmin
    if int(best(marginal.mean)) != (0 if crowd.end == "low" else len(marginal.mean) - 1):
        return None
    where = f"{crowd.inside} of the {crowd.best} best trials lie at its {crowd.end} end"
    becomes = widened(evidence.written[name], crowd.end, limits_of(name))
    if becomes is None:
        return Change(
            name, "kept", evidence.written[name], f"{where}, but the range cannot grow there"
        )
    return Change(name, "widened", becomes, f"{where}, and so does its best mean effect")


# ---------------------------------------------------------------- joint effects


@dataclass(frozen=True)
class _Product:
    """α and the learning rate where one product explains their effect; α will be fixed at `at`.

    With α fixed, a learning rate of learning_rate · α / `at` gives a trial's product at its rank.
    """

    alpha: str
    rate: str
    at: float
    joint: float
    why: str

    def rates(self, points: Iterable[Mapping[str, Any]]) -> Array:
        return np.array([p[self.rate] * p[self.alpha] / self.at for p in points])


def _product_of(evidence: _Evidence, found: Confounding | None) -> _Product | None:
    if found is None or not found.columns or found.columns[0].explained < EXPLAINS:
        return None
    column, roles = found.columns[0], roles_in(evidence.written)
    alpha, rate = roles.get("alpha"), roles.get("learning_rate")
    if alpha is None or rate is None or not {alpha, rate} <= set(column.uses):
        return None
    if evidence.is_conditional(alpha) or evidence.is_conditional(rate):
        return None
    why = f"{column.formula} explains {column.explained:.2f} of their joint effect"
    return _Product(alpha, rate, evidence.best[0].params[alpha], found.joint, why)


def _through_product(evidence: _Evidence, product: _Product) -> dict[str, Change]:
    """Fix α; let the learning rate cover all products, or those of the good trials."""
    alpha, rate = product.alpha, product.rate
    searched = {name: evidence.data.distributions[name] for name in (alpha, rate)}
    drawn = np.random.default_rng(0).random((UNIFORM, len(searched)))
    uniform = product.rates(
        {n: from_unit(d, u) for (n, d), u in zip(searched.items(), row, strict=True)}
        for row in drawn
    )
    whole = {"low": float(uniform.min()), "high": float(uniform.max()), "log": True}
    crowd = crowd_in_sample(product.rates(t.params for t in evidence.best), uniform)
    good = None
    if product.joint >= DOMINATES:
        rates = product.rates(t.params for t in evidence.good).tolist()
        good = narrowed(whole, rates, product.rates([evidence.ranked[0].params])[0])
    reason = f"with {alpha} fixed, covers the products that both covered"
    if crowd is not None:
        whole = widened(whole, crowd.end, limits_of(rate)) or whole
        reason += (
            f"; extended, as {crowd.inside} of the {crowd.best} best lie at their {crowd.end} end"
        )
    elif good is not None:
        reason = f"with {alpha} fixed, covers the products of the best {len(evidence.good)} trials"
        whole = good
    becomes = whole | {"low": rounded(whole["low"], "low"), "high": rounded(whole["high"], "high")}
    return {
        alpha: Change(
            alpha, "fixed", {"value": product.at}, f"{product.why}, so one of them is enough"
        ),
        rate: Change(rate, "replaced", becomes, reason),
    }


# ---------------------------------------------------------------- where the search starts


def _enqueued(
    evidence: _Evidence, changes: Mapping[str, Change], product: _Product | None
) -> tuple[Mapping[str, Any], ...]:
    """Return the best points that lie in the next space, as points of it."""
    parameters = {name: Parameter(**change.becomes) for name, change in changes.items()}
    found = {n: p.distribution(integer=is_integer(n)) for n, p in parameters.items()}
    searched = {name: distribution for name, distribution in found.items() if distribution}
    points: list[Mapping[str, Any]] = []
    for trial in evidence.best:
        point = {name: value for name, value in trial.params.items() if name in searched}
        if product is not None:
            point[product.rate] = float(f"{product.rates([trial.params])[0]:.6g}")
        lies_inside = all(make_column(n, searched[n]).holds(v) for n, v in point.items())
        if point and point not in points and lies_inside:
            points.append(point)
    return tuple(points[:ENQUEUED])
