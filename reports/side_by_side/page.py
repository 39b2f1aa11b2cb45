"""`report A B …`: several studies on one page, with their best trials and shares compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from analysis.comparison.between_studies import compare_studies, differences, study_labels
from analysis.comparison.contrast import (
    Contrast,
    contrast_table,
    corrected,
    judged_interval,
    picked_note,
)
from analysis.document import Cell, Prose, Table
from analysis.plots import side_by_side as beside
from analysis.significance import LEVEL
from analysis.studies.study_data import StudyData
from analysis.wording import (
    counted,
    in_region,
    label_of,
    listing,
    number,
    setting,
    share,
)
from reports.page.parts import FOOTER, SMALL, Figure, Figures, Page, PagePart, Section
from reports.page.trial_tables import trials_of_all
from reports.results import analyse
from reports.sections.answer import answer, caution
from reports.sections.baselines_and_trials import TRIALS_READING
from reports.sections.opening import to_use
from reports.sections.provenance import provenance_of_all
from reports.side_by_side.tables import Named, best_table, share_table, space_table
from study.errors import InputError
from study.metrics import metric_label

MAX_CURVES = 9


def page_of_studies(
    studies: Sequence[StudyData],
    *,
    surrogate: str = "auto",
    seed: int = 0,
    resamples: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Page:
    """Return one page over several studies; raises InputError where their number is wrong."""
    labels = study_labels(studies)
    options: dict[str, Any] = {"surrogate": surrogate, "seed": seed, "resamples": resamples}
    named = {
        label: analyse(data, **options, progress=progress)
        for label, data in zip(labels, studies, strict=True)
    }
    duels, refusals = duels_of(named, seed)
    sections = (
        _best_section(named, duels, refusals),
        _importance_section(named),
        _curve_section(named),
        _search_section(named),
        _difference_section(named),
        _trials_section(named),
        provenance_of_all(named),
    )
    return Page(
        title=(" against ".join(labels) if len(labels) == 2 else listing(labels))
        + in_region(studies[0].region),
        subtitle=" · ".join(f"{label}: {counted(r.data.counts)}" for label, r in named.items()),
        answer=tuple(_answer(named, duels)),
        caution=(*refusals, *_caution(named)),
        key_figures=tuple(
            to_use(r, f"to-use-{i}", label) for i, (label, r) in enumerate(named.items())
        ),
        sections=tuple(section for section in sections if section is not None),
        footer=FOOTER,
    )


def duels_of(named: Named, seed: int = 0) -> tuple[dict[str, Contrast], list[str]]:
    """Return the first study's best against every other's, by label, and why some are missing."""
    (_, first), *others = named.items()
    duels, refusals = {}, []
    for label, other in others:
        try:
            duels[label] = compare_studies(first.data, other.data, seed=seed)
        except InputError as error:
            refusals.append(f"The best trials cannot be compared: {error}.")
    return dict(zip(duels, corrected(list(duels.values())), strict=True)), refusals


def _answer(named: Named, duels: Mapping[str, Contrast]) -> list[str]:
    first = next(iter(named))
    said = [f"{label}: {answer(results)[0]}" for label, results in named.items()]
    for label, c in duels.items():
        metric, where = metric_label(c.metric), f"On the same {c.examples} examples, the best of"
        span = f"95 % interval of the difference {judged_interval(c)}"
        if not c.clear:
            said.append(
                f"{where} {first} and the best of {label} are not clearly different in {metric} "
                f"({span})."
            )
            continue
        better, worse = (first, label) if c.gain > 0 else (label, first)
        said.append(
            f"{where} {better} is {number(abs(c.difference))} better in {metric} than the best of "
            f"{worse} ({span})."
        )
    return said + _what_mattered(named)


def _what_mattered(named: Named) -> list[str]:
    tops = {
        label: r.importance.parameters[0]
        for label, r in named.items()
        if r.importance is not None and r.importance.reliable and r.importance.parameters
    }
    if len(tops) < 2:
        return []
    said = listing(f"{t.name} ({share(t.importance)}) in {label}" for label, t in tops.items())
    same = len({t.name for t in tops.values()}) == 1
    return [f"What matters most is {'the same' if same else 'different'}: {said}."]


def _caution(named: Named) -> list[str]:
    """The first warning of each single page, with its study's label."""
    return [f"{label}: {said}" for label, r in named.items() for said in caution(r)[:1]]


# ---------------------------------------------------------------- sections


