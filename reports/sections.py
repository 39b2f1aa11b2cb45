"""The sections of the page, in their order: each takes the results and returns itself, or None.

A section that does not apply to a study is None and does not appear.
"""

from __future__ import annotations

from collections.abc import Callable

from analysis import plots
from analysis.importance import Importances
from reports.answer import label_of
from reports.figures import SMALL, draw
from reports.page import Cell, Figures, Part, Prose, Section, Table
from reports.results import Results
from reports.tables import comparison_table, failure_table, trial_table
from reports.wording import configuration, interval, number, share

MAX_VIOLINS, MAX_SLICES = 6, 12


def importance_section(results: Results) -> Section | None:
    """What mattered, and how sure that is."""
    shown = [r for r in results.importances if r.parameters]
    if not shown:
        return None
    parts: list[Part] = []
    for index, result in enumerate(shown):
        parts += _importance_parts(result, index)
    return Section(
        "importance",
        "What mattered",
        "A bar is the share of the score's variance, over the whole search space, that this "
        "parameter alone accounts for. The thin line is its 95 % interval; the upright mark is "
        "what a parameter without any effect would reach by chance here. What no bar holds is "
        "interaction or noise.",
        tuple(parts),
    )


def _importance_parts(result: Importances, index: int) -> list[Part]:
    top = result.parameters[0]
    figure = draw(
        f"importance-{index}",
        lambda ax: plots.plot_importances(result, ax),
        f"Importances for {result.objective}: {top.name} leads with {share(top.importance)} of the "
        f"variance, 95 % interval {interval(top.ci, share)}.",
        f"Importance for {label_of(result.objective)}",
    )
    tone = "" if result.reliable else "warning"
    return [
        Figures((figure,)),
        Prose((_reliability(result), *result.remarks), tone),
        _importance_table(result),
    ]


def _reliability(result: Importances) -> str:
    used = f"{result.trials['used']} trials"
    rests = (
        f"{result.evaluator} on a {result.surrogate} surrogate over {used}, which predicts "
        f"held-out trials with R² = {share(result.held_out_r2)}"
    )
    if result.reliable:
        return f"Reliable: {rests}."
    return f"Not reliable: {'; '.join(result.reasons)}. ({rests}.)"


def _importance_table(result: Importances) -> Table:
    rows = [
        (
            Cell(p.name),
            _cell(p.importance, share),
            Cell(interval(p.ci, share)),
            _cell(p.null, share),
            Cell("yes" if p.significant else "no"),
        )
        for p in result.parameters
    ]
    rows += [
        (
            Cell(" × ".join(i.names)),
            _cell(i.importance, share),
            Cell(interval(i.ci, share)),
            Cell(""),
            Cell(""),
        )
        for i in result.interactions[:5]
        if i.importance >= 0.005
    ]
    rows.append((Cell("unexplained"), _cell(result.unexplained, share), *[Cell("")] * 3))
    columns = ("parameter", "share", "95 % interval", "by chance", "beyond chance")
    return Table(f"Shares of the variance of {result.objective}", columns, tuple(rows))


def level_section(results: Results) -> Section | None:
    """A violin of the score for each level of every discrete parameter that varied."""
    data = results.data
    names = [
        name
        for name in plots.varied_parameters(data, results.importance)
        if len(plots.slice_of(data, name).levels) > 1
    ]
    figures = tuple(
        draw(
            f"level-{index}",
            lambda ax, name=name: plots.plot_score_by_level(data, name, ax),  # type: ignore[misc]
            f"Distribution of {data.objective} for each level of {name}. {_best_level(results, name)}",
            f"{name}: {_best_level(results, name)}",
        )
        for index, name in enumerate(names[:MAX_VIOLINS])
    )
    return (
        Section(
            "levels",
            "Score by level",
            "Every dot is a trial; the outline shows how the scores of a level are spread, the short "
            "line is their median. Levels with too few trials have dots only.",
            (Figures(figures),),
        )
        if figures
        else None
    )


def _best_level(results: Results, name: str) -> str:
    shown = plots.slice_of(results.data, name)
    import numpy as np

    medians = {
        level: float(np.median(shown.y[shown.x == i]))
        for i, level in enumerate(shown.levels)
        if (shown.x == i).any()
    }
    choose = max if results.data.direction == "maximize" else min
    level = choose(medians, key=lambda v: medians[v])
    return f"best median at {number(level)} ({number(medians[level])})."


