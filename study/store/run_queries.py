"""Queries of a run to Optuna's tables, because reading every trial would be too slow."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Engine, Select, and_, select

from study.store import other_versions, schema
from study.store.other_versions import CLAIM as CLAIM
from study.store.other_versions import or_by_optuna
from study.store.outlasting import outlasting

TRIALS, VALUES, SYSTEM = schema.trials.c, schema.trial_values.c, schema.trial_system_attributes.c


@or_by_optuna(other_versions.running)
def running(database: Engine, study_id: int) -> list[tuple[int, tuple[int, int] | None]]:
    """The ids of the RUNNING trials, each with its claim and attempt, or None."""
    its_claim = and_(SYSTEM.trial_id == TRIALS.trial_id, SYSTEM.key == CLAIM)
    query = (
        select(TRIALS.trial_id, SYSTEM.value_json)
        .join_from(schema.trials, schema.trial_system_attributes, its_claim, isouter=True)
        .where(TRIALS.study_id == study_id, TRIALS.state == "RUNNING")
    )
    rows = _all(database, query)
    return [(trial, None if key is None else tuple(json.loads(key))) for trial, key in rows]


@or_by_optuna(other_versions.waiting)
def waiting(database: Engine, study_id: int) -> list[int]:
    """The ids of the trials in Optuna's own queue."""
    query = select(TRIALS.trial_id).where(TRIALS.study_id == study_id, TRIALS.state == "WAITING")
    return [row.trial_id for row in _all(database, query.order_by(TRIALS.number))]


@or_by_optuna(other_versions.trial_of)
def trial_of(database: Engine, study_id: int, key: tuple[int, int]) -> int | None:
    """The id of the trial of a claim and attempt."""
    query = (
        select(TRIALS.trial_id)
        .join_from(
            schema.trials,
            schema.trial_system_attributes,
            SYSTEM.trial_id == TRIALS.trial_id,
        )
        .where(
            TRIALS.study_id == study_id,
            SYSTEM.key == CLAIM,
            SYSTEM.value_json == json.dumps(key),
        )
    )
    rows = _all(database, query)
    return rows[0].trial_id if rows else None


@or_by_optuna(other_versions.has_trials)
def has_trials(database: Engine, study_id: int) -> bool:
    """Whether the study has any trial."""
    query = select(TRIALS.trial_id).where(TRIALS.study_id == study_id).limit(1)
    return bool(_all(database, query))


@or_by_optuna(other_versions.best)
def best(
    database: Engine, study_id: int, count: int, *, maximize: bool, objective: int = 0
) -> list[tuple[int, int, float]]:
    """The ids, numbers and values of the best COMPLETE trials by one objective, best first."""
    query = (
        select(TRIALS.trial_id, TRIALS.number, VALUES.value)
        .join_from(schema.trials, schema.trial_values, VALUES.trial_id == TRIALS.trial_id)
        .where(
            TRIALS.study_id == study_id,
            TRIALS.state == "COMPLETE",
            VALUES.objective == objective,
            VALUES.value_type == "FINITE",
        )
        .order_by(VALUES.value.desc() if maximize else VALUES.value, TRIALS.number)
        .limit(count)
    )
    return [tuple(row) for row in _all(database, query)]


@or_by_optuna(other_versions.finished_among)
def finished_among(database: Engine, study_id: int, numbers: Iterable[int]) -> set[int]:
    """Which of these trials ended."""
    query = select(TRIALS.number).where(
        TRIALS.study_id == study_id,
        TRIALS.number.in_(list(numbers)),
        TRIALS.state.not_in(["RUNNING", "WAITING"]),
    )
    return {row.number for row in _all(database, query)}


@outlasting
def _all(database: Engine, query: Select[Any]) -> list[Any]:
    with database.connect() as connection:
        return list(connection.execute(query))
