"""Open an Optuna storage: the runner writes, everything else only reads.

Reading creates nothing and changes nothing: `optuna.load_study` would create a missing SQLite file
and write its tables into a foreign one before it fails, so the file is inspected first.  A database
of an older Optuna is upgraded only on a temporary copy.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from study.errors import NAMED, InputError, refusing, without_secrets
from study.store import schema
from study.store.folders import check_regular, check_sidecars
from study.store.from_other_programs import silent_about_choices, silent_about_upgrades
from study.store.other_versions import copy_tables, server_is_current
from study.store.sqlite_file import (
    BUSY_TIMEOUT_SECONDS,
    CREATED_BY_OPTUNA,
    OPTUNA_TABLES,
    SQLITE_MAGIC,
    check_is_optuna_sqlite,
    connect_read_only,
    copied,
    first_bytes,
    has_current_schema,
    is_being_created,
    place_for_a_copy,
    undisturbed,
)

if TYPE_CHECKING:
    from optuna.storages import BaseStorage, RDBStorage

WITH_PASSWORD = r"^([\w+.-]+:/{1,3}[^:@]*:|(?![\w+.-]+:/)[^:/@]*:).*@"
NO_STUDY = (ValueError, LookupError, TypeError, AttributeError, zlib.error)
"""Errors from decoding a damaged value while the database itself is readable."""
WRITE_TIMEOUT_SECONDS = 20.0  # for the first attempt, which shows if another program is writing
WAL_AGAIN_SECONDS = 0.02
DATABASE_NAME = "study.db"
MOST_NAMED = 8  # run folders, in a message
DIALECTS = ("sqlite", "postgresql")  # for runs; every storage that Optuna knows can be read
ALREADY_THERE = r"(?i)already exists|duplicate key|unique constraint"
READ_ONLY = "attempt to write a readonly database"
"""SQLite's words for a read-only file or folder, and for a full disk."""
CREATION_ATTEMPTS, CREATION_SECONDS = 10, 0.3


def hidden(url: str) -> str:
    """The URL without its password, as every message, log and report shows it.

    Uses a pattern instead of parsing: a URL that cannot be parsed may hold a password too.
    """
    without = re.sub(WITH_PASSWORD, r"\1***@", url, flags=re.DOTALL)
    named = rf"(?i)([?&](?:[^=&]*(?:{NAMED})[^=&]*|options)=)[^&]*"
    return without_secrets(re.sub(named, r"\1***", without))


def sqlite_url(path: Path) -> str:
    """The storage URL of an SQLite file; InputError for a path that no URL can hold."""
    url = URL.create("sqlite", database=str(path)).render_as_string(hide_password=False)
    if make_url(url).database != str(path):
        raise InputError(
            f"{path}: the path of an SQLite file must not contain '?'; rename the file or folder"
        )
    return url


def is_shared(url: str) -> bool:
    """Whether a storage is a server, which other machines can reach."""
    return _sqlite_path(url) is None


# ---------------------------------------------------------------- writing


def open_for_writing(url: str) -> RDBStorage:
    """Open or create a storage for a run; an SQLite file is set to WAL mode.

    Raises InputError if the file is something else or locked, or the server is unreachable.
    """
    from optuna.storages import RDBStorage

    from study.store.patient_storage import PatientStorage

    path = _sqlite_path(url)
    if path is not None:
        _prepare_sqlite(path)
    kind = PatientStorage if path is None else RDBStorage
    options: dict[str, Any] = (
        {"pool_pre_ping": True}  # a server may close connections during training
        if path is None
        else {"connect_args": {"timeout": BUSY_TIMEOUT_SECONDS}}
    )
    try:
        storage = _with_tables(lambda: kind(_verbatim(url), engine_kwargs=options))
    except _opening_errors() as error:
        raise _unopened(url, error) from error
    if storage.engine.dialect.name not in DIALECTS:
        raise InputError(
            f"{hidden(url)}: a run needs {' or '.join(DIALECTS)}, got {storage.engine.dialect.name}"
        )
    if path is not None:
        _share_the_file(storage.engine)
    return storage