def _best_section(named: Named, duels: Mapping[str, Contrast], refusals: Sequence[str]) -> Section:
    parts: list[PagePart] = [best_table(named)]
    if duels:
        caption = f"The best of {next(iter(named))} against the others"
        parts.append(contrast_table(caption, list(duels.values())))
        parts += [Prose((note,)) for note in filter(None, [picked_note(list(duels.values()))])]
    if refusals:
        parts.append(Prose(tuple(refusals), "warning"))
    known = any(r.comparisons for r in named.values())
    gains = " It is compared with the baselines of that study (95 % intervals)." if known else ""
    return Section(
        "best",
        "Best against best",
        f"Each study's best trial.{gains} If studies were scored on the same examples, their best "
        f"trials are compared too: a difference is clear if p is below {LEVEL}.",
        tuple(parts),
    )


def _importance_section(named: Named) -> Section | None:
    found = {label: r.importance for label, r in named.items()}
    doubtful = tuple(
        f"Not reliable in {label}: {'; '.join(r.reasons)}."
        for label, r in found.items()
        if r is not None and not r.reliable
    )
    if not any(r is not None and r.parameters for r in found.values()):
        return None
    figure = Figure(
        "importances",
        partial(beside.plot_importances_beside, found),
        "Shares of the variance in each study: " + "; ".join(_what_mattered(named)),
    )
    return Section(
        "importances",
        "What mattered in each",
        "The share of the score's variance over the study's search space that a parameter alone "
        "accounts for. A parameter that is searched more widely has a larger share: compare the "
        "ranges below before the bars.",
        (
            *([Prose(doubtful, "warning")] if doubtful else []),
            Figures((figure,)),
            share_table(named),
        ),
    )


def _curve_section(named: Named) -> Section | None:
    """The mean effect of every parameter that at least two studies varied."""
    objective = _common_objective(named)
    if objective is None:
        return None
    curves: dict[str, dict[str, Any]] = {}
    for label, results in named.items():
        for marginal in results.importance.marginals if results.importance else ():
            curves.setdefault(marginal.name, {})[label] = marginal
    shared = {name: found for name, found in curves.items() if len(found) > 1}
    if not shared:
        return None
    figures = tuple(
        Figure(
            f"curve-{index}",
            partial(beside.plot_marginals_beside, {n: found.get(n) for n in named}, objective),
            f"Mean {label_of(objective)} over {name} in {listing(found)}.",
            size=SMALL,
        )
        for index, (name, found) in enumerate(list(shared.items())[:MAX_CURVES])
    )
    return Section(
        "curves",
        "The same parameter in each",
        "The mean effect that the surrogate predicts, averaged over all other parameters, with its "
        "95 % band. Curves over different search spaces lie at different heights.",
        (Figures(figures, "small"),),
    )


def _search_section(named: Named) -> Section | None:
    objective = _common_objective(named)
    studies = {label: r.data for label, r in named.items()}
    if objective is None or sum(bool(data.complete) for data in studies.values()) < 2:
        return None
    text = label_of(objective)
    figures = (
        Figure(
            "progress",
            partial(beside.plot_progress_beside, studies, objective),
            f"Best {text} so far over the finished trials, in {listing(studies)}.",
            f"Best {text} so far",
        ),
        Figure(
            "scores",
            partial(beside.plot_scores_beside, studies, objective),
            f"Distribution of the {text} of all finished trials in {listing(studies)}.",
            f"{text} of all finished trials",
        ),
    )
    return Section(
        "search",
        "How the searches went",
        "First figure: how fast each search found good trials, with a dot at each improvement. "
        "Second figure: the scores of each search; a dot is a trial, the short line the median, "
        "and the bar the middle half.",
        (Figures(figures),),
    )


def _trials_section(named: Named) -> Section | None:
    table = trials_of_all({label: r.data for label, r in named.items()})
    if table is None:
        return None
    return Section("trials", "All trials", TRIALS_READING, (table,))


def _difference_section(named: Named) -> Section:
    labels, studies = list(named), [r.data for r in named.values()]
    found = differences(studies)
    rows = tuple(
        (Cell(key), *(Cell("–" if v is None else _short(v)) for v in values))
        for key, values in found.items()
    )
    parts: list[PagePart] = [space_table(named)]
    if rows:
        parts.insert(0, Table("Where the study files differ", ("key", *labels), rows))
    elif all(s.spec is not None for s in studies):
        parts.insert(0, Prose(("The study files have the same settings.",)))
    return Section(
        "differences",
        "What was different",
        "The settings that differ between the study files, and the search spaces.",
        tuple(parts),
    )


def _short(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_short, value))
    return "" if value is None else setting(value)


def _common_objective(named: Named) -> str | None:
    """The first objective, if every study has it."""
    objectives = [r.data.objectives for r in named.values()]
    return next((o for o in objectives[0] if all(o in other for other in objectives)), None)
