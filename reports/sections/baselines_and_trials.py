"""Best against baselines, the search, the trials, the failures.

Each function takes the results and returns its section, or None where it does not apply.
"""

from __future__ import annotations

from functools import partial

from analysis.comparison.constant import constant_name, constant_scores
from analysis.comparison.contrast import contrast_table, picked_note
from analysis.document import Prose
from analysis.plots import study_figures
from analysis.significance import LEVEL
from analysis.wording import configuration, label_of, number
from reports.page.parts import Figure, Figures, Section
from reports.page.trial_tables import failure_table, rung_table, trial_table
from reports.results import Results
from reports.study_document import baseline_notes
from study.metrics import scores_classes

SORTING = "Click a heading to sort by that column; type words or column=value to filter."
TRIALS_READING = (
    f"The best come first; the best of all is marked. {SORTING} Point at a dot in a figure to see "
    "the row of its trial."
)

RUNGS_READING = (
    " At its rungs a trial was compared with others: the best went on, the others were put aside "
    "and compared again at later rungs."
)


def baseline_section(results: Results) -> Section | None:
    """The best trial against the stored baselines."""
    if not results.comparisons:
        return None
    scores, metric = results.model_scores, results.metric
    figures = [
        Figure(
            "baselines",
            partial(study_figures.plot_best_against_baselines, scores),
            "Corpus scores with 95 % intervals: "
            + ", ".join(f"{s.name} on {s.split} {number(s.score)}" for s in scores)
            + ".",
            "Corpus scores with bootstrap intervals",
        )
    ]
    if results.example_scores and metric and not scores_classes(metric):  # of 0 and 1
        figures.append(
            Figure(
                "examples",
                partial(study_figures.plot_example_scores, results.example_scores, metric),
                "Distribution of the scores per example, for "
                + ", ".join(results.example_scores)
                + ".",
                "Scores per dev example",
            )
        )
    by = results.data.best_in_words.removeprefix("best")
    picked = picked_note(results.all_comparisons)
    constant = constant_scores(results.data)
    trivial = ", ".join(f"{label_of(name)} {number(score)}" for name, score in constant.items())
    notes = (
        *([f"{constant_name(results.data)}: {trivial} on dev."] if trivial else []),
        *baseline_notes(results.data),
        *([picked] if picked else []),
    )
    named = {note.partition(":")[0] for note in notes}
    plain = [
        f"{e.name}: {configuration(e.config)}."
        for e in results.data.evaluations
        if e.role == "baseline" and e.split == results.data.splits[0] and e.config
        if e.name not in named
    ]
    return Section(
        "baselines",
        "Best against the baselines",
        "Intervals come from resampling the examples, the same ones for every model. A difference "
        f"is clear if its p-value is below {LEVEL} after Holm's correction. Tests against the base "
        "on dev examples are corrected for all adapters and metrics, as under "
        '"Base against adapted"; the others are corrected for each other, and on dev examples, '
        "which selected the best trial, for its having been the best of all. The general examples "
        "show what adapting cost elsewhere.",
        (
            Figures(tuple(figures)),
            contrast_table(f"Best trial{by} against the baselines", results.all_comparisons),
            *([Prose((*notes, *plain))] if notes or plain else []),
        ),
    )


def history_section(results: Results) -> Section | None:
    """How the search went, and how the trials learned."""
    data = results.data
    if not data.complete:
        return None
    figures = [
        Figure(
            f"history-{index}",
            partial(study_figures.plot_history, data, objective=name),
            f"{label_of(name)} of every trial in order, with the best so far.",
            f"{label_of(name)} over the search",
        )
        for index, name in enumerate(data.objectives)
    ]
    if any(len(t.intermediate_values) > 1 for t in data.frozen_trials):
        figures.append(
            Figure(
                "curves",
                partial(study_figures.plot_learning_curves, data),
                "What each trial reported during training.",
                f"Learning curves{_reported_on(results)}",
            )
        )
    curves = (e.details.get("training_losses") for e in data.evaluations)
    if any(isinstance(curve, list) and len(curve) > 1 for curve in curves):
        figures.append(
            Figure(
                "losses",
                partial(study_figures.plot_training_losses, data),
                "The training loss of each trial and baseline, each with its own loss function.",
                "Training losses",
            )
        )
    rungs = rung_table(data)
    return Section(
        "history",
        "How the search went",
        "Trials from left to right in the order they started; the stepped line is the best value "
        "so far." + (RUNGS_READING if rungs else ""),
        (Figures(tuple(figures)), *([rungs] if rungs else [])),
    )


def _reported_on(results: Results) -> str:
    """Why the curves may not end at the final scores."""
    few = (results.data.spec or {}).get("evaluation", {}).get("report_examples")
    whole = len(next(iter(results.example_scores.values()), ()))
    if not isinstance(few, int) or few >= whole:
        return ""
    some = f"{number(few)} of the {number(whole)} dev examples"
    return f" on {some}, so they may not end at the final scores"


def trials_section(results: Results) -> Section | None:
    """Every trial in one sortable table."""
    table = trial_table(results.data)
    if table is None:
        return None
    reading = TRIALS_READING if results.data.complete else SORTING
    return Section("trials", "All trials", reading, (table,))


def failure_section(results: Results) -> Section | None:
    """The failed trials with their reasons."""
    table = failure_table(results.data)
    return (
        None
        if table is None
        else Section(
            "failures",
            "Trials that failed",
            "A trial that failed by itself counts towards the budget; one that was interrupted was "
            "run again and does not. Neither takes part in the importances.",
            (table,),
        )
    )
