"""Trade-offs: objectives against each other, and the objective against costs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import partial

from analysis.document import Cell, Prose, Table, cell
from analysis.plots import study_figures
from analysis.plots.trade_offs import TradeOff, cost_label, cost_of, plot_trade_off, shared_costs
from analysis.studies.study_data import StudyData
from analysis.wording import configuration, label_of, listing, number
from reports.page.parts import Figure, Figures, Section
from reports.results import Results

MAX_ROWS = 20
COST = "What quality costs"


def pareto_section(results: Results) -> Section | None:
    """The Pareto front of a study with several objectives."""
    data = results.data
    if len(data.objectives) < 2 or not data.complete:
        return None
    figure = Figure(
        "pareto",
        partial(study_figures.plot_pareto, data),
        f"{label_of(data.objectives[0])} against {label_of(data.objectives[1])}; "
        f"{len(data.pareto_trials)} trials are on the Pareto front.",
    )
    rows = tuple(
        (cell(t.number), *(cell(v) for v in t.values), Cell(configuration(t.params)))
        for t in data.pareto_trials
    )
    columns = ("trial", *data.objectives, "configuration")
    return Section(
        "pareto",
        "Trade-offs between objectives",
        "No trial beats a trial on the line in every objective at once: along the line, a gain in "
        "one objective is a loss in another.",
        (
            Figures((figure,)),
            Table("Trials on the Pareto front", columns, rows, sortable=True),
        ),
    )


def cost_section(results: Results) -> Section | None:
    """Quality against trainable parameters, time and memory, where they differ between trials.

    A cost that is not the trial's own is not drawn, and a sentence says so.
    """
    data = results.data
    found = results.trade_offs
    shared = _about_shared(data)
    if not found:
        return Section("cost", COST, shared[0].paragraphs[0], ()) if shared else None
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
        COST,
        "No trial of the same or lower cost beats a trial on the stepped line. Where the line is "
        "flat, spending more does not help. Time and memory were measured on the machine that ran "
        "the study.",
        (*shared, Figures(figures), _front_table(data, found)),
    )


def _about_shared(data: StudyData) -> list[Prose]:
    """Why some costs are not drawn."""
    names = [cost_label(cost) for cost in shared_costs(data)]
    if not names:
        return []
    how = " `run --engine sequential --workers 1` measures each trial alone." * data.is_ours
    return [
        Prose(
            (
                f"Not drawn: {listing(names)}. Trials were trained at the same time and shared "
                f"them, so they are not a trial's own cost.{how}",
            )
        )
    ]


def _range(found: TradeOff) -> str:
    cheap, dear = found.front[0], found.front[-1]
    if cheap == dear:
        return f"the best, trial {found.numbers[dear]}, is also the cheapest"
    return (
        f"{number(float(found.y[cheap]))} at cost {number(float(found.x[cheap]))}, "
        f"{number(float(found.y[dear]))} at cost {number(float(found.x[dear]))}"
    )


def _front_table(data: StudyData, found: Sequence[TradeOff]) -> Table:
    """Every trial on a front, with all costs; at most MAX_ROWS of them."""
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
    columns = ("trial", label_of(data.objective), *costs, "on the line for", "configuration")
    return Table("Trials that no cheaper trial beats", columns, rows, sortable=True)
