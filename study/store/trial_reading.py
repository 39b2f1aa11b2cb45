"""Optuna's trials, read from its tables by six queries: ten times as fast as one object per row.

They equal what `RDBStorage.get_all_trials` returns.  The caller chooses the trials to read: only
some of them if the study is too large.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    json_to_distribution,
)
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, Engine, func, select

from study.store import other_versions, run_queries, schema
from study.store.from_other_programs import usable, with_tuples
from study.store.other_versions import or_by_optuna

CHUNK = 5000  # ids in one query; SQLite takes 32,766
NOT_FINITE = {"INF_POS": math.inf, "INF_NEG": -math.inf, "NAN": math.nan}  # stored without a value
Rows = Iterator[tuple[Any, ...]]


@or_by_optuna(other_versions.trial_ids)
def trial_ids(database: Engine, study_id: int) -> list[int]:
    """The ids of all trials, in order of their numbers."""
    trials = schema.trials.c
    query = select(trials.trial_id).where(trials.study_id == study_id).order_by(trials.number)
    with database.connect() as connection:
        return list(connection.scalars(query))


@or_by_optuna(other_versions.counts_by_state)
def counts_by_state(database: Engine, study_id: int) -> dict[str, int]:
    """The number of trials in each state; `interrupted` are failed ones that were run again."""
    trials, attributes = schema.trials.c, schema.trial_user_attributes.c
    states = (
        select(trials.state, func.count()).where(trials.study_id == study_id).group_by(trials.state)
    )
    interrupted = (
        select(func.count())
        .join_from(
            schema.trials,
            schema.trial_user_attributes,
            attributes.trial_id == trials.trial_id,
        )
        .where(
            trials.study_id == study_id,
            trials.state == "FAIL",
            attributes.key == "interrupted",
            attributes.value_json == "true",
        )
    )
    with database.connect() as connection:
        rows = connection.execute(states).all()
        again = connection.scalar(interrupted) or 0
    counts = {state.name.lower(): 0 for state in TrialState} | {s.lower(): n for s, n in rows}
    counts["fail"] -= again
    return {state: count for state, count in (counts | {"interrupted": again}).items() if count}


def best_ids(
    database: Engine, study_id: int, count: int, objective: int, maximize: bool
) -> list[int]:
    """The ids of the best COMPLETE trials by one objective, best first."""
    rows = run_queries.best(database, study_id, count, maximize=maximize, objective=objective)
    return [trial_id for trial_id, _, _ in rows]


@or_by_optuna(other_versions.read_trials)
def read_trials(database: Engine, ids: Sequence[int]) -> list[FrozenTrial]:
    """The trials with these ids, in order of their numbers."""
    trials: list[FrozenTrial] = []
    with database.connect() as connection:
        for start in range(0, len(ids), CHUNK):
            trials += _read_chunk(connection, ids[start : start + CHUNK])
    return sorted(trials, key=lambda trial: trial.number)


def _read_chunk(connection: Connection, ids: Sequence[int]) -> list[FrozenTrial]:
    parts = _Parts(connection, ids)
    columns = ("number", "state", "datetime_start", "datetime_complete")
    return [parts.trial(*row) for row in _rows(connection, ids, schema.trials, *columns)]


def _rows(
    connection: Connection, ids: Sequence[int], table: Any, *columns: str, order: str = "trial_id"
) -> Rows:
    """Yield the trial id and these columns of every row that belongs to the trials."""
    query = select(table.c.trial_id, *(table.c[name] for name in columns))
    of_trials = query.where(table.c.trial_id.in_(ids)).order_by(table.c.trial_id, table.c[order])
    return (tuple(row) for row in connection.execute(of_trials))


class _Parts:
    """The values, parameters, attributes and reports of a chunk of trials, by trial id."""

    def __init__(self, connection: Connection, ids: Sequence[int]) -> None:
        rows = partial(_rows, connection, ids)
        self.values: dict[int, list[float]] = defaultdict(list)
        for trial, value, kind in rows(
            schema.trial_values, "value", "value_type", order="objective"
        ):
            self.values[trial].append(_number(value, kind))
        self.params: dict[int, dict[str, Any]] = defaultdict(dict)
        self.distributions: dict[int, dict[str, BaseDistribution]] = defaultdict(dict)
        columns = ("param_name", "param_value", "distribution_json")
        for trial, name, value, written in rows(schema.trial_params, *columns, order="param_id"):
            distribution = _distribution(written)
            is_choice = isinstance(distribution, CategoricalDistribution)
            if is_choice and (value < 0 or value != int(value)):
                raise ValueError(f"parameter {name!r}: choice {value!r} of its list")
            self.params[trial][name] = distribution.to_external_repr(value)
            self.distributions[trial][name] = distribution
        attributes = ("key", "value_json")
        self.user = _attributes(rows(schema.trial_user_attributes, *attributes))
        self.system = _attributes(rows(schema.trial_system_attributes, *attributes))
        self.reports: dict[int, dict[int, float]] = defaultdict(dict)
        columns = ("step", "intermediate_value", "intermediate_value_type")
        for trial, step, value, kind in rows(schema.trial_reports, *columns):
            self.reports[trial][step] = _number(value, kind)

    def trial(self, trial_id: int, number: int, state: str, start: Any, end: Any) -> FrozenTrial:
        return FrozenTrial(
            number=number,
            state=TrialState[state],
            value=None,
            values=self.values.get(trial_id),
            datetime_start=_local(start),
            datetime_complete=_local(end),
            params=self.params.get(trial_id, {}),
            distributions=self.distributions.get(trial_id, {}),
            user_attrs=self.user.get(trial_id, {}),
            system_attrs=self.system.get(trial_id, {}),
            intermediate_values=self.reports.get(trial_id, {}),
            trial_id=trial_id,
        )


def _attributes(rows: Rows) -> dict[int, dict[str, Any]]:
    attributes: dict[int, dict[str, Any]] = defaultdict(dict)
    for trial, key, value in rows:
        attributes[trial][key] = json.loads(value)
    return attributes


def _number(value: float, kind: str) -> float:
    not_finite = NOT_FINITE.get(kind)
    return usable(value) if not_finite is None else not_finite


@lru_cache(maxsize=1024)
def _distribution(written: str) -> BaseDistribution:
    return with_tuples(json_to_distribution(written))


def _local(moment: datetime | str | None) -> datetime | None:
    """Optuna stores UTC and returns local time; SQLite stores text.

    Unlike Optuna's, the time says by `fold` which it is of an hour that comes twice.
    """
    if moment is None:
        return None
    utc = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return datetime.fromtimestamp(utc.replace(tzinfo=UTC).timestamp())
