"""What a run asks of Optuna's tables directly, where reading every trial would be the price."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Engine, bindparam, text

CLAIM = "run:claim"  # the system attribute that says which claim and attempt a trial is


def running(database: Engine, study_id: int) -> list[tuple[int, tuple[int, int] | None]]:
    """The ids of the RUNNING trials, each with its claim and attempt, None where it has none."""
    query = (
        "SELECT t.trial_id, a.value_json FROM trials t LEFT JOIN trial_system_attributes a "
        "ON a.trial_id = t.trial_id AND a.key = :k WHERE t.study_id = :i AND t.state = 'RUNNING'"
    )
    rows = _all(database, query, i=study_id, k=CLAIM)
    return [(trial, None if key is None else tuple(json.loads(key))) for trial, key in rows]


def waiting(database: Engine, study_id: int) -> list[int]:
    """The ids of the trials in Optuna's own queue."""
    query = "SELECT trial_id FROM trials WHERE study_id = :i AND state = 'WAITING' ORDER BY number"
    return [row[0] for row in _all(database, query, i=study_id)]


def trial_of(database: Engine, study_id: int, key: tuple[int, int]) -> int | None:
    """The id of the trial that was made for a claim and attempt."""
    query = (
        "SELECT t.trial_id FROM trials t JOIN trial_system_attributes a "
        "ON a.trial_id = t.trial_id WHERE t.study_id = :i AND a.key = :k AND a.value_json = :v"
    )
    rows = _all(database, query, i=study_id, k=CLAIM, v=json.dumps(key))
    return rows[0][0] if rows else None


def has_trials(database: Engine, study_id: int) -> bool:
    """Whether the study has any trial."""
    return bool(_all(database, "SELECT 1 FROM trials WHERE study_id = :i LIMIT 1", i=study_id))


def best(
    database: Engine, study_id: int, count: int, *, maximize: bool, objective: int = 0
) -> list[tuple[int, int, float]]:
    """The ids, numbers and values of the best COMPLETE trials by one objective, best first."""
    query = (
        "SELECT t.trial_id, t.number, v.value FROM trials t "
        "JOIN trial_values v ON v.trial_id = t.trial_id "
        "WHERE t.study_id = :i AND t.state = 'COMPLETE' AND v.objective = :o "
        f"AND v.value_type = 'FINITE' ORDER BY v.value {'DESC' if maximize else 'ASC'}, t.number "
        "LIMIT :n"
    )
    return [tuple(row) for row in _all(database, query, i=study_id, o=objective, n=count)]


def finished_among(database: Engine, study_id: int, numbers: Iterable[int]) -> set[int]:
    """Which of these trials came to an end."""
    query = text(
        "SELECT number FROM trials WHERE study_id = :i AND number IN :n "
        "AND state NOT IN ('RUNNING', 'WAITING')"
    ).bindparams(bindparam("n", expanding=True))
    with database.connect() as connection:
        return {row[0] for row in connection.execute(query, {"i": study_id, "n": list(numbers)})}


def _all(database: Engine, query: str, **values: Any) -> list[Any]:
    with database.connect() as connection:
        return list(connection.execute(text(query), values).all())
