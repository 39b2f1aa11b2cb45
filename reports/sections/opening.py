"""The key figures at the top of the page: what to use, what it gains, what mattered."""

from __future__ import annotations

from functools import partial

from analysis.comparison.contrast import judged_interval
from analysis.plots import overview, study_figures
from analysis.plots.overview import MAX_RANGES, has_bands
from analysis.wording import (
    baseline,
    configuration,
    interval,
    label_of,
    listing,
    number,
    share,
    signed,
)
from reports.page.parts import CARD, Figure, KeyFigure
from reports.results import Results
from study.metrics import metric_label

BARS = 5


def key_figures(results: Results) -> tuple[KeyFigure, ...]:
    """What to use, what it gains over base and default, what mattered; only what is known."""
    if results.data.best_trial is None:
        return ()
    found = (to_use(results), _gained(results), _mattered(results))
    return tuple(figure for figure in found if figure is not None)


def to_use(results: Results, identifier: str = "to-use", study: str = "") -> KeyFigure:
    """The best trial's value and place in the search space, under the study's name if given."""
    data, best = results.data, results.data.best_trial
    label = f"best {label_of(data.objective)}" + (f" of {study}" if study else "")
    if best is None:
        return KeyFigure("–", label, "no finished trial")
    figure = None
    if best.params and len(data.complete) > 1:
        figure = Figure(
            identifier,
            partial(overview.plot_best_in_ranges, data, result=results.importance),
            "The position of the best trial in the range of each parameter: "
            f"{configuration(dict(list(best.params.items())[:MAX_RANGES]))}.",
            "Dot: the best trial in each parameter's range."
            + (" Band: the best tenth of the trials." if has_bands(data) else ""),
            CARD,
        )
    count = len(data.complete)
    note = f"trial {best.number}, " + (
        f"{data.best_in_words} of {count} finished" if count > 1 else "the only one finished"
    )
    if len(data.objectives) > 1:
        note += f"; {len(data.pareto_trials)} on the Pareto front"
    return KeyFigure(number(data.value(best)), label, note, figure)


def _gained(results: Results) -> KeyFigure | None:
    if not results.comparisons:
        return None
    first, *others = results.comparisons
    rest = [f"{signed(c.difference)} against {baseline(c.b.name, results.method)}" for c in others]
    note = f"95 % interval {judged_interval(first)}" + (f"; {listing(rest)}" if rest else "")
    figure = Figure(
        "gained",
        partial(overview.plot_gains, results.comparisons),
        "Difference from each baseline with its 95 % interval: "
        + "; ".join(
            f"{c.b.name} {signed(c.difference)} ({interval(c.interval)})" for c in [first, *others]
        )
        + ".",
        f"{'Left' if first.row.sign > 0 else 'Right'} of zero, the baseline is better.",
        CARD,
    )
    label = f"{metric_label(first.metric)} against {baseline(first.b.name, results.method)}"
    return KeyFigure(signed(first.difference), label, note, figure)


def _mattered(results: Results) -> KeyFigure | None:
    result = results.importance
    if result is None or not result.parameters:
        return None
    top = result.parameters[0]
    if not result.reliable or not top.significant:
        return KeyFigure("unclear", "what mattered", "too little evidence")
    has_pairs = bool(result.pairs)
    figure = Figure(
        "mattered",
        partial(study_figures.plot_importances, result, bars=BARS, legend=False),
        "Shares of the variance: "
        + listing(f"{p.name} {share(p.importance)}" for p in result.parameters[:BARS])
        + ".",
        "Thin line: 95 % interval. Blue: beyond chance."
        + (" With ×: what a pair adds." if has_pairs else ""),
        CARD,
    )
    note = f"of the variance; 95 % interval {interval(top.ci, share)}"
    return KeyFigure(share(top.importance), f"importance of {top.name}", note, figure)
