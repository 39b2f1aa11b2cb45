"""The tidy frames of a study: one row a trial, a score, an example.

The only part of reading that needs pandas, imported by `StudyData` when a frame is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
from optuna.trial import FrozenTrial

from analysis.studies.study_data import is_enqueued, seconds_of
from study.store import records
from study.store.records import EvaluationRow

if TYPE_CHECKING:
    from analysis.studies.study_data import StudyData

LEADING = ("number", "state", "enqueued", "seconds")


def trials_frame(data: StudyData) -> pd.DataFrame:
    """One row a trial: number, state, objectives, parameters, attributes, last report, seconds.

    A column is named as the study names it; where a parameter or attribute bears a name that is
    taken, it becomes `params_…` or `attrs_…`.  Objectives of unfinished trials are NaN.
    """
    taken = {*LEADING, *data.objectives, "last_step", "last_value"}
    params = _columns(data.distributions, "params_", taken)
    attributes = _columns(_attribute_names(data), "attrs_", taken | set(params.values()))
    rows = [_trial_row(data, trial, params, attributes) for trial in data.frozen_trials]
    frame = pd.DataFrame(rows)
    if frame.empty:
        return pd.DataFrame(columns=[*LEADING[:2], *data.objectives, *LEADING[2:]])
    return frame.set_index("number", drop=False).rename_axis(None)


def _attribute_names(data: StudyData) -> list[str]:
    """The user attributes of the trials, less copies of the objectives."""
    names = dict.fromkeys(name for trial in data.frozen_trials for name in trial.user_attrs)
    return [name for name in names if name not in (*data.objectives, "enqueued")]


def _columns(names: Any, prefix: str, taken: set[str]) -> dict[str, str]:
    return {name: prefix + name if name in taken else name for name in names}


def _trial_row(
    data: StudyData, trial: FrozenTrial, params: dict[str, str], attributes: dict[str, str]
) -> dict[str, Any]:
    row: dict[str, Any] = {"number": trial.number, "state": trial.state.name}
    row |= {name: data.value(trial, name) for name in data.objectives}
    row |= {column: trial.params.get(name) for name, column in params.items()}
    row |= {"enqueued": is_enqueued(trial), "seconds": seconds_of(trial)}
    row |= {column: trial.user_attrs.get(name) for name, column in attributes.items()}
    if trial.intermediate_values:
        last = max(trial.intermediate_values)
        row |= {"last_step": last, "last_value": trial.intermediate_values[last]}
    return row


def scores_frame(data: StudyData) -> pd.DataFrame:
    """One row a stored corpus score, with the evaluation that it belongs to."""
    by_id = {row.evaluation_id: row for row in data.evaluations}
    columns = ["role", "name", "trial", "seed", "split", "metric", "score", "signature", "examples"]
    rows = []
    for score in data.score_rows:
        e = by_id[score.evaluation_id]
        key = (e.role, e.name, e.trial_number, e.seed, e.split)
        rows.append((*key, score.metric, score.score, score.signature, score.n_examples))
    frame = pd.DataFrame(rows, columns=columns).astype({"trial": "Int64"})
    return frame.sort_values(["role", "trial", "name", "split", "metric"], ignore_index=True)


def outputs_frame(data: StudyData, evaluation: EvaluationRow) -> pd.DataFrame:
    """One row an example: source, target, output, and every metric's score of this example."""
    assert data.database is not None
    examples = data.examples[evaluation.split]
    frame = pd.DataFrame({"source": examples.sources, "target": examples.targets})
    frame["output"] = records.read_outputs(data.database, evaluation.evaluation_id)
    for row in data.score_rows:
        if row.evaluation_id == evaluation.evaluation_id:
            stored = records.read_statistics(data.database, row.evaluation_id, row.metric)
            frame[row.metric] = stored.example_scores()
    return frame
