"""Read trials through Optuna's own API if its tables have an unknown version.

`run_queries` and `trial_reading` read the tables of KNOWN_VERSIONS directly, which is many times as
fast.  The tables of a later Optuna, or of a server that was not upgraded, are read by Optuna: each
function here replaces the one that names it in `@or_by_optuna`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Engine, MetaData, Select, column, inspect, select, table
from sqlalchemy.event import listens_for
from sqlalchemy.orm import scoped_session, sessionmaker

from study.errors import InputError
from study.store.from_other_programs import as_read, silent_about_choices

ROWS = 5000  # copied at once
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


def is_current(where: str, schema_version: int | None, revision: str | None) -> bool:
    """Whether tables have the schema of the installed Optuna; False where they are older.

    Raises:
        InputError: they are newer, or do not say which schema they have.
    """
    from alembic.script import ScriptDirectory
    from optuna.storages._rdb import models

    is_before_alembic = schema_version not in (None, models.SCHEMA_VERSION)
    if schema_version is None or (revision is None and not is_before_alembic):
        raise InputError(f"{where}: no schema version is recorded, so its tables cannot be read")
    scripts = ScriptDirectory(str(Path(models.__file__).parent / "alembic"))
    known = [script.revision for script in scripts.walk_revisions()]
    if revision is not None and revision not in known:
        raise InputError(
            f"{where}: written by a newer Optuna (schema {revision!r:.40}); update this one: "
            "pip install -U optuna"
        )
    return bool(revision == known[0])


def server_is_current(where: str, server: Engine) -> bool:
    """Whether a server's tables have the schema of the installed Optuna, as in `is_current`."""
    revision, has_revision = None, inspect(server).has_table("alembic_version")
    with server.connect() as connection:
        version = connection.scalar(_one("version_info", "schema_version"))
        if has_revision:
            revision = connection.scalar(_one("alembic_version", "version_num"))
    return is_current(where, version, revision)


def copy_tables(server: Engine, copy: Engine, names: Collection[str]) -> None:
    """Copy tables of these names from a server into an empty SQLite file, in one snapshot."""
    tables = MetaData()
    listens_for(tables, "column_reflect")(_without_the_servers_own)
    with server.connect().execution_options(isolation_level="REPEATABLE READ") as reading:
        tables.reflect(reading, only=[n for n in inspect(reading).get_table_names() if n in names])
        tables.create_all(copy)
        for source in tables.sorted_tables:
            rows = reading.execution_options(yield_per=ROWS).execute(select(source))
            for part in rows.mappings().partitions():
                with copy.begin() as writing:
                    writing.execute(source.insert(), [dict(row) for row in part])


def _without_the_servers_own(inspector: Any, of: Any, column_info: dict[str, Any]) -> None:
    """Take the general type of a column, and no default: that may be a sequence of the server."""
    column_info["type"] = column_info["type"].as_generic()
    column_info["default"] = None


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
