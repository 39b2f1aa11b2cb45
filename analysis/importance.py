"""Which parameters a study's result depends on, and whether to believe it.

`importances` takes plain trials (one dict of parameters and one value each) and their Optuna
distributions; reading them from a database belongs to `analysis.trials`.  The question answered is
that of functional ANOVA (Hutter, Hoos, Leyton-Brown 2014): where, over the whole search space, does
the variance of the objective come from?  Shares are of the surrogate's variance over the unit cube,
noise included, and are never rescaled: what main effects and pairs leave is `unexplained`.

Read it in this order: encode the trials, choose the surrogate that predicts held-out trials better,
decompose it, refit it on halves of the trials for the intervals, and hold each parameter against
what one of no effect would reach by chance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from analysis.encoding import Array, Column, Encoding, encode
from analysis.evidence import Chance, chance, doubts, intervals, rank_stability, sample_of
from analysis.fanova import Shares
from analysis.gaussian_process import GaussianProcessSurrogate
from analysis.importance_types import (
    Importances,
    InteractionImportance,
    Marginal,
    ParameterImportance,
)
from analysis.policies import POLICIES, Pruned, clipped, with_pruned
from analysis.surrogates import (
    FOLDS,
    REFIT_TRIALS,
    Choice,
    Surrogate,
    blind_to,
    choose,
    fit,
    refit,
    thinned,
)

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
DRAWS = 500
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


@dataclass(frozen=True)
class Refits:
    """B refits on subsamples: main effects (B, D), pairs (B, D, D), curves B × D × (G,)."""

    kept: float
    main: Array
    pairs: Array
    curves: list[list[Array]]


def importances(
    points: Sequence[Mapping[str, Any]],
    values: ArrayLike,
    distributions: Mapping[str, BaseDistribution],
    *,
    surrogate: str = "auto",
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
    size whose own effect is wanted beside all pairs.  `progress` is called with (done, total).

    Values that are not finite are dropped with a remark.  Where nothing can be said the result has
    no parameters, `reliable` is false and `reasons` says why.  Raises ValueError for input that
    contradicts itself.
    """
    _check(surrogate, direction, policy, quantile)
    complete = np.asarray(values, dtype=float)
    if complete.shape != (len(points),):
        raise ValueError(f"{len(points)} points need {len(points)} values, got {complete.shape}")
    used, target, not_finite = with_pruned(points, complete, pruned, policy, direction)
    encoding = encode(used, distributions, seed)
    head: dict[str, Any] = {
        "study": study,
        "objective": objective,
        "direction": direction,
        "evaluator": "fanova",
        "trials": {**_counted(counts, len(points), len(pruned)), "used": len(target)},
        "excluded": encoding.excluded,
    }
    remarks = _remarks(encoding, not_finite, len(pruned), policy)
    if reason := _nothing_to_say(target, encoding):
        return _empty(head, reason, remarks)
    if quantile is not None:
        target, remark = clipped(target, quantile, direction)
        remarks.append(remark)
    wanted = tuple(_indices(encoding, names) for names in subsets)
    steps = resamples + FOLDS * (2 if surrogate == "auto" else 1) + len(encoding.columns)
    ticker = Ticker(steps, progress)
    choice = choose(surrogate, encoding, target, seed, ticker)
    whole = fit(choice.name, encoding, target, seed)
    result = _measured(
        head, remarks, encoding, target, choice, whole, wanted, seed, resamples, ticker
    )
    if not pruned:
        return result
    shares = _by_policy(points, complete, pruned, distributions, direction, choice.name, seed)
    return Importances(**{**_fields(result), "policies": shares})


def _measured(
    head: dict[str, Any],
    remarks: list[str],
    encoding: Encoding,
    target: Array,
    choice: Choice,
    whole: Surrogate,
    wanted: Sequence[tuple[int, ...]],
    seed: int,
    resamples: int,
    ticker: Ticker,
) -> Importances:
    shares = whole.shares()
    verdict = _chance(encoding, target, shares, seed, ticker)
    refits = _refits(whole, encoding, target, seed, resamples, ticker)
    parameters = _parameters(whole, shares, verdict, refits, seed)
    interactions = _interactions(encoding.names, shares, refits)
    larger = [
        InteractionImportance(
            tuple(encoding.names[j] for j in subset), max(whole.share_of(subset), 0.0), (0.0, 1.0)
        )
        for subset in wanted
        if len(subset) > 2
    ]
    held_out = choice.held_out_r2[choice.name]
    reasons = doubts(len(target), len(encoding.columns), held_out)
    sample = sample_of(encoding)
    if choice.remark:
        remarks.append(choice.remark)
    if not sample.is_uniform:
        remarks.append(
            f"the trials are no uniform sample ({sample.parameter} is off by "
            f"{sample.distance:.2f}), which chance lines assume"
        )
    remarks += [
        f"{p.name} has an effect, but through others: on its own it is below the chance line"
        for p, proven in zip(parameters, verdict.has_effect, strict=True)
        if proven and not p.significant
    ]
    explained = shares.main.sum() + sum(i.importance for i in interactions)
    return Importances(
        **head,
        surrogate=whole.name,
        reliable=not reasons,
        reasons=tuple(reasons),
        held_out_r2=held_out,
        parameters=tuple(sorted(parameters, key=lambda p: -p.importance)),
        interactions=tuple(sorted([*interactions, *larger], key=lambda i: -i.importance)),
        unexplained=float(np.clip(1.0 - explained, 0.0, 1.0)),
        marginals=_marginals(whole, refits),
        noise=shares.noise if isinstance(whole, GaussianProcessSurrogate) else None,
        remarks=tuple(remarks),
        surrogates=choice.held_out_r2,
        stability=rank_stability(shares.main, refits.main) if resamples else {},
        sample={**asdict(sample), "is_uniform": sample.is_uniform},
    )


