"""Read trials through Optuna's own API if its tables have an unknown version.

`run_queries` and `trial_reading` read the tables of KNOWN_VERSIONS directly, which is many times as
fast.  The tables of a later Optuna, or of a server that was not upgraded, are read by Optuna: each
function here replaces the one that names it in `@or_by_optuna`.
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
"""The contents of version_info and alembic_version in Optuna 3.2 to 5.0."""

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
_is_known: WeakKeyDictionary[Engine, bool] = WeakKeyDictionary()


def or_by_optuna(
    by_optuna: Callable[Arguments, Result],
) -> Callable[[Callable[Arguments, Result]], Callable[Arguments, Result]]:
    """Use `by_optuna` instead if the tables of the database, the first argument, are unknown."""

    def decorated(by_tables: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        @wraps(by_tables)
        def read(*arguments: Arguments.args, **options: Arguments.kwargs) -> Result:
            database = arguments[0]
            assert isinstance(database, Engine)
            return (by_tables if is_known(database) else by_optuna)(*arguments, **options)

        return read

    return decorated


def is_known(database: Engine) -> bool:
    """Return whether Optuna's tables have a version that can be read directly; checked once."""
    if database not in _is_known:
        version = _one("version_info", "schema_version")
        revision = _one("alembic_version", "version_num")
        with database.connect() as connection:
            versions = connection.scalar(version), connection.scalar(revision)
        _is_known[database] = versions in KNOWN_VERSIONS
    return _is_known[database]


def _one(table_name: str, column_name: str) -> Select[Any]:
    return select(table(table_name, column(column_name)).c[column_name])


# ---------------------------------------------------------------- for a run


def running(database: Engine, study_id: int) -> list[tuple[int, tuple[int, int] | None]]:
    """The ids of the RUNNING trials, each with its claim and attempt, or None."""
    running = _trials(database, study_id, TrialState.RUNNING)
    return [(t._trial_id, tuple(t.system_attrs[CLAIM]) if _has_claim(t) else None) for t in running]


def waiting(database: Engine, study_id: int) -> list[int]:
    """The ids of the trials in Optuna's own queue."""
    return [t._trial_id for t in _trials(database, study_id, TrialState.WAITING)]


def trial_of(database: Engine, study_id: int, key: tuple[int, int]) -> int | None:
    """The id of the trial of a claim and attempt."""
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
    rows = [(t._trial_id, t.number, t.values[objective]) for t in complete]
    finite = [row for row in rows if math.isfinite(row[2])]
    return sorted(finite, key=lambda row: (-row[2] if maximize else row[2], row[1]))[:count]


def finished_among(database: Engine, study_id: int, numbers: Iterable[int]) -> set[int]:
    """Which of these trials ended."""
    wanted = set(numbers)
    trials = _trials(database, study_id)
    return {t.number for t in trials if t.number in wanted and t.state.is_finished()}


# ---------------------------------------------------------------- for a reader


def trial_ids(database: Engine, study_id: int) -> list[int]:
    """The ids of all trials, in order of their numbers."""
    return [t._trial_id for t in _trials(database, study_id)]


def counts_by_state(database: Engine, study_id: int) -> dict[str, int]:
    """The number of trials in each state; `interrupted` are failed ones that were run again."""
    counts = dict.fromkeys([*(state.name.lower() for state in TrialState), "interrupted"], 0)
    for trial in _trials(database, study_id):
        was_interrupted = trial.user_attrs.get("interrupted") is True
        again = trial.state == TrialState.FAIL and was_interrupted
        counts["interrupted" if again else trial.state.name.lower()] += 1
    return {state: count for state, count in counts.items() if count}


def read_trials(database: Engine, ids: Sequence[int]) -> list[FrozenTrial]:
    """The trials with these ids, in order of their numbers."""
    storage = _storage(database)
    with silent_about_choices():
        trials = [as_read(storage.get_trial(trial_id)) for trial_id in ids]
    return sorted(trials, key=lambda trial: trial.number)


def _has_claim(trial: FrozenTrial) -> bool:
    return trial.system_attrs.get(CLAIM) is not None


def _trials(database: Engine, study_id: int, *states: TrialState) -> list[FrozenTrial]:
    with silent_about_choices():
        trials = _storage(database).get_all_trials(study_id, deepcopy=False, states=states or None)
    return sorted(trials, key=lambda trial: trial.number)


def _storage(database: Engine) -> RDBStorage:
    """Return Optuna's storage over a database that is already open."""
    storage = RDBStorage("sqlite://")
    storage.engine.dispose()
    storage.engine = database
    storage.scoped_session = scoped_session(sessionmaker(bind=database))
    return storage