def _with_tables(create: Callable[[], RDBStorage]) -> RDBStorage:
    """Open a storage whose tables several runs may be creating at the same moment."""
    for _ in range(CREATION_ATTEMPTS):
        try:
            return create()
        except (DBAPIError, AssertionError) as error:
            if isinstance(error, DBAPIError) and not re.search(ALREADY_THERE, str(error.orig)):
                raise
            time.sleep(CREATION_SECONDS)
    return create()


def writable_url(target: str) -> str:
    """Return the storage URL of a target of `open_read_only`: a run folder, a file or a URL."""
    if "://" in target:
        return target
    path = Path(target)
    return sqlite_url(path / DATABASE_NAME if path.is_dir() else path)


def run_folder_of(target: str) -> Path | None:
    """Return the run folder that a target lies in; None if it does not lie in one."""
    if "://" in target and not target.startswith("sqlite"):
        return None
    try:
        path = _sqlite_path(target) or Path(target)
    except InputError:
        return None
    folder = path if path.is_dir() else path.parent
    is_database = path.is_dir() or path.name == DATABASE_NAME
    return folder if is_database and (folder / "spec.toml").is_file() else None


def _share_the_file(database: sqlalchemy.Engine) -> None:
    """Let several runs write one SQLite file, with few disk flushes.

    Optuna reads a row, decides and writes it back.  Here every transaction takes the file's write
    lock before it reads, as `FOR UPDATE` does on a server, so no other run decides in between.

    SQLite flushes at checkpoints, not at each of the dozens of commits per trial.  In WAL mode this
    is safe if processes are killed; a power failure may lose the last trials, but never the
    database.
    """

    def prepare(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # `begin` below starts transactions, not the driver
        connection.execute("PRAGMA synchronous=NORMAL")

    def begin(connection: sqlalchemy.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    sqlalchemy.event.listen(database, "connect", prepare)
    sqlalchemy.event.listen(database, "begin", begin)
    database.dispose()  # earlier connections do neither


def _verbatim(url: str) -> str:
    """Escape braces: Optuna passes every URL through `str.format`."""
    return url.replace("{", "{{").replace("}", "}}")


def _prepare_sqlite(path: Path) -> None:
    """Create the file in WAL mode, or check that an existing one can be written."""
    check_regular(path)
    check_sidecars(path.resolve())
    with refusing(f"{path}: cannot write the database", sqlite3.Error, OSError):
        if path.exists() and path.stat().st_size > 0 and not is_being_created(path):
            check_is_optuna_sqlite(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path, timeout=WRITE_TIMEOUT_SECONDS)) as connection:
            _set_wal(connection)
            connection.execute("BEGIN IMMEDIATE")
            connection.rollback()


def _set_wal(connection: sqlite3.Connection) -> None:
    """Set WAL mode; SQLite itself does not wait if another run sets it at the same moment."""
    give_up = time.monotonic() + WRITE_TIMEOUT_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            is_busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not is_busy or time.monotonic() > give_up:
                raise
            time.sleep(WAL_AGAIN_SECONDS)


def _opening_errors() -> tuple[type[Exception], ...]:
    """Errors of an unusable URL, driver, server or schema; ValueError is for an invalid port."""
    from optuna.exceptions import StorageInternalError

    driver = (SQLAlchemyError, StorageInternalError, ImportError, RuntimeError, ValueError)
    return (*driver, AssertionError)  # Optuna's, if the version of the schema is missing


def _unopened(url: str, error: Exception) -> InputError:
    is_driver = isinstance(error, ImportError) and url.startswith("postgresql")
    why = "needs pip install 'optuna-study[postgres]'" if is_driver else one_line(error)
    if why.startswith("invalid literal for int()"):  # which repeats what may be a password
        why = "its port must be a number"
    return InputError(f"{hidden(url)}: cannot open the storage: {why}")


def close_after_writing(storage: RDBStorage) -> None:
    """Close the storage and merge SQLite's log into the file, so that it can be copied alone."""
    storage.remove_session()
    storage.engine.dispose()
    path = _sqlite_path(storage.url)
    if path is not None and path.is_file():
        # if the disk is full or another run is at work, the log keeps its content
        with (
            suppress(sqlite3.OperationalError),
            closing(sqlite3.connect(path, timeout=WRITE_TIMEOUT_SECONDS)) as connection,
        ):
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


# ---------------------------------------------------------------- reading

INCOMPLETE = "the journal's last record is incomplete and left out: the file was cut, or is written"


def open_read_only(target: str) -> BaseStorage:
    """Open what `target` names: a run folder, an SQLite file, a journal file or a storage URL.

    Raises InputError if there is nothing, or no Optuna storage.
    """
    if "://" in target and _sqlite_path(target) is None:
        return _open_url(target)
    path = _sqlite_path(target) or Path(target)
    if os.path.isdir(path):
        path = path / DATABASE_NAME
    check_regular(path)
    if not target or not os.path.isfile(path):
        raise InputError(
            f"{hidden(str(path)) if target else repr(target)}: no such file{_nearby(target)}; a "
            "target is a run folder, an SQLite or journal file, or a storage URL"
        )
    if first_bytes(path) == SQLITE_MAGIC:
        return _open_sqlite(path)
    if _looks_like_journal(path):
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        damage = (OSError, ValueError, LookupError, TypeError, AssertionError)
        with refusing(f"{path}: a damaged Optuna journal", *damage), silent_about_choices():
            return JournalStorage(JournalFileBackend(str(path)))
    raise InputError(f"{path}: neither an SQLite database nor an Optuna journal")


def study_names(target: str) -> list[str]:
    """Return the names of the studies in what `target` names, in the order they began."""
    with named_damage(hidden(target)):
        return [study.study_name for study in open_read_only(target).get_all_studies()]


def _nearby(target: str) -> str:
    """Say where a run folder's study is, or suggest run folders for a name or a folder of runs."""
    if os.path.isfile(Path(target, "spec.toml")):
        return (
            "; the study of this folder is in another storage: name that URL, with --study-name if "
            "it holds several"
        )
    if os.path.isfile(Path("runs", target, DATABASE_NAME)):
        return f"; did you mean {Path('runs', target)}?"
    databases = Path(target).glob(f"*/{DATABASE_NAME}") if os.path.isdir(target) else ()
    inside = sorted(str(path.parent) for path in databases)
    return f"; run folders in it: {', '.join(inside[:MOST_NAMED])}" if inside else ""


def database_of(storage: BaseStorage) -> sqlalchemy.Engine | None:
    """The SQL database behind a storage; None for a journal or an in-memory one."""
    backend = getattr(storage, "_backend", storage)  # Optuna wraps a URL's storage in a cache
    database = getattr(backend, "engine", None)
    return database if isinstance(database, sqlalchemy.Engine) else None


def left_out(storage: BaseStorage) -> str:
    """Say that a journal's last record is left out, which Optuna does silently; else empty."""
    path = getattr(getattr(storage, "_backend", None), "_file_path", None)
    if path is None:
        return ""
    with open(path, "rb") as file:
        last = next(iter(deque(file, maxlen=1)), b"")
    try:
        is_whole = not last.strip() or (json.loads(last) is not None and last.endswith(b"\n"))
    except ValueError:
        is_whole = False
    return "" if is_whole else INCOMPLETE


def _open_url(url: str) -> BaseStorage:
    """Open a database server; `default_transaction_read_only` keeps PostgreSQL from any change."""
    from optuna.storages import RDBStorage

    try:
        arguments = (
            {"options": "-c default_transaction_read_only=on"}
            if make_url(url).get_backend_name() == "postgresql"
            else {}
        )
        # a reader queries rarely: no connection stays open
        how = {"connect_args": arguments, "poolclass": sqlalchemy.NullPool}
        # not Optuna's engine: its storage would write the schema version that it misses
        database = sqlalchemy.create_engine(_verbatim(url), **how)
        tables = set(sqlalchemy.inspect(database).get_table_names())
    except _opening_errors() as error:
        raise _unopened(url, error) from error
    if not tables >= OPTUNA_TABLES:
        raise InputError(
            f"{hidden(url)}: contains no Optuna tables; allowed: a database that Optuna has used"
        )
    with refusing(f"{hidden(url)}: cannot read the database", *_opening_errors(), reason=one_line):
        if server_is_current(hidden(url), database):
            return RDBStorage(
                _verbatim(url),
                engine_kwargs=how,
                skip_compatibility_check=True,
                skip_table_creation=True,
            )
        copy = sqlalchemy.create_engine(sqlite_url(place_for_a_copy()))
        copy_tables(database, copy, {*CREATED_BY_OPTUNA, *schema.metadata.tables})
    copy.dispose()
    return _upgraded(Path(str(copy.url.database)), hidden(url))


def _open_sqlite(path: Path) -> BaseStorage:
    from optuna.storages import RDBStorage

    check_sidecars(path.resolve())
    source = undisturbed(path)
    check_is_optuna_sqlite(path, source)
    if not has_current_schema(path, source):
        return _upgraded(copied(path), str(path))
    with refusing(f"{path}: cannot read the database", *_opening_errors(), reason=one_line):
        return RDBStorage(
            "sqlite:///read-only",  # `creator` connects, since a URL cannot express its options
            engine_kwargs={
                "creator": lambda: connect_read_only(source),
                "poolclass": sqlalchemy.NullPool,  # a forked child must inherit no connection
            },
            skip_compatibility_check=True,
            skip_table_creation=True,
        )


def _upgraded(copy: Path, where: str) -> BaseStorage:
    """Upgrade a temporary copy of a study to the schema of the installed Optuna, and open it."""
    from optuna.storages import RDBStorage

    refused = refusing(f"{where}: its Optuna schema cannot be upgraded", reason=one_line)
    with refused, silent_about_upgrades():
        storage = RDBStorage(
            # tables that it lacks come with the upgrade: made before, they would be in its way
            sqlite_url(copy),
            skip_compatibility_check=True,
            skip_table_creation=True,
        )
        storage.upgrade()
    return storage


def _looks_like_journal(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            return "op_code" in json.loads(file.readline(1_000_000))
        except (ValueError, TypeError):
            return False


def _sqlite_path(url: str) -> Path | None:
    if not re.match(r"sqlite(\+\w+)?:", url):
        return None
    try:
        database = make_url(url).database
    except (ArgumentError, ValueError) as error:
        raise InputError(f"{hidden(url)}: not a storage URL; allowed: sqlite:///FILE") from error
    if not database or database == ":memory:" or database.startswith("file:"):
        raise InputError(f"{hidden(url)}: does not name a file; allowed: sqlite:///FILE")
    return Path(database)


def storage_problem(error: BaseException) -> str | None:
    """Return one line for an error of a damaged or vanished database; None for any other error."""
    from optuna.exceptions import StorageInternalError

    if not isinstance(error, (StorageInternalError, SQLAlchemyError, sqlite3.Error)):
        return None
    return f"cannot read or write the database: {one_line(error)}"


@contextmanager
def named_damage(
    where: str, kinds: type[Exception] | tuple[type[Exception], ...] = Exception
) -> Iterator[None]:
    """Turn any error from reading a damaged study into one InputError that says where.

    Optuna, SQLAlchemy, json and zlib raise a dozen kinds of exception, which all mean that the
    stored study is invalid.
    """
    try:
        yield
    except InputError:
        raise
    except kinds as error:
        kind = "" if storage_problem(error) else f"{type(error).__name__}: "
        raise InputError(f"{where}: cannot read the study: {kind}{one_line(error)}") from error


def one_line(error: BaseException) -> str:
    """Return the driver's own message, which Optuna and SQLAlchemy wrap, without passwords."""
    cause = error.__cause__ if isinstance(error.__cause__, SQLAlchemyError) else error
    cause = cause.orig if isinstance(cause, DBAPIError) and cause.orig is not None else cause
    line = " ".join(str(cause).split())[:300]
    if READ_ONLY in line:
        line = line.replace(READ_ONLY, f"{READ_ONLY}: is the disk full, or the folder read-only?")
    return hidden(line)
