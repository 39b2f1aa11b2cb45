"""The answer in words: what to use, what it gains, what mattered, and how reliable that is."""

from __future__ import annotations

from analysis.comparison.contrast import Contrast, judged_interval
from analysis.importance.variance import Importances, ParameterImportance
from analysis.wording import (
    baseline,
    configuration,
    counted,
    interval,
    label_of,
    listing,
    number,
    share,
)
from reports.results import Results
from reports.sections.confirmation import headline
from reports.sections.distillation import verdict
from reports.study_document import empty_outputs, gain_warning, teacher_warning, unranked
from study.metrics import METRICS, metric_label

SMALL_SHARE, SMALLEST = 0.05, 0.005  # of the variance; below the second, two decimals show 0.00
PERFECT = 100.0  # of the metrics of texts; others have other scales, or none
LARGE_SPAN = 0.2  # of a share, from the treatment of pruned trials


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
    said = (
        _perfect_base(results) or gain_warning(results.data),
        _thin_evidence(results),
        _pruning(results),
        _forgetting(results),
        _luck(results),
        teacher_warning(results.data),
        empty_outputs(results.data),
    )
    return tuple(sentence for sentence in said if sentence)


def _best(results: Results) -> str:
    data, best = results.data, results.data.best_trial
    if best is None:
        return " ".join(("No finished trial can be the best.", *unranked(data)))
    given = f", with {configuration(best.params)}" if best.params else ""
    count = len(data.complete)
    if len(data.objectives) > 1:
        names = [label_of(name) for name in data.objectives]
        values = listing(f"{n} {number(v)}" for n, v in zip(names, best.values, strict=True))
        return (
            f"{len(data.pareto_trials)} of {count} finished trials are on the Pareto front of "
            f"{listing(names)}. Trial {best.number} is the best by {names[0]}{given}: {values}."
        )
    where = " on the dev examples" if results.metric == data.objective else ""
    reached = f"{label_of(data.objective)} {number(data.value(best))}{where}"
    first = f"the best of {count} finished trials" if count > 1 else "the only finished trial"
    return f"Trial {best.number} is {first}{given}: {reached}."


def _gain(results: Results) -> str:
    if not results.comparisons:
        return ""
    first = results.comparisons[0]
    nothing = [c for c in results.comparisons if _scored_nothing(c)]
    said = [_one_gain(c, results.method) for c in results.comparisons if c not in nothing]
    if nothing:
        those = listing(baseline(c.b.name, results.method) for c in nothing)
        none = "neither" if len(nothing) == 1 else "none of them"
        said.insert(0, f"0, like that of {those} ({none} scored anything)")
    label = metric_label(first.metric)
    return f"On the same {first.examples} examples its {label} is {listing(said)}."


def _scored_nothing(comparison: Contrast) -> bool:
    """Whether both have the lowest score of a metric of texts: no output had anything right."""
    row = METRICS.get(comparison.metric)
    is_of_texts = row is not None and row.outputs == "texts" and row.direction == "maximize"
    return is_of_texts and comparison.a.score == comparison.b.score == 0


def _one_gain(comparison: Contrast, method: str) -> str:
    than = f"{baseline(comparison.b.name, method)} (95 % interval {judged_interval(comparison)})"
    if not (comparison.clear or comparison.beyond_zero):
        return f"not clearly different from that of {than}"
    way = "better" if comparison.gain > 0 else "worse"
    return f"{number(abs(comparison.difference))} {way} than that of {than}"


def _importance(result: Importances | None) -> str:
    if result is None or not result.parameters or not result.reliable:
        return ""
    beyond = [p for p in result.parameters if p.significant]
    pairs = _together(result)
    if not beyond:
        return f"No parameter is beyond chance on its own.{pairs}"
    top, *others = beyond
    large = [_with_share(p) for p in others if p.importance >= SMALL_SHARE]
    small = [_with_share(p) for p in others if p.importance < SMALL_SHARE]
    said = (
        f"The parameter {top.name} matters most: it accounts for {share(top.importance)} of the "
        "variance of the score over the search space (95 % interval "
        f"{interval(top.ci, share)})."
    )
    if large:
        said += f" {listing(large)} follow{'s' * (len(large) == 1)}."
    if small:
        verb = "has a small effect" if len(small) == 1 else "have small effects"
        said += f" {listing(small)} {verb}, beyond chance."
    if len(beyond) < len(result.parameters):
        said += f" No other parameter is beyond chance{' on its own' if pairs else ''}."
    return said + pairs


def _with_share(effect: ParameterImportance) -> str:
    size = share(effect.importance) if effect.importance >= SMALLEST else f"below {2 * SMALLEST}"
    return f"{effect.name} ({size})"


def _together(result: Importances) -> str:
    """The pairs that clearly hold much of the variance beyond their two parameters."""
    large = [
        f"{' × '.join(pair.names)} ({share(pair.importance)})"
        for pair in result.interactions
        if pair.importance >= SMALL_SHARE and pair.ci is not None and pair.ci[0] >= SMALLEST
    ]
    return f" Interactions add to this: {listing(large)}." if large else ""


def _perfect_base(results: Results) -> str:
    """A warning where the base cannot be improved: every trial can only be equal or worse."""
    metric = results.metric
    row = METRICS.get(metric) if metric else None
    if row is None or row.direction != "maximize" or row.is_loss:
        return ""
    base = next((c.b.score for c in results.comparisons if c.b.name == "base"), None)
    if base is None or base < PERFECT - 1e-9:
        return ""
    return (
        f"The untrained base already scores {row.label} {number(base)}, the most there is: nothing "
        "is left to gain. Use harder examples or another metric."
    )


def _thin_evidence(results: Results) -> str:
    result = results.importance
    if results.importance_problem:
        return f"Importances could not be computed: {results.importance_problem}."
    if result is None or result.reliable:
        return ""
    return f"The importances are not reliable: {'; '.join(result.reasons)}.{result.despite}"


def _pruning(results: Results) -> str:
    """A warning where the shares depend on how pruned trials count."""
    span = results.importance.policy_span if results.importance is not None else None
    if span is None or span[2] - span[1] < LARGE_SPAN:
        return ""
    name, low, high = span
    return (
        f"What mattered depends on how pruned trials are treated: the share of {name} lies between "
        f"{share(low)} and {share(high)}."
    )


def _forgetting(results: Results) -> str:
    """What the best model gained or lost outside its domain, where that was measured."""
    found = [
        c
        for c in results.all_comparisons
        if c.split == "general" and c.b.name == "base" and c.metric == results.metric
    ]
    if not found or not found[0].clear:
        return ""
    c = found[0]
    change = "a gain" if c.gain > 0 else "a loss"
    return (
        f"On general examples the best trial scores {metric_label(c.metric)} "
        f"{number(c.a.score)} and the untrained base {number(c.b.score)}: {change} of "
        f"{number(abs(c.difference))} (95 % interval of the difference {judged_interval(c)})."
    )


def _luck(results: Results) -> str:
    if results.confirmation is not None or len(results.data.complete) < 2:
        return ""
    return (
        f"The score of the best of {len(results.data.complete)} trials is partly luck, because it "
        "selected the trial: expect a slightly worse score on new examples and fresh seeds."
        + (" Test it with `optuna-study confirm`." if results.data.is_ours else "")
    )
