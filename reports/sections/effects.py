"""What mattered: importances, the score by level, each parameter against the score."""

from __future__ import annotations

from functools import partial

import numpy as np

from analysis.importance.compute import Importances
from analysis.plots import overview, study_figures
from analysis.plots.palette import label_of
from analysis.plots.slices import slice_of, varied_parameters
from reports.page.model import (
    SMALL,
    Beside,
    Cell,
    Facts,
    Figure,
    Figures,
    Listing,
    Part,
    Prose,
    Section,
    Table,
)
from reports.page.tables import share_cell
from reports.results import Results
from reports.sections.evidence import (
    EVALUATORS,
    POLICY_WORDS,
    SURROGATES,
    evidence,
    policy_rows,
    policy_verdict,
)
from reports.wording import interval, number, share

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
    figure = Figure(
        f"importance-{index}",
        partial(study_figures.plot_importances, result),
        f"Importances for {result.objective}: {top.name} leads with {share(top.importance)} of the "
        f"variance, 95 % interval {interval(top.ci, share)}.",
        f"Importance for {label_of(result.objective)}",
    )
    said = Prose((_reliability(result),), "" if result.reliable else "warning")
    shares = Beside((Figures((figure,)),), (said, _importance_table(result)))
    facts = Facts("What this rests on", evidence(result))
    details: list[Part] = []
    if len(result.parameters) > 2:
        details.append(Figures((_interactions(result, index),)))
    if result.policies:
        details += [_policy_table(result), Prose((policy_verdict(result),))]
    if result.remarks:
        details.append(Listing("Remarks", result.remarks))
    return [shares, Beside((facts,), tuple(details))]


def _interactions(result: Importances, index: int) -> Figure:
    strongest = result.interactions[0] if result.interactions else None
    said = "no pair is known"
    if strongest is not None:
        said = f"the strongest pair is {' × '.join(strongest.names)} with "
        said += share(strongest.importance)
    return Figure(
        f"interactions-{index}",
        partial(overview.plot_interactions, result),
        f"Shares as a matrix, single parameters on the diagonal, pairs below it; {said}.",
        "On the diagonal what a parameter does alone, below it what two do beyond that",
    )


def _reliability(result: Importances) -> str:
    used = f"{result.trials['used']} trials"
    rests = (
        f"{EVALUATORS.get(result.evaluator, result.evaluator)} on a "
        f"{SURROGATES.get(result.surrogate, result.surrogate)} fitted to {used}; it predicts "
        f"held-out trials with R²\u00a0=\u00a0{share(result.held_out_r2)}"
    )
    if result.reliable:
        return f"Reliable: {rests}."
    return f"Not reliable: {'; '.join(result.reasons)}. ({rests}.)"


def _importance_table(result: Importances) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (
            Cell(p.name),
            share_cell(p.importance),
            Cell(interval(p.ci, share)),
            share_cell(p.null),
            Cell("yes" if p.significant else "no"),
        )
        for p in result.parameters
    ]
    rows += [
        (
            Cell(" × ".join(i.names)),
            share_cell(i.importance),
            Cell("–" if i.ci is None else interval(i.ci, share)),
            Cell(""),
            Cell(""),
        )
        for i in result.interactions[:5]
        if i.importance >= 0.005
    ]
    rows.append((Cell("unexplained"), share_cell(result.unexplained), *[Cell("")] * 3))
    columns = ("parameter", "share", "95 % interval", "by chance", "beyond it")
    return Table(f"Shares of the variance of {label_of(result.objective)}", columns, tuple(rows))


def _policy_table(result: Importances) -> Table:
    columns = ("share, pruned trials", *(POLICY_WORDS[policy] for policy in result.policies))
    rows = tuple(
        (Cell(name), *(Cell(text, text, numeric=True) for text in shares))
        for name, shares in policy_rows(result)
    )
    return Table("How much it depends on the pruned trials", columns, rows)


def level_section(results: Results) -> Section | None:
    """A violin of the score for each level of every discrete parameter that varied."""
    data = results.data
    names = [
        name
        for name in varied_parameters(data, results.importance)
        if len(slice_of(data, name).levels) > 1
    ]
    figures = tuple(
        Figure(
            f"level-{index}",
            partial(study_figures.plot_score_by_level, data, name),
            f"{label_of(data.objective)} for each level of {name}; {_best_level(results, name)}",
            f"{name}: {_best_level(results, name)}",
        )
        for index, name in enumerate(names[:MAX_VIOLINS])
    )
    return (
        Section(
            "levels",
            "Score by level",
            "Every dot is a trial; the outline shows how the scores of a level are spread, the "
            "short line is their median, the bar holds their middle half. Levels with too few "
            "trials have dots and median only.",
            (Figures(figures),),
        )
        if figures
        else None
    )


def _best_level(results: Results, name: str) -> str:
    shown = slice_of(results.data, name)
    medians = {
        level: float(np.median(shown.y[shown.x == i]))
        for i, level in enumerate(shown.levels)
        if (shown.x == i).any()
    }
    choose = max if results.data.direction == "maximize" else min
    level = choose(medians, key=lambda v: medians[v])
    count = int((shown.x == shown.levels.index(level)).sum())
    trials = "1 trial" if count == 1 else f"{number(count)} trials"
    return f"best median at {number(level)} ({number(medians[level])}, {trials})."


def slice_section(results: Results) -> Section | None:
    """Every parameter that varied against the objective."""
    data, result = results.data, results.importance
    curves = {m.name: m for m in result.marginals} if result else {}
    figures = tuple(
        Figure(
            f"slice-{index}",
            partial(study_figures.plot_slice, data, name, marginal=curves.get(name)),
            f"{data.objective} of every finished trial over {name}.",
            size=SMALL,
        )
        for index, name in enumerate(varied_parameters(data, result)[:MAX_SLICES])
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


def parallel_section(results: Results) -> Section | None:
    """All parameters of all trials in one figure."""
    data = results.data
    if len(data.complete) < 5 or len(varied_parameters(data)) < 2:
        return None
    absent = ""
    if any(name not in t.params for t in data.complete for name in data.distributions):
        absent = " A line passes below the axis of a parameter that its trial did not have."
    figure = Figure(
        "parallel",
        partial(overview.plot_parallel, data, result=results.importance),
        f"Every finished trial as a line through its parameters to its {label_of(data.objective)}; "
        "the best stand out.",
        size=(9.6, 3.2),
    )
    return Section(
        "parallel",
        "All parameters at once",
        "Every line is a finished trial, from its parameters to its score; of more than 400 an "
        "even choice. Where the lines of the best run together, good trials agree; where they "
        f"spread, that parameter is free.{absent}",
        (Figures((figure,), "full"),),
    )
