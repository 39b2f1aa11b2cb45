"""What cannot be had together: objectives against each other, and the objective against costs."""

from __future__ import annotations

from collections import defaultdict
from functools import partial

from analysis.plots import study_figures
from analysis.plots.palette import label_of
from analysis.plots.trade_offs import TradeOff, cost_label, cost_of, plot_trade_off, trade_offs
from analysis.studies.study_data import StudyData
from reports.page.model import Cell, Figure, Figures, Section, Table
from reports.page.tables import cell
from reports.results import Results
from reports.wording import configuration, number

MAX_ROWS = 20


def pareto_section(results: Results) -> Section | None:
    """The front of a study of several objectives."""
    data = results.data
    if len(data.objectives) < 2 or not data.complete:
        return None
    figure = Figure(
        "pareto",
        partial(study_figures.plot_pareto, data),
        f"{data.objectives[0]} against {data.objectives[1]}; {len(data.pareto_trials)} trials are "
        "beaten by no other.",
    )
    rows = tuple(
        (cell(t.number), *(cell(v) for v in t.values), Cell(configuration(t.params)))
        for t in data.pareto_trials
    )
    return Section(
        "pareto",
        "What cannot be had together",
        "A trial on the line is beaten by no other in every objective at once: to gain in one is "
        "to lose in another.",
        (
            Figures((figure,)),
            Table("Trials on the front", ("trial", *data.objectives, "configuration"), rows, True),
        ),
    )


def cost_section(results: Results) -> Section | None:
    """Quality against trainable parameters, time and memory, where they differ between trials."""
    data = results.data
    found = trade_offs(data)
    if not found:
        return None
    figures = tuple(
        Figure(
            f"cost-{index}",
            partial(plot_trade_off, data, one),
            f"{label_of(one.objective)} of every finished trial over {cost_label(one.cost)}: "
            f"{_range(one)}.",
            f"{label_of(one.objective)} over {cost_label(one.cost)}: {_range(one)}.",
        )
        for index, one in enumerate(found)
    )
    return Section(
        "cost",
        "What quality costs",
        "A trial on the stepped line is beaten by no other that costs as much or less. Where the "
        "line is flat, more does not help. Time and memory are those of this machine.",
        (Figures(figures), _front_table(data, found)),
    )


def _range(found: TradeOff) -> str:
    cheap, dear = found.front[0], found.front[-1]
    if cheap == dear:
        return f"the best, trial {found.numbers[dear]}, is the cheapest too"
    return (
        f"{number(float(found.y[cheap]))} is to be had for {number(float(found.x[cheap]))}, "
        f"{number(float(found.y[dear]))} takes {number(float(found.x[dear]))}"
    )


def _front_table(data: StudyData, found: list[TradeOff]) -> Table:
    """Every trial on a front, with all costs; at most a score of them."""
    on: dict[int, list[str]] = defaultdict(list)
    for one in found:
        for place in one.front:
            on[one.numbers[place]].append(cost_label(one.cost))
    trials = [t for t in data.ranked() if t.number in on][:MAX_ROWS]
    rows = tuple(
        (
            cell(t.number),
            cell(data.value(t)),
            *(cell(cost_of(data, t, one.cost)) for one in found),
            Cell(", ".join(on[t.number])),
            Cell(configuration(t.params)),
        )
        for t in trials
    )
    costs = (cost_label(one.cost) for one in found)
    columns = ("trial", label_of(data.objective), *costs, "on the front of", "configuration")
    return Table("Trials that nothing cheaper beats", columns, rows, sortable=True)
