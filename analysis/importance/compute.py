"""Which parameters a study's result depends on, and whether to believe it.

`importances` takes plain trials (one dict of parameters and one value each) and their Optuna
distributions; reading them from a database belongs to `analysis.studies.load`.  The question
answered is that of functional ANOVA (Hutter, Hoos, Leyton-Brown 2014): where, over the whole search
space, does the variance of the objective come from?  Shares are of the surrogate's variance over
the unit cube, noise included, and are never rescaled: what main effects and pairs leave is
`unexplained`.

Read it in this order: encode the trials, choose the surrogate that predicts held-out trials better,
decompose it, refit it on halves of the trials for the intervals, and hold each parameter against
what one of no effect would reach by chance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from analysis.importance.chance import Chance, Sample, chance, doubts, rank_stability, sample_of
from analysis.importance.refits import (
    Refits,
    interaction_importances,
    marginals,
    parameter_importances,
    refit_often,
    subset_importances,
)
from analysis.importance.result import (
    Importances,
    InteractionImportance,
    Marginal,
    ParameterImportance,
)
from analysis.parallel import each
from analysis.studies.trial_values import POLICIES, Pruned, clipped, with_pruned
from analysis.surrogates.choice import FOLDS, Choice, Surrogate, blind_to, choose, fit, thinned
from analysis.surrogates.encoding import Array, Encoding, encode
from analysis.surrogates.forest import Shares
from analysis.surrogates.gaussian_process import GaussianProcessSurrogate

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

__all__ = [
    "Importances",
    "InteractionImportance",
    "Marginal",
    "ParameterImportance",
    "importances",
]

SURROGATES = ("auto", "gp", "forest")
EVALUATORS = ("fanova", "fanova-original")
Progress = Callable[[int, int], None]


@dataclass
class Ticker:
    """Counts finished steps for a progress callback."""

    total: int
    progress: Progress | None
    done: int = 0

    def __call__(self) -> None:
        """Tell the callback of one more finished step."""
        self.done += 1
        if self.progress:
            self.progress(min(self.done, self.total), self.total)


def importances(
    points: Sequence[Mapping[str, Any]],
    values: ArrayLike,
    distributions: Mapping[str, BaseDistribution],
    *,
    surrogate: str = "auto",
    evaluator: str = "fanova",
    seed: int = 0,
    resamples: int = 100,
    objective: str = "value",
    direction: str = "maximize",
    study: str = "",
    counts: Mapping[str, int] | None = None,
    progress: Progress | None = None,
    pruned: Sequence[Pruned] = (),
    policy: str = "drop",
    quantile: float | None = None,
    subsets: Sequence[Sequence[str]] = (),
) -> Importances:
    """Return the fANOVA importances of N finished trials with their evidence.

    `points` and `values` hold one entry a COMPLETE trial; enqueued points and baselines are left
    out by the caller.  `pruned` holds (point, last report) of PRUNED trials, treated by `policy`
    (`drop`, `last`, `worst`).  `quantile` asks what matters among the good configurations: values
    worse than that quantile count as the quantile itself.  `subsets` names parameter subsets of any
    size whose own effect is wanted beside all pairs.  `evaluator="fanova-original"` takes shares
    from the authors' own package, where it is installed.  `progress` gets (done, total).

    Values that are not finite are dropped with a remark.  Where nothing can be said the result has
    no parameters, `reliable` is false and `reasons` says why.  Raises ValueError for input that
    contradicts itself.
    """
    _check(surrogate, evaluator, direction, policy, quantile)
    complete = np.asarray(values, dtype=float)
    if complete.shape != (len(points),):
        raise ValueError(f"{len(points)} points need {len(points)} values, got {complete.shape}")
    used, target, not_finite = with_pruned(points, complete, pruned, policy, direction)
    encoding = encode(used, distributions, seed)
    trials = _counted(counts, len(points), len(pruned))
    remarks = _remarks(encoding, not_finite, trials["pruned"], policy)
    head: dict[str, Any] = {
        "study": study,
        "objective": objective,
        "direction": direction,
        "evaluator": evaluator,
        "trials": {**trials, "used": len(target)},
        "excluded": encoding.excluded,
        "question": _question(objective, quantile),
        "policy": policy,
        "quantile": quantile,
    }
    reason = _nothing_to_say(target, encoding)
    if quantile is not None and not reason:
        target, remark = clipped(target, quantile, direction)
        remarks.append(remark)
        reason = _nothing_to_say(target, encoding)
    if reason:
        return _empty(head, reason, remarks)
    wanted = [_places(encoding, names) for names in subsets]
    kind = "original" if evaluator == "fanova-original" else surrogate
    found = _find(encoding, target, kind, seed, resamples, wanted, progress)
    policies = {}
    if pruned:
        mine = {} if quantile is not None else {policy: found.whole.shares(pairs=False)}
        policies = _by_policy(
            points, complete, pruned, distributions, direction, found.kind, seed, mine
        )
    return _assembled(head, remarks, found, len(target), policies)


@dataclass(frozen=True)
class _Found:
    """Everything computed, before it is put into words."""

    encoding: Encoding
    kind: str  # of surrogate, as `fit` knows it
    whole: Surrogate
    choice: Choice
    verdict: Chance
    refits: Refits
    larger: list[InteractionImportance]
    seed: int


def _find(
    encoding: Encoding,
    target: Array,
    kind: str,
    seed: int,
    resamples: int,
    subsets: Sequence[Sequence[int]],
    progress: Progress | None,
) -> _Found:
    """Choose the surrogate, fit it, hold each parameter against chance, and refit it on halves."""
    steps = resamples + FOLDS * (2 if kind == "auto" else 1) + len(encoding.columns)
    ticker = Ticker(steps, progress)
    wanted = "forest" if kind == "original" else kind  # ours predicts for the original
    choice = choose(wanted, encoding, target, seed, ticker)
    kind = kind if kind == "original" else choice.name
    whole = fit(kind, encoding, target, seed)
    verdict = _chance(encoding, target, whole.shares(pairs=False), seed, ticker)
    refits = refit_often(whole, encoding, target, seed, resamples, ticker, subsets)
    larger = subset_importances(whole, subsets, refits)
    return _Found(encoding, kind, whole, choice, verdict, refits, larger, seed)


def _assembled(
    head: dict[str, Any],
    remarks: list[str],
    found: _Found,
    used: int,
    policies: Mapping[str, Mapping[str, float]],
) -> Importances:
    shares = found.whole.shares()
    parameters = parameter_importances(found.whole, shares, found.verdict, found.refits, found.seed)
    pairs = interaction_importances(found.encoding.names, shares, found.refits)
    held_out = found.choice.held_out_r2[found.choice.name]
    reasons = doubts(used, len(found.encoding.columns), held_out)
    sample = sample_of(found.encoding)
    remarks += _more_remarks(found, parameters, sample)
    explained = shares.main.sum() + sum(pair.importance for pair in pairs)
    return Importances(
        **head,
        surrogate=found.whole.name,
        reliable=not reasons,
        reasons=tuple(reasons),
        held_out_r2=held_out,
        parameters=tuple(sorted(parameters, key=lambda p: -p.importance)),
        interactions=tuple(sorted([*pairs, *found.larger], key=lambda i: -i.importance)),
        unexplained=float(np.clip(1.0 - explained, 0.0, 1.0)),
        marginals=marginals(found.whole, found.refits),
        noise=shares.noise if isinstance(found.whole, GaussianProcessSurrogate) else None,
        remarks=tuple(remarks),
        surrogates=found.choice.held_out_r2,
        stability=rank_stability(shares.main, found.refits.main) if len(found.refits.main) else {},
        sample={**asdict(sample), "is_uniform": sample.is_uniform},
        policies=policies,
    )


def _more_remarks(
    found: _Found, parameters: Sequence[ParameterImportance], sample: Sample
) -> list[str]:
    remarks = [found.choice.remark] if found.choice.remark else []
    if not sample.is_uniform:
        remarks.append(
            f"the trials are no uniform sample ({sample.parameter} is off by "
            f"{sample.distance:.2f}), which chance lines assume"
        )
    remarks += [
        f"{p.name} has an effect, but through others: on its own it is below the chance line"
        for p, proven in zip(parameters, found.verdict.has_effect, strict=True)
        if proven and not p.significant
    ]
    return remarks


def _places(encoding: Encoding, names: Sequence[str]) -> list[int]:
    """Return which columns a subset of three or more names."""
    if unknown := [name for name in names if name not in encoding.names]:
        raise ValueError(
            f"subsets: no share for {', '.join(unknown)}; analysed are {', '.join(encoding.names)}"
        )
    if len(set(names)) < 3:
        raise ValueError(
            "subsets must have three names or more (pairs are given) but got "
            f"{', '.join(names) or 'none'}"
        )
    return [encoding.names.index(name) for name in dict.fromkeys(names)]


def _question(objective: str, quantile: float | None) -> str:
    where = "over the whole search space"
    if quantile is not None:
        where = f"among the best {quantile:.0%} of the configurations"
    return f"{where}, where does the variance of {objective} come from?"


def _chance(encoding: Encoding, target: Array, shares: Shares, seed: int, ticker: Ticker) -> Chance:
    some, values = thinned(encoding, target, seed)
    return chance(
        some.units,
        lambda j: blind_to(some, values, j, seed),
        shares.variance,
        some.columns,
        seed,
        tick=ticker,
    )


def _by_policy(
    points: Sequence[Mapping[str, Any]],
    values: Array,
    pruned: Sequence[Pruned],
    distributions: Mapping[str, BaseDistribution],
    direction: str,
    name: str,
    seed: int,
    known: Mapping[str, Shares],
) -> dict[str, dict[str, float]]:
    """Return the main effects under each policy for pruned trials, by one kind of surrogate.

    `known` holds the shares under those policies that have been fitted already.
    """

    def main_effects(policy: str) -> dict[str, float]:
        used, target, _ = with_pruned(points, values, pruned, policy, direction)
        encoding = encode(used, distributions, seed)
        if _nothing_to_say(target, encoding):
            return {}
        shares = known.get(policy) or fit(name, encoding, target, seed).shares(pairs=False)
        return dict(zip(encoding.names, map(float, shares.main), strict=True))

    found = zip(POLICIES, each(main_effects, POLICIES), strict=True)
    return {policy: shares for policy, shares in found if shares}


def _check(
    surrogate: str, evaluator: str, direction: str, policy: str, quantile: float | None
) -> None:
    for name, got, allowed in (
        ("surrogate", surrogate, SURROGATES),
        ("evaluator", evaluator, EVALUATORS),
        ("direction", direction, ("maximize", "minimize")),
        ("policy", policy, POLICIES),
    ):
        if got not in allowed:
            raise ValueError(f"{name} must be one of {', '.join(allowed)} but got {got!r}")
    if quantile is not None and not 0.0 < quantile < 1.0:
        raise ValueError(f"quantile must be between 0 and 1 but got {quantile}")


def _nothing_to_say(target: Array, encoding: Encoding) -> str | None:
    if len(target) == 0:
        return "no sampled trial finished with a finite value"
    if len(target) == 1:
        return "a single finished trial: nothing varies"
    if np.ptp(target) <= 1e-12 * max(np.abs(target).max(), 1e-300):
        return f"the objective is constant: all {len(target)} trials have the value {target[0]:g}"
    if not encoding.columns:
        return "no parameter varied over the trials"
    if len(target) < 5:
        return f"too few trials: {len(target)}; no surrogate can be fitted to fewer than 5"
    return None


def _empty(head: dict[str, Any], reason: str, remarks: Sequence[str]) -> Importances:
    return Importances(
        **head,
        surrogate="none",
        reliable=False,
        reasons=(reason,),
        held_out_r2=0.0,
        parameters=(),
        interactions=(),
        unexplained=1.0,
        remarks=tuple(remarks),
    )


def _counted(counts: Mapping[str, int] | None, complete: int, pruned: int) -> dict[str, int]:
    given = dict(counts or {})
    return {
        "complete": given.pop("complete", complete),
        "pruned": given.pop("pruned", pruned),
        "failed": given.pop("failed", 0),
        **given,
    }


def _remarks(encoding: Encoding, not_finite: int, pruned: int, policy: str) -> list[str]:
    remarks = [f"{name} is left out: {why}" for name, why in encoding.excluded.items()]
    remarks += [
        f"{name} is inactive in {count} of {len(encoding.units)} trials; there it counts as a "
        "parameter without effect"
        for name, count in encoding.inactive.items()
    ]
    if not_finite:
        remarks.append(f"{not_finite} trials have no finite value and are left out")
    treated = {
        "drop": "are left out: what remains is a biased sample",
        "last": "count with their last report",
        "worst": "count with the worst finished value",
    }
    if pruned:
        remarks.append(f"{pruned} pruned trials {treated[policy]}")
    return remarks
