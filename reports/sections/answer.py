"""The answer in words: what to use, what it gains, what mattered, and how far to believe it."""

from __future__ import annotations

from analysis.comparison.contrast import Contrast
from analysis.importance.variance import Importances, ParameterImportance
from analysis.plots.palette import label_of
from analysis.wording import (
    baseline,
    configuration,
    counted,
    interval,
    listing,
    number,
    share,
)
from reports.results import Results
from reports.sections.confirmation import headline
from reports.sections.distillation import verdict
from study.metrics import METRICS

SMALL_SHARE, SMALLEST = 0.05, 0.005  # of the variance; the second is nothing in two decimals
LARGE_SPAN = 0.2  # of a share, by the treatment of pruned trials


def answer(results: Results) -> tuple[str, ...]:
    """The sentences that the page opens with."""
    data = results.data
    if not data.complete:
        so_far = f" ({counted(data.counts)})" if data.counts else ""
        return (f"No trial of this study has finished yet{so_far}.",)
    found = [
        _best(results),
        _gain(results),
        headline(results.confirmation, results.method) if results.confirmation else "",
        verdict(results.distillation) if results.distillation else "",
        _importance(results.importance),
    ]
    return tuple(sentence for sentence in found if sentence)


def caution(results: Results) -> tuple[str, ...]:
    """What a reader must know before using the answer."""
    said = (_thin_evidence(results), _pruning(results), _forgetting(results), _luck(results))
    return tuple(sentence for sentence in said if sentence)


def _best(results: Results) -> str:
    data, best = results.data, results.data.best_trial
    if best is None:
        return "No finished trial satisfies the constraints."
    if len(data.objectives) > 1:
        return (
            f"{len(data.pareto_trials)} of {len(data.complete)} finished trials are on the Pareto "
            f"front of {listing(data.objectives)}. The best by {data.objective} is trial "
            f"{best.number} with {configuration(best.params)}: {_values(results)}."
        )
    given = f", with {configuration(best.params)}" if best.params else ""
    where = " on the dev examples" if results.metric == data.objective else ""
    count = len(data.complete)
    first = f"Best of {count} finished trials" if count > 1 else "The only finished trial"
    reached = f"{label_of(data.objective)} {number(data.value(best))}{where}"
    return f"{first} is trial {best.number}{given}: {reached}."


def _values(results: Results) -> str:
    data, best = results.data, results.data.best_trial
    assert best is not None
    return listing(f"{n} {number(v)}" for n, v in zip(data.objectives, best.values, strict=True))


def _gain(results: Results) -> str:
    if not results.comparisons:
        return ""
    said = listing(_one_gain(c, results.method) for c in results.comparisons)
    return f"On the same {results.comparisons[0].n} examples it is {said}."


def _one_gain(comparison: Contrast, method: str) -> str:
    than = f"{baseline(comparison.b.name, method)} (95 % interval {interval(comparison.interval)})"
    if not comparison.clear:
        return f"not clearly different from {than}"
    way = "better" if comparison.gain > 0 else "worse"
    return f"{number(abs(comparison.difference))} {way} than {than}"


def _importance(result: Importances | None) -> str:
    if result is None or not result.parameters or not result.reliable:
        return ""
    beyond = [p for p in result.parameters if p.significant]
    pairs = _together(result)
    if not beyond:
        return f"No parameter alone is beyond chance.{pairs}"
    top, *others = beyond
    large = [_with_share(p) for p in others if p.importance >= SMALL_SHARE]
    small = [_with_share(p) for p in others if p.importance < SMALL_SHARE]
    said = f"What matters{' most' if others or pairs else ''} is {top.name}: {_share(top)}"
    said += f", then {listing(large)}." if large else "."
    if small:
        said += f" Small but beyond chance: {listing(small)}."
    if len(beyond) < len(result.parameters):
        said += f" {'No other parameter alone' if pairs else 'Nothing else'} is beyond chance."
    return said + pairs


def _with_share(effect: ParameterImportance) -> str:
    size = share(effect.importance) if effect.importance >= SMALLEST else f"below {2 * SMALLEST}"
    return f"{effect.name} ({size})"


def _together(result: Importances) -> str:
    """The pairs that hold much of the variance beyond what both do alone, and surely some."""
    large = [
        f"{' × '.join(pair.names)} ({share(pair.importance)})"
        for pair in result.interactions
        if pair.importance >= SMALL_SHARE and pair.ci is not None and pair.ci[0] >= SMALLEST
    ]
    return f" Interactions add to that: {listing(large)}." if large else ""


def _share(effect: ParameterImportance) -> str:
    return (
        f"it accounts for {share(effect.importance)} of the variance of the score over the whole "
        f"search space (95 % interval {interval(effect.ci, share)}; "
        f"chance: {share(effect.null)})"
    )


def _thin_evidence(results: Results) -> str:
    result = results.importance
    if results.importance_problem:
        return f"Importances could not be computed: {results.importance_problem}."
    if result is None or result.reliable:
        return ""
    return f"The importances are not reliable: {'; '.join(result.reasons)}."


def _pruning(results: Results) -> str:
    """Where it matters how pruned trials count, that it does."""
    span = results.importance.policy_span if results.importance is not None else None
    if span is None or span[2] - span[1] < LARGE_SPAN:
        return ""
    name, low, high = span
    return (
        f"What mattered depends on the treatment of pruned trials: the share of {name} lies "
        f"between {share(low)} and {share(high)}."
    )


def _forgetting(results: Results) -> str:
    """What the best model lost outside its domain, where that was measured."""
    found = [
        c
        for c in results.all_comparisons
        if c.split == "general" and c.b.name == "base" and c.metric == results.metric
    ]
    if not found or not found[0].clear:
        return ""
    c = found[0]
    verb = "gained" if c.gain > 0 else "forgotten"
    return (
        f"On general examples the best trial has {METRICS[c.metric].label} "
        f"{number(c.a.score)}, the untrained base {number(c.b.score)}: "
        f"{number(abs(c.difference))} {verb} (95 % interval {interval(c.interval)})."
    )


def _luck(results: Results) -> str:
    if results.confirmation is not None or len(results.data.complete) < 2:
        return ""
    return (
        f"The best of {len(results.data.complete)} trials is partly luck: it was chosen by the "
        "score shown here, so expect slightly worse on new examples and fresh seeds."
        + (" `optuna-study confirm` tests it." if results.data.is_ours else "")
    )
