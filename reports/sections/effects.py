"""What mattered: importances, the score by level, each parameter against the score."""

from __future__ import annotations

from functools import partial

import numpy as np

from analysis.document import Facts
from analysis.importance.variance import Importances
from analysis.plots import overview, study_figures
from analysis.plots.slices import Slice, slice_of, varied_parameters
from analysis.significance import LEVEL
from analysis.studies.study_data import MAXIMIZE
from analysis.wording import in_region, interval, label_of, number, percent, share
from reports.page.parts import SMALL, Beside, Figure, Figures, PagePart, Section
from reports.results import Results

MAX_VIOLINS, MAX_SLICES = 6, 12


def importance_section(results: Results) -> Section | None:
    """What mattered, and how reliable that is."""
    shown = [r for r in results.importances if r.parameters]
    if not shown:
        return None
    parts: list[PagePart] = []
    for index, result in enumerate(shown):
        parts += _importance_parts(result, index)
    if results.front is not None:
        parts += results.front.document().parts
    return Section(
        "importance",
        "What mattered",
        "A bar shows the share of the score's variance over the search space that one parameter "
        "alone accounts for, and the thin line its 95 % interval. A blue bar is beyond chance: in "
        f"a study where no parameter matters, the chance of even one blue bar is {percent(LEVEL)}. "
        "The rest of the variance is interaction or noise.",
        tuple(parts),
    )


def _importance_parts(result: Importances, index: int) -> list[PagePart]:
    """The parts of the importance document, with its figures beside them."""
    verdict, shares, *more = result.document().parts
    top = result.parameters[0]
    figure = Figure(
        f"importance-{index}",
        partial(study_figures.plot_importances, result),
        f"Importances for {result.objective}: {top.name} leads with {share(top.importance)} of the "
        f"variance, 95 % interval {interval(top.ci, share)}.",
        f"Importance for {label_of(result.objective)}{in_region(result.region)}",
    )
    evidence = tuple(part for part in more if isinstance(part, Facts))
    details: list[PagePart] = [part for part in more if not isinstance(part, Facts)]
    if len(result.parameters) > 2:
        details.insert(0, Figures((_interactions(result, index),)))
    return [Beside((Figures((figure,)),), (verdict, shares)), Beside(evidence, tuple(details))]


def _interactions(result: Importances, index: int) -> Figure:
    strongest = result.interactions[0] if result.interactions else None
    said = "no pair was computed"
    if strongest is not None:
        said = f"the strongest pair is {' × '.join(strongest.names)} with "
        said += share(strongest.importance)
    return Figure(
        f"interactions-{index}",
        partial(overview.plot_interactions, result),
        f"Shares as a matrix, single parameters on the diagonal, pairs below it; {said}.",
        "Diagonal: each parameter alone. Below it: what pairs add to that.",
    )


def tuning_section(results: Results) -> Section | None:
    """What tuning is worth over the default, and which values are good enough."""
    if (found := results.tuning) is None:
        return None
    return Section(
        "tuning",
        "What tuning is worth",
        "The gain of the best value of each parameter over the default, all others left at their "
        "defaults. Unlike a share of the variance, a gain is in units of the score and hardly "
        "depends on how widely the parameter was searched.",
        found.document().parts,
    )


def level_section(results: Results) -> Section | None:
    """A violin of the score for each level of every discrete parameter that varied."""
    data = results.data
    slices = {name: slice_of(data, name) for name in varied_parameters(data, results.importance)}
    several = (name for name, shown in slices.items() if len(shown.levels) > 1 and len(shown.y))
    discrete = list(several)[:MAX_VIOLINS]
    best = {name: _best_level(slices[name], data.direction) for name in discrete}
    figures = tuple(
        Figure(
            f"level-{index}",
            partial(study_figures.plot_score_by_level, data, name),
            f"{label_of(data.objective)} for each level of {name}; {best[name]}",
            f"{name}: {best[name]}",
        )
        for index, name in enumerate(discrete)
    )
    if not figures:
        return None
    return Section(
        "levels",
        "Score by level",
        "Each dot is a trial. The outline shows the distribution of the scores, the short line "
        "their median, and the bar their middle half. Levels with few trials show only dots and a "
        "median.",
        (Figures(figures),),
    )


def _best_level(shown: Slice, direction: str) -> str:
    medians = {
        level: float(np.median(shown.y[shown.x == i]))
        for i, level in enumerate(shown.levels)
        if (shown.x == i).any()
    }
    choose = max if direction == MAXIMIZE else min
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
            f"{label_of(data.objective)} of every finished trial over {name}.",
            size=SMALL,
        )
        for index, name in enumerate(varied_parameters(data, result)[:MAX_SLICES])
    )
    curve = (
        " The line is the mean effect that the surrogate predicts, averaged over all other "
        "parameters, with its 95 % band."
    )
    return (
        Section(
            "slices",
            "Each parameter against the score",
            f"Each dot is a finished trial; the large one is the best.{curve if curves else ''}",
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
        absent = " Where a trial did not use a parameter, its line passes below that axis."
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
        "Each line is a finished trial, from its parameters to its score; with more than 400 "
        "trials, an even selection is drawn. Where the lines of the best trials run together, good "
        f"trials agree; where they spread, the parameter does not matter much.{absent}",
        (Figures((figure,), "full"),),
    )
