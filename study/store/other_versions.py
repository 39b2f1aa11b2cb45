"""Optuna's trials through Optuna's own API, where its tables have a version that we do not know.

`trial_rows` and `trial_reading` read the tables of KNOWN_VERSIONS, which is many times as fast.  A
later Optuna's tables, or those of a server that nobody has upgraded, are left to Optuna: each
function here gives what the function gives that names it in `@or_by_optuna`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Engine, Select, column, select, table
from sqlalchemy.orm import scoped_session, sessionmaker

from study.store.from_other_programs import as_read, silent_about_choices

CLAIM = "run:claim"  # the system attribute that says which claim and attempt a trial is
KNOWN_VERSIONS = {(12, "v3.2.0.a")}
"""What version_info and alembic_version hold: those of Optuna 3.2 to 5.0."""

Asked = ParamSpec("Asked")
Found = TypeVar("Found")
_is_known: WeakKeyDictionary[Engine, bool] = WeakKeyDictionary()


def or_by_optuna(
    by_optuna: Callable[Asked, Found],
) -> Callable[[Callable[Asked, Found]], Callable[Asked, Found]]:
    """Let another function answer where the tables of the database, first named, are not known."""

    def decorated(by_tables: Callable[Asked, Found]) -> Callable[Asked, Found]:
        @wraps(by_tables)
        def read(*asked: Asked.args, **options: Asked.kwargs) -> Found:
            database = asked[0]
            assert isinstance(database, Engine)
            return (by_tables if is_known(database) else by_optuna)(*asked, **options)

        return read

    return decorated


def is_known(database: Engine) -> bool:
    """Say whether Optuna's tables have a version that is read directly; looked up once."""
    if database not in _is_known:
        version = _one("version_info", "schema_version")
        revision = _one("alembic_version", "version_num")
        with database.connect() as connection:
            found = connection.scalar(version), connection.scalar(revision)
        _is_known[database] = found in KNOWN_VERSIONS
    return _is_known[database]


def _one(table_name: str, column_name: str) -> Select[Any]:
    return select(table(table_name, column(column_name)).c[column_name])


# ---------------------------------------------------------------- what a run asks


def running(database: Engine, study_id: int) -> list[tuple[int, tuple[int, int] | None]]:
    """The ids of the RUNNING trials, each with its claim and attempt, None where it has none."""
    found = _trials(database, study_id, TrialState.RUNNING)
    return [(t._trial_id, tuple(t.system_attrs[CLAIM]) if _has_claim(t) else None) for t in found]


def waiting(database: Engine, study_id: int) -> list[int]:
    """The ids of the trials in Optuna's own queue."""
    return [t._trial_id for t in _trials(database, study_id, TrialState.WAITING)]


def trial_of(database: Engine, study_id: int, key: tuple[int, int]) -> int | None:
    """The id of the trial that was made for a claim and attempt."""
    made = (t for t in _trials(database, study_id) if _has_claim(t))
    return next((t._trial_id for t in made if tuple(t.system_attrs[CLAIM]) == tuple(key)), None)


def has_trials(database: Engine, study_id: int) -> bool:
    """Whether the study has any trial."""
    return _storage(database).get_n_trials(study_id) > 0


def best(
    database: Engine, study_id: int, count: int, *, maximize: bool, objective: int = 0
) -> list[tuple[int, int, float]]:
    """The ids, numbers and values of the best COMPLETE trials by one objective, best first."""
    complete = _trials(database, study_id, TrialState.COMPLETE)
    found = [(t._trial_id, t.number, t.values[objective]) for t in complete]
    finite = [row for row in found if math.isfinite(row[2])]
    return sorted(finite, key=lambda row: (-row[2] if maximize else row[2], row[1]))[:count]


def finished_among(database: Engine, study_id: int, numbers: Iterable[int]) -> set[int]:
    """Which of these trials came to an end."""
    wanted = set(numbers)
    found = _trials(database, study_id)
    return {t.number for t in found if t.number in wanted and t.state.is_finished()}


# ---------------------------------------------------------------- what a reader asks


def trial_ids(database: Engine, study_id: int) -> list[int]:
    """The ids of all trials, in order of their numbers."""
    return [t._trial_id for t in _trials(database, study_id)]


def counts_by_state(database: Engine, study_id: int) -> dict[str, int]:
    """How many trials there are in each state; `interrupted` are those that were run again."""
    found = dict.fromkeys([*(state.name.lower() for state in TrialState), "interrupted"], 0)
    for trial in _trials(database, study_id):
        was_interrupted = trial.user_attrs.get("interrupted") is True
        again = trial.state == TrialState.FAIL and was_interrupted
        found["interrupted" if again else trial.state.name.lower()] += 1
    return {state: count for state, count in found.items() if count}


def read_trials(database: Engine, ids: Sequence[int]) -> list[FrozenTrial]:
    """The trials of these ids, in order of their numbers."""
    storage = _storage(database)
    with silent_about_choices():
        found = [as_read(storage.get_trial(trial_id)) for trial_id in ids]
    return sorted(found, key=lambda trial: trial.number)


def _has_claim(trial: FrozenTrial) -> bool:
    return trial.system_attrs.get(CLAIM) is not None


def _trials(database: Engine, study_id: int, *states: TrialState) -> list[FrozenTrial]:
    with silent_about_choices():
        found = _storage(database).get_all_trials(study_id, deepcopy=False, states=states or None)
    return sorted(found, key=lambda trial: trial.number)


def _storage(database: Engine) -> RDBStorage:
    """Return Optuna's storage over a database that is open already, however it was opened."""
    storage = RDBStorage("sqlite://")
    storage.engine.dispose()
    storage.engine = database
    storage.scoped_session = scoped_session(sessionmaker(bind=database))
    return storage
