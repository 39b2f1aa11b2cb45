"""The runs that are at work on a storage, and how they see of each other who is alive.

Each has a row whose time it renews, by the clock of the database, so that no two machines need
agree on the hour.  In its own run folder a run that was killed is found out at once: the system has
released its lock file there.  Which file that is, a folder's listing says and never the database,
which other people may write to.
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
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from study.store.folders import is_plain_file

HEARTBEAT_SECONDS = 10.0
GRACE_SECONDS = 90.0  # without a heartbeat; then its trials are given to others
LOCK_SECONDS = 10.0  # somebody who tidies may hold a new lock for a moment
LOCK_FILE = re.compile(r"\.lock-(?P<id>[0-9a-f]{32})")

CLOCKS = {
    "sqlite": "(julianday('now') - 2440587.5) * 86400.0",
    "postgresql": "CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS DOUBLE PRECISION)",
}


class Parent:
    """This run's own row, kept fresh by a thread: training may leave no time between reports."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.id = uuid.uuid4().hex
        self._engine = engine
        self._lock = FileLock(folder.resolve() / f".lock-{self.id}")
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def begin(self) -> None:
        """Take a place among the living; the lock comes first, so that nobody thinks it dead."""
        self._lock.acquire(timeout=LOCK_SECONDS)
        self._renew()
        self._thread.start()

    def end(self) -> None:
        """Leave; what it still holds is free to be taken."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        self._lock.release()
        with contextlib.suppress(SQLAlchemyError):  # then the free lock says it
            _forget(self._engine, self.id)
            Path(self._lock.lock_file).unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._stopping.wait(HEARTBEAT_SECONDS):
            with contextlib.suppress(SQLAlchemyError):  # the runner will meet the problem itself
                self._renew()

    def _renew(self) -> None:
        """Write the time, and the row where somebody took this run for dead."""
        now = CLOCKS[self._engine.dialect.name]
        with self._engine.begin() as connection:
            connection.execute(
                text(
                    f"INSERT INTO run_parents VALUES (:p, :h, :l, {now}) "
                    f"ON CONFLICT (parent_id) DO UPDATE SET seen_at = {now}"
                ),
                {"p": self.id, "h": socket.gethostname(), "l": Path(self._lock.lock_file).name},
            )


def forget_the_dead(engine: Engine, folder: Path) -> None:
    """Remove the rows of runs that ended without saying so, and the locks they left in a folder."""
    now = CLOCKS[engine.dialect.name]
    with released_locks(folder) as released:
        with engine.connect() as connection:
            rows = connection.execute(
                text(f"SELECT parent_id, host, seen_at, {now} - seen_at FROM run_parents")
            ).all()
        for parent, host, seen_at, age in rows:
            is_released = host == socket.gethostname() and parent in released
            if age > GRACE_SECONDS or is_released:
                _forget(engine, parent, seen_at)
            elif parent in released:  # another machine's: a shared disk may not show who holds it
                del released[parent]
        for lock_file in released.values():
            lock_file.unlink(missing_ok=True)


@contextlib.contextmanager
def released_locks(folder: Path) -> Iterator[dict[str, Path]]:
    """Yield the lock files of a run folder that no run holds, by the run's id; held meanwhile."""
    with contextlib.ExitStack() as holding:
        found = {}
        for path in sorted(folder.resolve().glob(".lock-*")):
            named = LOCK_FILE.fullmatch(path.name)
            if named and is_plain_file(path):
                with contextlib.suppress(Timeout, OSError):
                    holding.enter_context(FileLock(path).acquire(timeout=0))
                    found[named["id"]] = path
        yield found


def _forget(engine: Engine, parent: str, seen_at: float | None = None) -> None:
    """Remove a row, unless it was renewed since it was `seen_at`."""
    unchanged = "" if seen_at is None else " AND seen_at = :s"
    with engine.begin() as connection:
        connection.execute(
            text(f"DELETE FROM run_parents WHERE parent_id = :p{unchanged}"),
            {"p": parent, "s": seen_at},
        )
