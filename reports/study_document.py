"""What `optuna-study show` prints about a study: a document, and its JSON.

Needs neither pandas nor matplotlib, so that `optuna-study show` answers at once.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from analysis.comparison.constant import constant_name, constant_scores, constant_statistics
from analysis.comparison.sweeps import sweep_of
from analysis.comparison.within_study import label_of_model
from analysis.display import as_json
from analysis.document import WIDTH, Document, Listing, Part, Prose, Table, columns_table
from analysis.studies.study_data import StudyData, Who, is_enqueued, state_of
from analysis.studies.trial_values import is_feasible, parameter_columns
from analysis.wording import (
    NOT_FINITE,
    STATES,
    alike,
    baseline,
    counted,
    label_of,
    listing,
    setting,
    shortened,
)
from reports.sections.sweep import sweep_table
from reports.shell import argument, command_line
from study.kinds.methods import METHODS
from study.metrics import metric_label
from study.spec.baselines import default_in_words, truncation_warning
from study.store.records import read_outputs

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

TOP = 5
MAX_REASONS = 3


def study_document(data: StudyData, top: int = TOP) -> Document:
    """Counts, the best trials, the best against the baselines, and failures."""
    ways = zip(data.objectives, data.directions, strict=True)
    head = [f"trials: {counted(data.counts) or 'none'}", *([data.sampled] if data.sampled else [])]
    if "stopped" in data.counts and data.folder is not None:
        again = command_line(["optuna-study", "run", argument(str(data.folder))])
        head.append(f"No run is at work; to continue: {again}")
    head += unranked(data)
    parts: list[Part] = [Prose(tuple(head))]
    shown = data.pareto_trials if len(data.objectives) > 1 else data.ranked()[:top]
    sweep = sweep_of(data)
    if sweep is not None:
        parts.append(sweep_table(sweep))
    elif shown:
        parts.append(_trials(data, shown[: max(top, 1)]))
        if len(shown) > top:
            parts.append(Prose((f"… and {len(shown) - top} more on the Pareto front",)))
    if data.baselines and data.best_trial is not None:
        parts.append(_baselines(data))
        if notes := baseline_notes(data):
            parts.append(Prose(notes))
    reasons = Counter(
        f"{STATES.get(state_of(trial), state_of(trial))}: {reason}"
        for trial in data.frozen_trials
        if (reason := trial.user_attrs.get("failure"))
    )
    if reasons:
        most = reasons.most_common(MAX_REASONS)
        parts.append(Listing("Failures", tuple(f"{count} {reason}" for reason, count in most)))
    name = shortened(data.name, 200)  # on one line, whatever another program called it
    return Document(f"{name}  {', '.join(f'{way} {n}' for n, way in ways)}", tuple(parts))


def unranked(data: StudyData) -> list[str]:
    """How many finished trials cannot be the best, and why; empty where all can."""
    values = sum(not math.isfinite(data.value(t)) for t in data.complete)
    broken = sum(not is_feasible(t) for t in data.complete)
    reasons = [
        f"{count} {words}"
        for count, words in ((values, f"with {NOT_FINITE}"), (broken, "beyond a constraint"))
        if count
    ]
    return [f"Not ranked: {listing(reasons)}."] if reasons else []


def _trials(data: StudyData, trials: Sequence[FrozenTrial]) -> Table:
    """The best trials, one per row; parameters share one column where they do not fit."""
    title = "Best trials" if len(data.objectives) == 1 else "Trials on the Pareto front"
    columns: dict[str, list[Any]] = {"trial": [t.number for t in trials]}
    for index, name in enumerate(data.objectives):
        columns[label_of(name)] = [t.values[index] for t in trials]
    varied = parameter_columns(data, trials, columns)
    whole = columns_table(title, {**columns, **varied})
    if whole.width <= WIDTH:
        return whole
    lines = [", ".join(f"{n} {setting(v)}" for n, v in t.params.items()) for t in trials]
    return columns_table(title, {**columns, "parameters": lines})


def _baselines(data: StudyData) -> Table:
    """The scores of the best trial and the baselines on every split and metric."""
    assert data.best_trial is not None
    constant = constant_scores(data)
    first = [constant_name(data)] if constant else []
    columns: dict[str, list[Any]] = {"": [*first, *data.baselines, label_of_model(data, "best")]}
    for split in data.splits:
        for metric in data.metrics:
            scores = [data.score(who, metric, split) for who in (*data.baselines, "best")]
            if any(score is not None for score in scores):
                if first:
                    scores.insert(0, constant.get(metric) if split == "dev" else None)
                heading = label_of(metric) if split == "dev" else f"{split} {label_of(metric)}"
                columns[heading] = scores
    by = data.best_in_words.removeprefix("best")
    return columns_table(f"Best trial{by} and baselines", columns)


def baseline_notes(data: StudyData) -> tuple[str, ...]:
    """What the default baseline is, and warnings, if there are any."""
    notes = [
        f"default: {default_in_words(row.config, data.distributions)}."
        for row in data.evaluations
        if (row.role, row.name, row.split) == ("baseline", "default", data.splits[0])
        and row.config.get("method") in METHODS
    ]
    warnings = gain_warning(data), teacher_warning(data), empty_outputs(data)
    return (*notes, *filter(None, warnings))


def gain_warning(data: StudyData, who: Who = "best") -> str:
    """A warning if a model is no better by the objective than what needs no search; else empty.

    That is one answer for every example, or a baseline; a teacher may well be better.
    """
    metric = data.objective
    own = data.score(who, metric) if metric in data.metrics else None
    if own is None:
        return ""
    method = str((data.spec or {}).get("method", {}).get("name", "lora"))
    rivals: dict[str, tuple[str, float | None]] = {
        name: (baseline(name, method), data.score(name, metric))
        for name in data.baselines
        if name not in ("teacher", who)
    }
    if (constant := constant_statistics(data, metric)) is not None:
        rivals["constant"] = constant_name(data), constant.score
    sign = data.metric_rows[metric].sign
    ahead = {
        name: (words, score)
        for name, (words, score) in rivals.items()
        if score is not None and sign * score >= sign * own
    }
    if not ahead:
        return ""
    write = alike([own, *(score for _, score in ahead.values())])
    name = "The best trial" if who == "best" else label_of_model(data, who).capitalize()
    found = listing(f"{words} with {write(score)}" for words, score in ahead.values())
    nothing = {"base", "constant"} & {*ahead}
    cure = "nothing was gained, so do not export it" if nothing else "search on, or use that"
    if not nothing and "default" in ahead:
        cure += " (`export` and `train` take `--trial default`)"
    return f"{name} ({label_of(metric)} {write(own)}) is no better than {found}: {cure}."


def empty_outputs(data: StudyData) -> str:
    """A warning if a model answered every dev example with nothing; otherwise empty."""
    silent = []
    for who in (*data.baselines, "best"):
        with suppress(LookupError):  # not evaluated on dev, or without outputs
            row = data.evaluation(who)
            outputs = read_outputs(data.database, row.evaluation_id) if data.database else ()
            if outputs and not any(output.strip() for output in outputs):
                silent.append(label_of_model(data, who))
    return f"Every output on dev is empty: {', '.join(silent)}." if silent else ""


def teacher_warning(data: StudyData) -> str:
    """A warning if truncation hurts the teacher; otherwise empty."""
    if "teacher" not in data.baselines or "dev" not in data.splits:
        return ""
    metric = data.objective.removeprefix("general_")
    score, details = data.score("teacher", metric), data.evaluation("teacher").details
    return truncation_warning(metric, metric_label(metric), score, details)


def study_json(data: StudyData, top: int = TOP) -> dict[str, Any]:
    """The document that `optuna-study show --json` prints, without NaN and infinity."""
    shown = data.pareto_trials if len(data.objectives) > 1 else data.ranked()[:top]
    who = (*data.baselines, *(["best"] if data.best_trial is not None else []))
    document = {
        "study": data.name,
        "target": data.target,
        "objectives": [
            {"name": n, "direction": way}
            for n, way in zip(data.objectives, data.directions, strict=True)
        ],
        "trials": {STATES.get(state, state): count for state, count in data.counts.items()},
        "sampled": len(data.frozen_trials) if data.all_counts else None,
        "best": [
            {
                "number": trial.number,
                "values": dict(zip(data.objectives, trial.values, strict=True)),
                "params": trial.params,
                "enqueued": is_enqueued(trial),
            }
            for trial in shown
        ],
        "scores": {
            name: {
                split: {m: data.score(name, m, split) for m in data.metrics}
                for split in data.splits
            }
            for name in who
            if data.metrics
        },
        "incomplete": data.incomplete or None,
    }
    return dict(as_json(document))
