"""The tidy frames of a study: one row per trial, score or example.

The only part of reading that needs pandas, imported by `StudyData` when a frame is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from analysis.studies.trial_values import is_enqueued, last_report, seconds_of
from analysis.wording import choice, columns_of, printable
from study.store import records
from study.store.records import EvaluationRow, Examples, ScoreRow

if TYPE_CHECKING:
    from sqlalchemy import Engine

LEADING = ("number", "state", "enqueued", "seconds")


def trials_frame(
    trials: Sequence[FrozenTrial], objectives: Sequence[str], parameters: Sequence[str]
) -> pd.DataFrame:
    """One row per trial: number, state, objectives, parameters, attributes, last report, seconds.

    A column has the study's name for it; a parameter or attribute whose name is taken becomes
    `params_…` or `attrs_…`.  Objectives of unfinished trials are NaN.  A
    chosen None is the text `None`, for pandas takes None for missing.
    """
    taken = {*LEADING, *objectives, "last_step", "last_value"}
    attributes = dict.fromkeys(name for trial in trials for name in trial.user_attrs)
    copies = (*objectives, "enqueued")
    params = columns_of(parameters, "params_", taken)
    attrs = columns_of(
        (name for name in attributes if name not in copies), "attrs_", taken | set(params.values())
    )
    rows = []
    for trial in trials:
        # Optuna gives a PRUNED trial its last report as value
        is_complete = trial.state == TrialState.COMPLETE
        values = map(float, trial.values) if is_complete else [math.nan] * len(objectives)
        row: dict[str, Any] = {"number": trial.number, "state": trial.state.name}
        row |= dict(zip(objectives, values, strict=True))
        row |= {column: _chosen(trial, name) for name, column in params.items()}
        row |= {"enqueued": is_enqueued(trial), "seconds": seconds_of(trial)}
        row |= {column: _as_text(trial.user_attrs.get(name)) for name, column in attrs.items()}
        if (last := last_report(trial)) is not None:
            row["last_step"], row["last_value"] = last
        rows.append({printable(name): value for name, value in row.items()})
    if not rows:
        return pd.DataFrame(columns=[*LEADING[:2], *objectives, *LEADING[2:]])
    return pd.DataFrame(rows).set_index("number", drop=False).rename_axis(None)


def _chosen(trial: FrozenTrial, name: str) -> Any:
    """A parameter's value; None, which pandas takes for missing, only where it was not active."""
    if name not in trial.params:
        return None
    value = trial.params[name]
    return choice(value) if str(value) in ("None", "nan") else _as_text(value)


def _as_text(value: Any) -> Any:
    """A text without what pandas cannot store: lone surrogates, which JSON can hold."""
    return printable(value) if isinstance(value, str) else value


def scores_frame(
    evaluations: Sequence[EvaluationRow], score_rows: Sequence[ScoreRow]
) -> pd.DataFrame:
    """One row per stored corpus score, with the evaluation that it belongs to."""
    by_id = {row.evaluation_id: row for row in evaluations}
    columns = ["role", "name", "trial", "seed", "split", "metric", "score", "signature", "examples"]
    rows = []
    for score in score_rows:
        e = by_id[score.evaluation_id]
        key = (e.role, e.name, e.trial_number, e.seed, e.split)
        rows.append((*key, score.metric, score.score, score.signature, score.n_examples))
    frame = pd.DataFrame(rows, columns=columns).astype({"trial": "Int64"})
    return frame.sort_values(["role", "trial", "name", "split", "metric"], ignore_index=True)


def outputs_frame(
    database: Engine, evaluation: EvaluationRow, examples: Examples, score_rows: Sequence[ScoreRow]
) -> pd.DataFrame:
    """One row per example: source, target, output, and every metric's score of this example."""
    frame = pd.DataFrame({"source": examples.sources, "target": examples.targets})
    try:
        frame["output"] = records.read_outputs(database, evaluation.evaluation_id)
    except KeyError:
        raise LookupError("the study stores no outputs, since no metric of it reads any") from None
    for row in score_rows:
        if row.evaluation_id == evaluation.evaluation_id:
            stored = records.read_statistics(database, row.evaluation_id, row.metric)
            frame[row.metric] = stored.example_scores()
    return frame