def slice_section(results: Results) -> Section | None:
    """Every parameter that varied against the objective."""
    data, result = results.data, results.importance
    curves = {m.name: m for m in result.marginals} if result else {}
    figures = tuple(
        draw(
            f"slice-{index}",
            lambda ax, name=name: plots.plot_slice(data, name, ax, None, curves.get(name)),  # type: ignore[misc]
            f"{data.objective} of every finished trial over {name}.",
            size=SMALL,
        )
        for index, name in enumerate(plots.varied_parameters(data, result)[:MAX_SLICES])
    )
    curve = (
        " The line is the surrogate's mean effect with all other parameters averaged out, and its "
        "95 % band."
    )
    return (
        Section(
            "slices",
            "Each parameter against the score",
            f"Every dot is a finished trial, the large one is the best.{curve if curves else ''}",
            (Figures(figures, "small"),),
        )
        if figures
        else None
    )


def baseline_section(results: Results) -> Section | None:
    """The best trial against the stored baselines."""
    if not results.comparisons:
        return None
    scores, metric = results.model_scores, results.metric
    figures = [
        draw(
            "baselines",
            lambda ax: plots.plot_best_against_baselines(scores, ax),
            "Corpus scores with 95 % intervals: "
            + ", ".join(f"{s.name} on {s.split} {number(s.score)}" for s in scores)
            + ".",
            "Corpus scores with bootstrap intervals",
        )
    ]
    if results.example_scores and metric:
        figures.append(
            draw(
                "examples",
                lambda ax: plots.plot_example_scores(results.example_scores, metric, ax),
                "How the scores of single examples are spread, for "
                + ", ".join(results.example_scores)
                + ".",
                "Scores of single dev examples",
            )
        )
    configs = [
        f"{e.name}: {configuration(e.config)}."
        for e in results.data.evaluations
        if e.role == "baseline" and e.split == results.data.splits[0] and e.config
    ]
    return Section(
        "baselines",
        "Best against base and default",
        "Intervals come from resampling the examples 1000 times, the same ones for every model; a "
        "difference counts where its interval leaves out zero. Dev examples chose the best trial; "
        "general ones show what the adaptation cost elsewhere.",
        (
            Figures(tuple(figures)),
            comparison_table(results.all_comparisons),
            *([Prose(tuple(configs))] if configs else []),
        ),
    )


def history_section(results: Results) -> Section | None:
    """How the search went, and how the trials learned."""
    data = results.data
    if not data.complete:
        return None
    figures = [
        draw(
            f"history-{index}",
            lambda ax, name=name: plots.plot_history(data, ax, name),  # type: ignore[misc]
            f"{name} of every trial in order, with the best so far.",
            f"{label_of(name)} over the search",
        )
        for index, name in enumerate(data.objectives)
    ]
    if any(len(t.intermediate_values) > 1 for t in data.frozen_trials):
        figures.append(
            draw(
                "curves",
                lambda ax: plots.plot_learning_curves(data, ax),
                "What each trial reported while it trained.",
                "Learning curves",
            )
        )
    return Section(
        "history",
        "How the search went",
        "Left to right in the order in which trials were started; the stepped line is the best "
        "value known by then.",
        (Figures(tuple(figures)),),
    )


def pareto_section(results: Results) -> Section | None:
    """The front of a study of several objectives."""
    data = results.data
    if len(data.objectives) < 2 or not data.complete:
        return None
    figure = draw(
        "pareto",
        lambda ax: plots.plot_pareto(data, ax),
        f"{data.objectives[0]} against {data.objectives[1]}; {len(data.pareto_trials)} trials are "
        "beaten by no other.",
    )
    rows = tuple(
        (_cell(t.number), *(_cell(v) for v in t.values), Cell(configuration(t.params)))
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


def trials_section(results: Results) -> Section | None:
    """Every trial in one sortable table."""
    table = trial_table(results.data)
    return table and Section(
        "trials",
        "All trials",
        "Choose a column's heading to sort by it. The best is marked.",
        (table,),
    )


def failure_section(results: Results) -> Section | None:
    """What went wrong, and why."""
    table = failure_table(results.data)
    return table and Section(
        "failures",
        "Trials that failed",
        "They count toward the budget and are no part of the importances.",
        (table,),
    )


def _cell(value: float, write: Callable[[float], str] = number) -> Cell:
    return Cell(write(value), float(value), numeric=True)
