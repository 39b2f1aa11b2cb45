"""An SQLite file before Optuna sees it: what it is, and how it is read without any change."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

from study.errors import InputError, refusing
from study.store import schema
from study.store.other_versions import is_current

SQLITE_MAGIC = b"SQLite format 3\0"
OPTUNA_TABLES = {"studies", "trials", "version_info"}
CREATED_BY_OPTUNA = OPTUNA_TABLES | {
    "alembic_version",
    "study_directions",
    "study_system_attributes",
    "study_user_attributes",
    "trial_heartbeats",
    "trial_intermediate_values",
    "trial_params",
    "trial_system_attributes",
    "trial_user_attributes",
    "trial_values",
}
BUSY_TIMEOUT_SECONDS = 60
STORED = re.compile(r"CREATE (TABLE|(UNIQUE )?INDEX) ")
VIEW = re.compile(r"CREATE VIEW (?P<quote>[\"`]?)(?P<name>\w+)(?P=quote)[\s(]")
"""As SQLite writes them down, whatever was typed."""


def undisturbed(path: Path) -> Path:
    """Return what to read: the file, or a copy where SQLite would create its index beside it.

    It does so to read a log that a killed run left.  While somebody writes, the index is there.
    """
    log = _log_of(path.resolve())
    index = log.with_name(log.name.removesuffix("-wal") + "-shm")
    if index.exists() or not (log.exists() and log.stat().st_size):
        return path
    with refusing(f"{path}: cannot read the database", OSError):
        copy = copied(path)
    return path if index.exists() else copy  # a run began to write meanwhile


def connect_read_only(path: Path) -> sqlite3.Connection:
    """Connect with `immutable` when nobody writes, so that not even a log appears."""
    log = _log_of(path.resolve())
    immutable = "" if log.exists() and log.stat().st_size else "&immutable=1"
    uri = f"file:{quote(os.fsencode(path.resolve()))}?mode=ro{immutable}"
    return sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_SECONDS, check_same_thread=False)


def _log_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def check_is_optuna_sqlite(path: Path, source: Path | None = None) -> None:
    """Refuse any other file, before it is queried; `source` is its copy, if there is one."""
    if first_bytes(path) != SQLITE_MAGIC:
        raise InputError(f"{path}: not an SQLite database")
    tables = _tables(path, source)
    if not tables >= OPTUNA_TABLES:
        raise InputError(f"{path}: an SQLite database without Optuna's tables")


def is_being_created(path: Path) -> bool:
    """Whether it holds only some of Optuna's tables: another run is creating it, or was killed."""
    if first_bytes(path) != SQLITE_MAGIC:
        return False
    tables = _tables(path)
    columns = {name for (name,) in _query(path, "SELECT name FROM pragma_table_info('studies')")}
    return tables <= CREATED_BY_OPTUNA and columns in ({"study_id", "study_name"}, set())


def has_current_schema(path: Path, source: Path | None = None) -> bool:
    """Whether the tables have the schema of the installed Optuna, as `is_current` says."""
    (schema_version,) = _first(path, "SELECT schema_version FROM version_info", source)
    has_revision = "alembic_version" in _tables(path, source)
    query = "SELECT version_num FROM alembic_version"
    (revision,) = _first(path, query, source) if has_revision else (None,)
    return is_current(str(path), schema_version, revision)


def _first(path: Path, query: str, source: Path | None) -> tuple[Any, ...]:
    """The first row; one of None where there is none."""
    return next(iter(_query(path, query, source)), (None,))


def _tables(path: Path, source: Path | None = None) -> set[str]:
    """Return the tables' names; refuse code in their place, which may never end.

    A view or a virtual table with the name of a table computes what is read from it, and a trigger
    runs with what is written.  Neither Optuna nor this program creates any.
    """
    query = "SELECT type, name, sql FROM sqlite_master"
    found = _query(path, query, source)
    for _, name, sql in found:  # SQLite goes by the words of `sql`, whatever the columns say
        view = VIEW.match(str(sql))
        if not (sql is None or STORED.match(str(sql)) or (view and _is_foreign(view["name"]))):
            raise InputError(
                f"{path}: holds a view, trigger or the like, {str(name)!r:.80}, that would run in "
                "place of a table or with it; a study's database has none: drop it"
            )
    return {name for kind, name, _ in found if kind == "table"}


def _is_foreign(name: str) -> bool:
    used = {"if", *CREATED_BY_OPTUNA, *schema.metadata.tables}  # `if`: of IF NOT EXISTS
    return name.lower() not in used


def _query(path: Path, query: str, source: Path | None = None) -> list[tuple[Any, ...]]:
    # SQLite's own words may be damaged too
    with (
        refusing(f"{path}: cannot read the database", sqlite3.Error, UnicodeDecodeError),
        closing(connect_read_only(source or path)) as connection,
    ):
        return connection.execute(query).fetchall()


def place_for_a_copy() -> Path:
    """Return a path in a temporary folder, which is deleted when Python ends."""
    folder = tempfile.mkdtemp(prefix="optuna-study-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder) / "copy.db"


def copied(path: Path) -> Path:
    """Copy the file with its log."""
    copy = place_for_a_copy()
    shutil.copyfile(path, copy)
    if _log_of(path.resolve()).is_file():
        shutil.copyfile(_log_of(path.resolve()), _log_of(copy))
    return copy


def first_bytes(path: Path) -> bytes:
    """Return what shows the kind of a file; InputError where it cannot be read."""
    with refusing(f"{path}: cannot read the file", OSError), path.open("rb") as file:
        return file.read(len(SQLITE_MAGIC))
