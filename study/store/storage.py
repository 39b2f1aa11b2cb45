"""Opening an Optuna storage: for writing by the runner, read-only by everybody else.

Reading creates nothing and changes nothing: `optuna.load_study` would create a missing SQLite file
and write its tables into a foreign one before it fails, so the file is looked at first.  A database
of an older Optuna is upgraded on a temporary copy only.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from study.errors import InputError

if TYPE_CHECKING:
    from optuna.storages import BaseStorage, RDBStorage

SQLITE_MAGIC = b"SQLite format 3\0"
BUSY_TIMEOUT_SECONDS = 60
DATABASE_NAME = "study.db"


def hidden(url: str) -> str:
    """The URL without its password, for every message, log and report."""
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return url.split("://")[0] + "://…" if "://" in url else url


def sqlite_url(path: Path) -> str:
    """The storage URL of an SQLite file."""
    return f"sqlite:///{path}"


# ---------------------------------------------------------------- writing


def open_for_writing(url: str) -> RDBStorage:
    """Open or create a storage for a run; an SQLite file gets WAL mode.

    Raises InputError where the file is something else, is locked, or cannot be reached.
    """
    from optuna.storages import RDBStorage

    path = _sqlite_path(url)
    if path is not None:
        _prepare_sqlite(path)
    arguments: dict[str, Any] = {"timeout": BUSY_TIMEOUT_SECONDS} if path is not None else {}
    try:
        return RDBStorage(url, engine_kwargs={"connect_args": arguments})
    except (SQLAlchemyError, ImportError, RuntimeError) as error:
        raise InputError(f"{hidden(url)}: cannot open the storage: {_one_line(error)}") from error


def _prepare_sqlite(path: Path) -> None:
    """Create the file in WAL mode, or make sure that an existing one is ours to write."""
    if path.exists() and path.stat().st_size > 0:
        _check_is_optuna_sqlite(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=5)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("BEGIN IMMEDIATE")
        connection.rollback()
        connection.close()
    except (sqlite3.Error, OSError) as error:
        raise InputError(f"{path}: cannot write the database: {error}") from error


def close_after_writing(storage: RDBStorage) -> None:
    """Release the storage and fold SQLite's log into the file, so that it can be copied alone."""
    storage.remove_session()
    storage.engine.dispose()
    path = _sqlite_path(storage.url)
    if path is not None:
        connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_SECONDS)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()


# ---------------------------------------------------------------- reading


def open_read_only(target: str) -> BaseStorage:
    """Open what `target` names: a run folder, an SQLite file, a journal file or a storage URL.

    Raises InputError where there is nothing, or something that is no Optuna storage.
    """
    if "://" in target and _sqlite_path(target) is None:
        return _open_url(target)
    path = _sqlite_path(target) or Path(target)
    if path.is_dir():
        path = path / DATABASE_NAME
    if not path.is_file():
        raise InputError(
            f"{path}: no such file; a target is a run folder, an SQLite or journal file, "
            "or a storage URL"
        )
    if _first_bytes(path) == SQLITE_MAGIC:
        return _open_sqlite(path)
    if _looks_like_journal(path):
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        return JournalStorage(JournalFileBackend(str(path)))
    raise InputError(f"{path}: neither an SQLite database nor an Optuna journal")


def engine_of(storage: BaseStorage) -> sqlalchemy.Engine | None:
    """The SQL engine behind a storage; None for a journal or an in-memory one."""
    backend = getattr(storage, "_backend", storage)  # Optuna wraps a URL's storage in a cache
    engine = getattr(backend, "engine", None)
    return engine if isinstance(engine, sqlalchemy.Engine) else None


def _open_url(url: str) -> BaseStorage:
    """A database server; `default_transaction_read_only` keeps PostgreSQL from any change."""
    from optuna.storages import RDBStorage

    try:
        arguments = (
            {"options": "-c default_transaction_read_only=on"}
            if make_url(url).get_backend_name() == "postgresql"
            else {}
        )
        storage = RDBStorage(
            url,
            engine_kwargs={"connect_args": arguments},
            skip_compatibility_check=True,
            skip_table_creation=True,
        )
    except (SQLAlchemyError, ImportError, RuntimeError) as error:
        raise InputError(f"{hidden(url)}: cannot open the storage: {_one_line(error)}") from error
    if not sqlalchemy.inspect(storage.engine).has_table("studies"):
        raise InputError(f"{hidden(url)}: holds no Optuna tables")
    return storage


def _open_sqlite(path: Path) -> BaseStorage:
    from optuna.storages import RDBStorage

    _check_is_optuna_sqlite(path)
    try:
        storage = RDBStorage(
            f"sqlite:///{_read_only_uri(path)}",
            engine_kwargs={"connect_args": {"timeout": BUSY_TIMEOUT_SECONDS}},
            skip_compatibility_check=True,
            skip_table_creation=True,
        )
        if storage.get_current_version() == storage.get_head_version():
            return storage
    except SQLAlchemyError as error:
        raise InputError(f"{path}: cannot read the database: {_one_line(error)}") from error
    return _open_upgraded_copy(path)


def _read_only_uri(path: Path) -> str:
    """SQLite's read-only URI; `immutable` where nobody writes, so that not even a log appears."""
    quoted = str(path.resolve()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    log = path.with_name(path.name + "-wal")
    immutable = "" if log.exists() and log.stat().st_size else "&immutable=1"
    return f"file:{quoted}?mode=ro{immutable}&uri=true"


def _check_is_optuna_sqlite(path: Path) -> None:
    if _first_bytes(path) != SQLITE_MAGIC:
        raise InputError(f"{path}: not an SQLite database")
    tables = {name for (name,) in _query(path, "SELECT name FROM sqlite_master WHERE type='table'")}
    if "studies" not in tables or "trials" not in tables:
        raise InputError(f"{path}: an SQLite database without Optuna's tables")


def _query(path: Path, query: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(_read_only_uri(path).replace("&uri=true", ""), uri=True)
    try:
        return connection.execute(query).fetchall()
    except sqlite3.Error as error:
        raise InputError(f"{path}: cannot read the database: {error}") from error
    finally:
        connection.close()


def _open_upgraded_copy(path: Path) -> BaseStorage:
    from optuna.storages import RDBStorage

    folder = tempfile.mkdtemp(prefix="optuna-study-")
    copy = Path(folder) / path.name
    shutil.copyfile(path, copy)
    try:
        storage = RDBStorage(sqlite_url(copy), skip_compatibility_check=True)
        storage.upgrade()
    except Exception as error:
        raise InputError(
            f"{path}: its Optuna schema cannot be upgraded: {_one_line(error)}"
        ) from error
    return storage


def _first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(len(SQLITE_MAGIC))
    except OSError as error:
        raise InputError(f"{path}: cannot read the file: {error.strerror}") from error


def _looks_like_journal(path: Path) -> bool:
    with path.open("rb") as file:
        try:
            return "op_code" in json.loads(file.readline(1_000_000))
        except (ValueError, TypeError):
            return False


def _sqlite_path(url: str) -> Path | None:
    if not url.startswith("sqlite:"):
        return None
    try:
        database = make_url(url).database
    except ArgumentError as error:
        raise InputError(f"{hidden(url)}: not a storage URL; allowed: sqlite:///FILE") from error
    if not database:
        raise InputError(f"{url}: names no file; allowed: sqlite:///FILE")
    return Path(os.path.expanduser(database))


def _one_line(error: BaseException) -> str:
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return " ".join(str(cause).split())[:300]