def _chance(encoding: Encoding, target: Array, shares: Shares, seed: int, ticker: Ticker) -> Chance:
    some, values = thinned(encoding, target, seed)
    blind = []
    for j in range(len(some.columns)):
        blind.append(blind_to(some, values, j, seed))
        ticker()
    return chance(some.units, blind, shares.variance, some.columns, seed)


def _refits(
    whole: Surrogate,
    encoding: Encoding,
    target: Array,
    seed: int,
    resamples: int,
    ticker: Ticker,
) -> Refits:
    count, width = len(target), len(encoding.columns)
    size = min(max(count // 2, 2), REFIT_TRIALS)
    rng = np.random.default_rng([seed, 3])
    main, pairs = np.empty((resamples, width)), np.empty((resamples, width, width))
    curves = []
    for b in range(resamples):
        part = refit(whole, encoding, target, rng.permutation(count)[:size], seed + b)
        shares = part.shares()
        main[b], pairs[b] = shares.main, shares.pairs
        if not isinstance(part, GaussianProcessSurrogate):
            curves.append([part.curve(j) for j in range(width)])
        ticker()
    return Refits(size / count, main, pairs, curves)


def _parameters(
    whole: Surrogate, shares: Shares, verdict: Chance, refits: Refits, seed: int
) -> list[ParameterImportance]:
    low, high = _interval(shares.main, refits.main, refits.kept)
    if isinstance(whole, GaussianProcessSurrogate):
        # the refits know what other trials would have said, the draws what no trial has said
        drawn = whole.draw_shares(DRAWS, np.random.default_rng([seed, 6]))
        known = len(refits.main) > 1
        low = np.minimum(low if known else shares.main, np.quantile(drawn, 0.025, axis=0))
        high = np.maximum(high if known else shares.main, np.quantile(drawn, 0.975, axis=0))
    found = verdict.significant(shares.main)
    return [
        ParameterImportance(
            column.name,
            float(shares.main[j]),
            (float(low[j]), float(high[j])),
            float(verdict.line[j]),
            bool(found[j]),
        )
        for j, column in enumerate(whole.columns)
    ]


def _interval(estimate: Array, refits: Array, kept: float) -> tuple[Array, Array]:
    if len(refits) < 2:  # nothing is known of the spread
        return np.zeros_like(estimate), np.ones_like(estimate)
    return intervals(estimate, refits, kept)


def _interactions(
    names: Sequence[str], shares: Shares, refits: Refits
) -> list[InteractionImportance]:
    low, high = _interval(shares.pairs, refits.pairs, refits.kept)
    return [
        InteractionImportance(
            (names[j], names[k]), float(shares.pairs[j, k]), (float(low[j, k]), float(high[j, k]))
        )
        for j, k in combinations(range(len(names)), 2)
    ]


def _marginals(whole: Surrogate, refits: Refits) -> tuple[Marginal, ...]:
    result = []
    for j, column in enumerate(whole.columns):
        mean = whole.curve(j)
        if isinstance(whole, GaussianProcessSurrogate):
            spread = 1.96 * whole.marginal((j,), column.grid()[:, None])[1]
        elif len(refits.curves) > 1:
            scale = 1.96 * np.sqrt(refits.kept / (1.0 - refits.kept))
            spread = scale * np.std([curves[j] for curves in refits.curves], axis=0)
        else:
            spread = np.zeros_like(mean)
        result.append(_marginal(column, mean, spread))
    return tuple(result)


def _marginal(column: Column, mean: Array, spread: Array) -> Marginal:
    return Marginal(
        column.name,
        column.grid_values(),
        mean,
        mean - spread,
        mean + spread,
        column.is_log,
        column.is_categorical,
    )


def _by_policy(
    points: Sequence[Mapping[str, Any]],
    values: Array,
    pruned: Sequence[Pruned],
    distributions: Mapping[str, BaseDistribution],
    direction: str,
    name: str,
    seed: int,
) -> dict[str, dict[str, float]]:
    """Return the main effects under each policy for pruned trials, by one kind of surrogate."""
    result = {}
    for policy in POLICIES:
        used, target, _ = with_pruned(points, values, pruned, policy, direction)
        encoding = encode(used, distributions, seed)
        if _nothing_to_say(target, encoding):
            continue
        shares = fit(name, encoding, target, seed).shares(pairs=False)
        result[policy] = dict(zip(encoding.names, map(float, shares.main), strict=True))
    return result


def _check(surrogate: str, direction: str, policy: str, quantile: float | None) -> None:
    for name, got, allowed in (
        ("surrogate", surrogate, SURROGATES),
        ("direction", direction, ("maximize", "minimize")),
        ("policy", policy, POLICIES),
    ):
        if got not in allowed:
            raise ValueError(f"{name} must be one of {', '.join(allowed)} but got {got!r}")
    if quantile is not None and not 0.0 < quantile < 1.0:
        raise ValueError(f"quantile must be between 0 and 1 but got {quantile}")


def _indices(encoding: Encoding, names: Sequence[str]) -> tuple[int, ...]:
    if unknown := [name for name in names if name not in encoding.names]:
        raise ValueError(
            f"subsets: no share for {', '.join(unknown)}; analysed are {', '.join(encoding.names)}"
        )
    return tuple(encoding.names.index(name) for name in names)


def _nothing_to_say(target: Array, encoding: Encoding) -> str | None:
    if len(target) == 0:
        return "no finished trial with a finite value"
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


def _fields(result: Importances) -> dict[str, Any]:
    return {name: getattr(result, name) for name in result.__dataclass_fields__}
