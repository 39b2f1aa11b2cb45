"""Which parameters a study's result depends on, and how reliable that is.

`variance` answers the question of functional ANOVA (Hutter, Hoos, Leyton-Brown 2014): where, over
the whole search space, does the variance of the objective come from?  Shares are of the surrogate's
variance over the unit cube, noise included, and are never rescaled: what main effects and pairs
leave is `unexplained`.

The steps: encode the trials, choose the surrogate that predicts held-out trials better, decompose
it, refit it on halves of the trials for the intervals.  The verdicts come from a test of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from analysis.importance.grid import SeedNoise, grid_shares, noise_doubts
from analysis.importance.question import Points, Question
from analysis.importance.refits import (
    interaction_importances,
    marginals,
    parameter_importances,
    refit_often,
    refits_for,
    resolution_of_pairs,
    subset_importances,
    taken_in_turn,
)
from analysis.importance.reliability import (
    MIN_R2,
    MIN_R2_OF_A_FOREST,
    Uniformity,
    coverage_of,
    doubts,
    nothing_to_say,
    rank_stability,
    remarks_on,
    sampling_doubts,
    uniformity_of,
)
from analysis.importance.result import (
    Importances,
    InteractionImportance,
    Marginal,
    ParameterImportance,
)
from analysis.importance.verdict import Verdict, per_configuration, verdict_on
from analysis.parallel import each
from analysis.significance import LEVEL
from analysis.studies.trial_values import POLICIES, Pruned, clipped, with_pruned
from analysis.surrogates.choice import FOLDS, choose, fit, thinned
from analysis.surrogates.encoding import Array, Encoding, encode, ranges_that_differ
from analysis.surrogates.forest import Shares
from analysis.surrogates.gaussian_process import GaussianProcessSurrogate
from analysis.wording import in_region, label_of, percent, share

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

__all__ = [
    "Importances",
    "InteractionImportance",
    "Marginal",
    "ParameterImportance",
    "importances",
    "variance",
]

LEAST_REPRODUCIBLE = 0.1  # of a surrogate's variance, whatever the repeats vary by


@dataclass
class Ticker:
    """Counts finished steps for a progress callback, which gets (done, total)."""

    total: int
    progress: Callable[[int, int], None] | None
    done: int = 0

    def __call__(self) -> None:
        """Report one more finished step to the callback."""
        self.done += 1
        if self.progress:
            self.progress(min(self.done, self.total), self.total)


def importances(
    points: Sequence[Mapping[str, Any]],
    values: ArrayLike,
    distributions: Mapping[str, BaseDistribution],
    *,
    objective: str = "value",
    direction: str = "maximize",
    study: str = "",
    counts: Mapping[str, int] | None = None,
    pruned: Sequence[Pruned] = (),
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> Importances:
    """Return `variance` of plain points; `options` are further fields of `Question`."""
    question = Question("variance", objective, direction, **options)
    given = Points(points, values, distributions, objective, direction, study, counts, pruned)
    return variance(question, given, progress)


def variance(
    question: Question, given: Points, progress: Callable[[int, int], None] | None = None
) -> Importances:
    """Return the fANOVA importances of N finished trials with their evidence.

    Values that are not finite are dropped with a remark.  Where the trials allow no answer, the
    result has no parameters, `reliable` is false and `reasons` says why.  Raises ValueError for
    contradictory input.
    """
    used, target, not_finite = with_pruned(
        given.points, given.measured, given.pruned, question.policy, given.direction
    )
    encoding = encode(used, given.distributions, question.seed)
    if given.ranges and len(used) == np.isfinite(given.measured).sum():  # no pruned trial is used
        own = [r for r, ok in zip(given.ranges, np.isfinite(given.measured), strict=True) if ok]
        encoding = replace(encoding, ranges=ranges_that_differ(encoding.columns, own))
    counts = {"complete": len(given.points), "pruned": len(given.pruned), "failed": 0}
    counts |= given.counts or {}
    remarks = remarks_on(encoding, not_finite, counts["pruned"], question.policy)
    reason = nothing_to_say(target, encoding)
    scope = f"where {given.region}" if given.region else "over the whole search space"
    if question.quantile is not None:
        best = percent(question.quantile)
        scope = f"among the best {best} of the configurations{in_region(given.region)}"
    if question.quantile is not None and not reason:
        target, remark = clipped(target, question.quantile, given.direction)
        remarks.append(remark)
        reason = nothing_to_say(target, encoding)
    found = Importances(
        study=given.study,
        objective=given.objective,
        direction=given.direction,
        evaluator=question.evaluator,
        surrogate="none",
        trials={**counts, "used": len(target)},
        reliable=False,
        reasons=(reason,) if reason else (),
        held_out_r2=0.0,
        parameters=(),
        interactions=(),
        unexplained=1.0,
        excluded=encoding.excluded,
        question=f"where does the variance of {label_of(given.objective)} come from, {scope}?",
        region=given.region,
        policy=question.policy,
        quantile=question.quantile,
        sampler=given.sampler,
        remarks=tuple(remarks),
    )
    if not reason:
        found = _decomposed(found, question, given, encoding, target, progress)
    return replace(found, remarks=(*found.remarks, *given.remarks))


def _decomposed(
    known: Importances,
    question: Question,
    given: Points,
    encoding: Encoding,
    target: Array,
    progress: Callable[[int, int], None] | None,
) -> Importances:
    """Choose the surrogate, fit it, test each parameter against chance, and refit it on halves."""
    seed, columns = question.seed, encoding.columns
    subsets = [_places(encoding, names) for names in question.subsets]
    is_original = question.evaluator == "fanova-original"
    wanted = "forest" if is_original else question.surrogate  # ours predicts for the original
    is_grid = encoding.is_complete_grid and not is_original and wanted in ("auto", "forest")
    resamples = 0 if is_grid else min(question.resamples, refits_for(len(target)))
    folds = FOLDS * (2 if wanted == "auto" else 1)
    ticker = Ticker(resamples + folds + len(columns), progress)
    choice = choose(wanted, encoding, target, seed, ticker)
    kind = "original" if is_original else choice.name
    whole = fit(kind, encoding, target, seed)
    some, values = thinned(encoding, target, seed)
    verdict = verdict_on(some, values, seed, tick=ticker)
    shares, scale = whole.shares(), 1.0
    refits = refit_often(whole, shares, encoding, target, seed, resamples, ticker, subsets)
    larger = subset_importances(whole, subsets, refits)
    fitted = {question.policy: shares} if question.quantile is None else {}
    policies = _by_policy(given, kind, seed, fitted) if given.pruned else {}
    noise = SeedNoise.of(encoding, target)
    once, means = per_configuration(encoding, target)
    if is_grid:
        shares, refits = grid_shares(once, means, noise, seed)
    elif noise is not None:
        kept = noise.variance / noise.repeats if kind == "forest" else noise.variance
        least = max(LEAST_REPRODUCIBLE, shares.explained)  # the whole is no less than its parts
        scale = 1.0 / max(1.0 - kept / shares.variance, least)
        shares, refits = shares.times(scale), refits.times(scale)
    seed_noise, noise_ci = (None, None) if noise is None else noise.share_of(shares.variance)
    parameters = parameter_importances(whole, shares, verdict, refits, seed, scale)
    held_out = choice.held_out_r2[choice.name]
    resolved = 0.0 if is_grid else resolution_of_pairs(columns, held_out, len(means))
    pairs = interaction_importances(encoding.names, shares, refits, resolved)
    uniformity = uniformity_of(once)
    reasons = [
        *doubts(
            len(target),
            len(columns),
            held_out,
            MIN_R2_OF_A_FOREST if kind == "forest" and not is_grid else MIN_R2,
        ),
        *sampling_doubts(
            known.sampler, uniformity, coverage_of(once), encoding.excluded, len(given.pruned)
        ),
        *noise_doubts(verdict, noise, is_grid),
    ]
    said = _found_in_words(encoding.names, uniformity, shares, verdict)
    remarks = choice.remark, taken_in_turn(len(columns)) if resamples else ""
    return replace(
        known,
        surrogate="grid" if is_grid else whole.name,
        reliable=not reasons,
        reasons=tuple(reasons),
        held_out_r2=held_out,
        parameters=tuple(sorted(parameters, key=lambda p: -p.importance)),
        interactions=tuple(sorted([*pairs, *larger], key=lambda i: -i.importance)),
        unexplained=float(np.clip(1.0 - shares.explained, 0.0, 1.0)),
        marginals=marginals(whole, refits),
        noise=shares.noise / scale if isinstance(whole, GaussianProcessSurrogate) else None,
        seed_noise=seed_noise,
        seed_noise_ci=noise_ci,
        remarks=(*known.remarks, *filter(None, remarks), *said),
        surrogates=choice.held_out_r2,
        stability=rank_stability(shares.main, refits.main) if resamples else {},
        sample={**asdict(uniformity), "is_uniform": uniformity.is_uniform},
        policies=policies,
    )


def _found_in_words(
    names: Sequence[str], sample: Uniformity, shares: Shares, verdict: Verdict
) -> Iterator[str]:
    """Say where the sample is uneven, and which parameters act together or cannot be told apart."""
    if not sample.is_uniform:
        yield (
            f"the trials are not a uniform sample: shares are of the whole search space, so they "
            f"rest on guesses where there are few trials ({sample.parameter} deviates by "
            f"{sample.distance:.2f})"
        )
    for j in np.flatnonzero(verdict.only_jointly).tolist():
        yield (
            f"{names[j]} acts together with other parameters; no effect of its own is beyond chance"
        )
    for j, k, p in verdict.tied:
        if verdict.significant[j] and verdict.significant[k]:
            continue
        together = shares.main[j] + shares.main[k] + shares.pairs[j, k]
        beyond = "is" if p <= LEVEL else "is not"
        yield (
            f"{names[j]} and {names[k]} hardly varied independently, so their effects are hard to "
            f"tell apart: together they hold {share(together)} of the variance, which {beyond} "
            "beyond chance"
        )


def _places(encoding: Encoding, names: Sequence[str]) -> list[int]:
    """Return the positions of the columns that a subset names."""
    if unknown := [name for name in names if name not in encoding.names]:
        raise ValueError(
            f"subsets: no share for {', '.join(unknown)}; analysed: {', '.join(encoding.names)}"
        )
    return [encoding.names.index(name) for name in dict.fromkeys(names)]


def _by_policy(
    given: Points, surrogate: str, seed: int, known: Mapping[str, Shares]
) -> dict[str, dict[str, float]]:
    """Return the main effects under each policy for pruned trials, from one kind of surrogate.

    `known` holds the shares under the policies fitted so far.
    """

    def main_effects(policy: str) -> dict[str, float]:
        used, target, _ = with_pruned(
            given.points, given.measured, given.pruned, policy, given.direction
        )
        encoding = encode(used, given.distributions, seed)
        if nothing_to_say(target, encoding):
            return {}
        shares = known.get(policy) or fit(surrogate, encoding, target, seed).shares(pairs=False)
        return dict(zip(encoding.names, map(float, shares.main), strict=True))

    found = zip(POLICIES, each(main_effects, POLICIES), strict=True)
    return {policy: shares for policy, shares in found if shares}
