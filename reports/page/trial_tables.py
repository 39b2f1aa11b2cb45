"""The table of trials, and those of failures, rungs and the space."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from analysis.document import Cell, Table, cell, columns_table
from analysis.plots.marks import trial_key
from analysis.studies.study_data import StudyData, is_enqueued, state_of
from analysis.studies.trial_values import parameter_columns
from analysis.wording import SPLITS, STATES, configuration, label_of, setting
from study.kinds.measurements import MEASUREMENTS
from study.kinds.schedules import rung_values, rungs_of
from study.kinds.table_names import names_where
from study.metrics import METRICS


def trial_table(data: StudyData, taken: Sequence[str] = ()) -> Table | None:
    """All trials: number, state, objectives, parameters, scores and costs; None without trials.

    The best come first, those on the Pareto front of several objectives, and the unfinished last.
    A name that a column has, or that is `taken`, becomes `params_…` or `attrs_…`.
    """
    if not data.frozen_trials:
        return None
    best = data.pareto_trials if len(data.objectives) > 1 else data.ranked()[:1]
    order = list(dict.fromkeys(t.number for t in (*best, *data.ranked())))
    place = {number: index for index, number in enumerate(order)}
    trials = sorted(data.frozen_trials, key=lambda t: (place.get(t.number, len(place)), t.number))
    columns: dict[str, list[Any]] = {
        "trial": [t.number for t in trials],
        "state": [_state(t, data) for t in trials],
    }
    for name in data.objectives:
        values = [data.value(t, name) for t in trials]
        columns[label_of(name)] = [None if math.isnan(v) else v for v in values]
    columns |= parameter_columns(data, trials, (*columns, *taken))
    for name in _attributes(data):
        heading, values = _attribute(name, [t.user_attrs.get(name) for t in trials])
        columns[f"attrs_{name}" if heading in columns else heading] = values
    numbers = {t.number for t in best}
    marked = frozenset(i for i, t in enumerate(trials) if t.number in numbers)
    keys = tuple(trial_key(t.number) for t in trials)
    return columns_table(
        "All trials", columns, sortable=True, marked=marked, choices="state", keys=keys
    )


def trials_of_all(studies: Mapping[str, StudyData]) -> Table | None:
    """The trials of several studies in one table, with the study in the first column."""
    found = [
        (place, label, table)
        for place, (label, data) in enumerate(studies.items())
        if (table := trial_table(data, ("study",))) is not None
    ]
    columns = list(dict.fromkeys(c for _, _, table in found for c in table.columns))
    rows: list[tuple[Cell, ...]] = []
    marked: list[int] = []
    keys: list[str] = []
    for place, label, table in found:
        marked += [len(rows) + row for row in table.marked]
        keys += [trial_key(key, place) for key in table.keys]
        given = (dict(zip(table.columns, row, strict=True)) for row in table.rows)
        rows += [(Cell(label), *(row.get(c, Cell("")) for c in columns)) for row in given]
    if not rows:
        return None
    best = frozenset(marked)
    return Table(
        "All trials",
        ("study", *columns),
        tuple(rows),
        sortable=True,
        marked=best,
        choices="study",
        keys=tuple(keys),
    )


def _attribute(name: str, values: list[Any]) -> tuple[str, list[Any]]:
    """An attribute's heading and values, a measurement's in the unit that is shown."""
    row = MEASUREMENTS.get(name)
    if row is None:
        return label_of(name).replace("_", " "), values
    if row.per_unit != 1:  # a count stays a whole number
        values = [v / row.per_unit if isinstance(v, (int, float)) else v for v in values]
    return row.label, values


def failure_table(data: StudyData) -> Table | None:
    """The FAIL trials with their reasons; None where nothing failed."""
    failed = [t for t in data.frozen_trials if t.state == TrialState.FAIL]
    if not failed:
        return None
    rows = tuple((cell(t.number), Cell(_reason(t)), Cell(configuration(t.params))) for t in failed)
    return Table("Failed trials", ("trial", "reason", "configuration"), rows, sortable=True)


def rung_table(data: StudyData) -> Table | None:
    """Who came to which rung of a schedule, with which values, and what became of it."""
    rows = [
        (*map(cell, (trial.number, entry["step"], *rung_values(entry))), Cell(_decision(entry)))
        for trial in data.frozen_trials
        for entry in rungs_of(trial.user_attrs)
        if len(rung_values(entry)) == len(data.objectives)
    ]
    if not rows:
        return None
    columns = ("trial", "step", *map(label_of, data.objectives), "then")
    return Table("Rungs", columns, tuple(rows), sortable=True)


def _decision(entry: Mapping[str, Any]) -> str:
    if entry["goes_on"] is None:
        return "waits for the others"
    if not entry["goes_on"]:
        return "put aside"
    if entry.get("gate") == "closed":
        return "went on with all, since none was clearly better than the untrained base"
    return "put aside, later went on" if entry.get("came_back") else "went on"


def space_table(data: StudyData) -> Table | None:
    """The search space as Optuna knows it."""
    if not data.distributions:
        return None
    rows = tuple((Cell(name), Cell(range_of(d))) for name, d in data.distributions.items())
    return Table("Search space", ("parameter", "range"), rows)


def _attributes(data: StudyData) -> list[str]:
    """Numeric attributes worth a column: the metrics on every split, then the measurements."""
    present = dict.fromkeys(name for t in data.complete for name in t.user_attrs)
    known = {*METRICS, *data.metrics}
    scores = known | {f"{split}_{metric}" for split in SPLITS for metric in known}
    metrics = [n for n in present if n in scores and n not in data.objectives]
    shown = names_where(MEASUREMENTS, lambda row: row.is_shown)
    return metrics + [n for n in shown if n in present and n not in data.objectives]


def _state(trial: FrozenTrial, data: StudyData) -> str:
    state = state_of(trial)
    if state == "running" and data.has_ended:
        return "stopped"
    return STATES.get(state, state) + (" (enqueued)" if is_enqueued(trial) else "")


def _reason(trial: FrozenTrial) -> str:
    """The reason as recorded by this program's runner or by Optuna."""
    reason = trial.user_attrs.get("failure") or trial.system_attrs.get("fail_reason")
    again = "interrupted, then run again: " if state_of(trial) == "interrupted" else ""
    return again + str(reason or "no reason recorded")


def range_of(distribution: Any) -> str:
    """A parameter's choices, or its range with step and scale, in words."""
    if hasattr(distribution, "choices"):
        return ", ".join(setting(choice) for choice in distribution.choices)
    text = f"{setting(distribution.low)} to {setting(distribution.high)}"
    step = getattr(distribution, "step", None)
    text += f" in steps of {setting(step)}" if step and step != 1 else ""
    return text + (", on a log scale" if distribution.log else "")
