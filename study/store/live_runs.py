"""The runs at work on a storage, the parents of its trials, and which of them are alive.

Each run renews the time in its row by the clock of the database, so that the machines' clocks need
not agree.  A killed run in the same run folder is noticed at once, because the system released its
lock file.  Lock files are found by listing the folder, never by a name from the database, which
other people may write to.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout
from sqlalchemy import ColumnElement, Double, Engine, delete, inspect, literal_column, select
from sqlalchemy.exc import SQLAlchemyError

from study.store import schema
from study.store.folders import is_plain_file
from study.store.outlasting import answers_again, outlasting, seconds_back

HEARTBEAT_SECONDS = 10.0
GRACE_SECONDS = 90.0  # without a heartbeat, before its trials are given to others
LOCK_SECONDS = 10.0  # another run's clean-up may hold a new lock briefly
LOCK_FILE = re.compile(r"\.lock-(?P<id>[0-9a-f]{32})")

CLOCKS = {
    "sqlite": "(julianday('now') - 2440587.5) * 86400.0",
    "postgresql": "CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS DOUBLE PRECISION)",
}
ROWS = schema.parents.c


class Parent:
    """This run's row, renewed by a thread, since training steps may be long."""

    def __init__(self, database: Engine, folder: Path) -> None:
        self.id = uuid.uuid4().hex
        self._database = database
        self._lock = FileLock(folder.resolve() / f".lock-{self.id}")
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def begin(self) -> None:
        """Register as alive; take the lock first, so that no other run considers this one dead."""
        self._lock.acquire(timeout=LOCK_SECONDS)
        self._renew()
        self._thread.start()

    def end(self) -> None:
        """Leave; other runs may then take what this one still holds."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        self._lock.release()
        with contextlib.suppress(SQLAlchemyError):  # then the free lock shows it
            _forget(self._database, self.id)
            Path(self._lock.lock_file).unlink(missing_ok=True)

    def _beat(self) -> None:
        was_away = False
        while not self._stopping.wait(HEARTBEAT_SECONDS):
            try:
                self._renew()
            except SQLAlchemyError:  # the runner will run into the problem itself
                was_away = True
                continue
            if was_away:
                answers_again(self._database)
                was_away = False

    @outlasting
    def _renew(self) -> None:
        """Write the time, and restore the row if another run considered this one dead."""
        now = _now(self._database)
        with self._database.begin() as connection:
            row = schema.insert_or(connection, schema.parents).values(
                parent_id=self.id,
                host=socket.gethostname(),
                lock_file=Path(self._lock.lock_file).name,
                seen_at=now,
            )
            connection.execute(
                row.on_conflict_do_update(index_elements=[ROWS.parent_id], set_={"seen_at": now})
            )


def _now(database: Engine) -> ColumnElement[float]:
    """Seconds since 1970, by the clock of the database."""
    return literal_column(CLOCKS[database.dialect.name], Double)


@outlasting
def forget_the_dead(database: Engine, folder: Path) -> None:
    """Remove the rows of dead runs, and the locks that they left in a folder."""
    query = select(ROWS.parent_id, ROWS.host, ROWS.seen_at, _now(database) - ROWS.seen_at)
    with released_locks(folder) as released:
        with database.connect() as connection:
            rows = connection.execute(query).all()
        for parent, host, seen_at, age in rows:
            is_released = host == socket.gethostname() and parent in released
            is_silent = age > GRACE_SECONDS and seconds_back(database) > 2 * HEARTBEAT_SECONDS
            if is_silent or is_released:
                _forget(database, parent, seen_at)
            elif parent in released:  # another machine's: a shared disk may not show its lock
                del released[parent]
        for lock_file in released.values():
            lock_file.unlink(missing_ok=True)


def is_any_alive(database: Engine, folder: Path | None) -> bool:
    """Whether a run works on a storage, as far as its row and a run folder's locks show."""
    if database.dialect.name not in CLOCKS or not inspect(database).has_table(schema.parents.name):
        return True
    query = select(ROWS.parent_id, ROWS.host, _now(database) - ROWS.seen_at)
    with contextlib.ExitStack() as holding:
        released = holding.enter_context(released_locks(folder)) if folder else {}
        with database.connect() as connection:
            rows = connection.execute(query).all()
        return any(
            age <= GRACE_SECONDS and not (host == socket.gethostname() and parent in released)
            for parent, host, age in rows
        )


@contextlib.contextmanager
def released_locks(folder: Path) -> Iterator[dict[str, Path]]:
    """Yield a run folder's lock files that no run holds, by run id, and lock them meanwhile."""
    with contextlib.ExitStack() as holding:
        released = {}
        for path in sorted(folder.resolve().glob(".lock-*")):
            named = LOCK_FILE.fullmatch(path.name)
            if named and is_plain_file(path):
                with contextlib.suppress(Timeout, OSError):
                    holding.enter_context(FileLock(path).acquire(timeout=0))
                    released[named["id"]] = path
        yield released


def _forget(database: Engine, parent: str, seen_at: float | None = None) -> None:
    """Remove a row, unless it was renewed after `seen_at`."""
    row = delete(schema.parents).where(ROWS.parent_id == parent)
    with database.begin() as connection:
        connection.execute(row if seen_at is None else row.where(ROWS.seen_at == seen_at))
