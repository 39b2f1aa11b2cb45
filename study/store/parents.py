"""The runs that are at work on a storage, and how they see of each other who is alive.

Each has a row whose time it renews, by the clock of the database, so that no two machines need
agree on the hour.  On its own machine a run that was killed is found out at once: the system has
released its lock file.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import uuid
from pathlib import Path

from filelock import FileLock, Timeout
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

HEARTBEAT_SECONDS = 10.0
GRACE_SECONDS = 90.0  # without a heartbeat; then its trials are given to others

CLOCKS = {
    "sqlite": "(julianday('now') - 2440587.5) * 86400.0",
    "postgresql": "CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS DOUBLE PRECISION)",
}


class Parent:
    """This run's own row, kept fresh by a thread: training may leave no time between reports."""

    def __init__(self, database: Engine, folder: Path) -> None:
        self.id = uuid.uuid4().hex
        self._database = database
        self._lock = FileLock(folder.resolve() / f".lock-{self.id}")
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def begin(self) -> None:
        """Take a place among the living; the lock comes first, so that nobody thinks it dead."""
        self._lock.acquire(timeout=0)
        self._renew()
        self._thread.start()

    def end(self) -> None:
        """Leave; what it still holds is free to be taken."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        self._lock.release()
        with contextlib.suppress(SQLAlchemyError):  # then the free lock says it
            _forget(self._database, self.id)
            Path(self._lock.lock_file).unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._stopping.wait(HEARTBEAT_SECONDS):
            with contextlib.suppress(SQLAlchemyError):  # the runner will meet the problem itself
                self._renew()

    def _renew(self) -> None:
        """Write the time, and the row where somebody took this run for dead."""
        now = CLOCKS[self._database.dialect.name]
        with self._database.begin() as connection:
            connection.execute(
                text(
                    f"INSERT INTO run_parents VALUES (:p, :h, :l, {now}) "
                    f"ON CONFLICT (parent_id) DO UPDATE SET seen_at = {now}"
                ),
                {"p": self.id, "h": socket.gethostname(), "l": str(self._lock.lock_file)},
            )


def forget_the_dead(database: Engine) -> None:
    """Remove the rows of runs that ended without saying so."""
    now = CLOCKS[database.dialect.name]
    with database.connect() as connection:
        rows = connection.execute(
            text(f"SELECT parent_id, host, lock_file, seen_at, {now} - seen_at FROM run_parents")
        ).all()
    for parent, host, lock_file, seen_at, age in rows:
        is_here = host == socket.gethostname()
        if age > GRACE_SECONDS or (is_here and _is_released(Path(lock_file))):
            _forget(database, parent, seen_at)
            if is_here:
                Path(lock_file).unlink(missing_ok=True)


def _forget(database: Engine, parent: str, seen_at: float | None = None) -> None:
    """Remove a row, unless it was renewed since it was `seen_at`."""
    unchanged = "" if seen_at is None else " AND seen_at = :s"
    with database.begin() as connection:
        connection.execute(
            text(f"DELETE FROM run_parents WHERE parent_id = :p{unchanged}"),
            {"p": parent, "s": seen_at},
        )


def _is_released(path: Path) -> bool:
    """Whether a lock file is there and nobody holds it; one that is not there says nothing."""
    if not path.is_file():
        return False
    try:
        with FileLock(path).acquire(timeout=0):
            return True
    except (Timeout, OSError):
        return False
