"""Whether the teacher helped; only studies with a teacher have this section."""

from __future__ import annotations

from functools import partial

from analysis.comparison.distillation import WEIGHT, Distillation, WeightBin
from analysis.document import Cell, Prose, Table, cell, interval_cell
from analysis.plots import study_figures
from analysis.wording import interval, label_of, number, share, signed
from reports.page.parts import Beside, Figure, Figures, PagePart, Section
from reports.results import Results


def distillation_section(results: Results) -> Section | None:
    """Default against plain training, and the score over the teacher's weight."""
    found = results.distillation
    if found is None or (found.against_plain is None and not found.curve):
        return None
    parts: list[PagePart] = [Prose(tuple(s for s in (verdict(found), _curve_words(found)) if s))]
    if found.curve:
        parts.append(Beside((Figures((_figure(results, found),)),), (_curve_table(found),)))
    return Section(
        "distillation",
        "Did the teacher help?",
        "The loss is (1 − a)·CE + a·T²·KL(teacher ‖ student at temperature T). The default was "
        "trained twice from one seed on the same batches, with and without the teacher. In the "
        "figure each bar is the mean of the trials with a similar weight a, whatever their other "
        "parameters, with its 95 % bootstrap interval.",
        tuple(parts),
    )


def verdict(found: Distillation) -> str:
    """Whether distillation beat plain training, with the paired interval."""
    c = found.against_plain
    if c is None:
        return ""
    scores = f"{label_of(c.metric)} {number(c.a.score)} with the teacher and {number(c.b.score)}"
    said = (
        f"The default training reaches {scores} without: a difference of {signed(c.difference)} "
        f"(95 % interval {interval(c.interval)}, {c.examples} examples)."
    )
    if not c.clear:
        return said + " On these examples distillation makes no clear difference."
    return said + f" Distillation {'beat' if c.gain > 0 else 'lost to'} plain training."


def _curve_words(found: Distillation) -> str:
    peak = found.peak
    if peak is None or len(found.curve) < 2:
        return ""
    first = found.curve[0]
    best, beyond = ("highest", "above") if found.direction == "maximize" else ("lowest", "below")
    if peak is first:
        return f"Over the search the mean is {best} at the smallest weight, {_span(first)}."
    sure = f"clearly {beyond}" if found.is_clear else f"not clearly {beyond}"
    means = [
        number(part.mean) + (f" ({interval(part.ci, number)})" if part.ci else "")
        for part in (peak, first)
    ]
    return (
        f"Over the search the mean is {best} at {_span(peak)}: {means[0]}, {sure} that at "
        f"{_span(first)}: {means[1]}."
    )


def _span(part: WeightBin) -> str:
    if part.low == part.high:
        return f"a = {number(part.low)}"
    return f"a between {share(part.low)} and {share(part.high)}"


def _curve_table(found: Distillation) -> Table:
    rows = tuple(
        (
            Cell(_span(part), part.low),
            cell(part.trials),
            cell(part.mean),
            interval_cell(part.ci, number),
            cell(part.best),
        )
        for part in found.curve
    )
    columns = ("weight", "trials", "mean", "95 % interval", "best")
    return Table(f"{label_of(found.objective)} over the teacher's weight", columns, rows)


def _figure(results: Results, found: Distillation) -> Figure:
    return Figure(
        "distillation",
        partial(study_figures.plot_weight_curve, results.data, found),
        f"{label_of(found.objective)} of every trial over {WEIGHT}, with the mean of each bin.",
        f"{label_of(found.objective)} over the teacher's weight",
    )
