"""Wait for a database server that is away, such as one that restarts, and lose nothing.

What a run reads or writes is one transaction each, which is repeated once the server answers again.
If the answer to a commit was lost, nobody knows whether it happened: what must not happen twice
looks first, where `is_repeating` says so.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from study.signals import is_stopping

AWAY_SECONDS = 600.0  # a run gives up afterwards
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0  # seconds between attempts, doubled each time
AWAY = ("08", "57P", "53300")  # SQLSTATE: connection lost, shutting down, too many connections

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class Patience:
    """Repeats what a server's absence interrupted, in the thread that made it."""

    def __init__(self, remark: Callable[[str], None]) -> None:
        self._remark = remark
        self._thread = threading.get_ident()
        self._is_inside = False
        self.is_repeating = False
        self.answered_at = -math.inf  # after the last time away, by time.monotonic

    def __call__(self, act: Callable[[], Result]) -> Result:
        """Return what `act` returns, at the latest AWAY_SECONDS after the server went away."""
        if self._is_inside or threading.get_ident() != self._thread:
            return act()
        self._is_inside = True
        try:
            return self._until_it_answers(act)
        finally:
            self._is_inside = self.is_repeating = False

    def _until_it_answers(self, act: Callable[[], Result]) -> Result:
        began, pause = 0.0, FIRST_PAUSE
        while True:
            try:
                result = act()
            except Exception as error:
                began = began or time.monotonic()
                waited = time.monotonic() - began
                if not is_away(error) or is_stopping() or waited > AWAY_SECONDS:
                    raise
                if not self.is_repeating:
                    minutes = AWAY_SECONDS / 60
                    self._remark(
                        f"the database server is away; trying again for {minutes:.0f} minutes"
                    )
                self.is_repeating = True
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
                continue
            if self.is_repeating:
                self.answered_at = time.monotonic()
                seconds = self.answered_at - began
                self._remark(f"the database server answers again, after {seconds:.1f} s")
            return result


_PATIENCE: WeakKeyDictionary[Engine, Patience] = WeakKeyDictionary()


def is_away(error: BaseException) -> bool:
    """Whether an error says that the server, and not what it was asked, is the problem."""
    cause = error if isinstance(error, DBAPIError) else error.__cause__  # Optuna wraps it
    if not isinstance(cause, DBAPIError):
        return False
    if cause.connection_invalidated:
        return True
    driver = cause.orig
    if not type(driver).__module__.startswith("psycopg"):
        return False
    state = getattr(driver, "sqlstate", None) or getattr(driver, "pgcode", None)
    is_refused = state is None and type(driver).__name__ in ("OperationalError", "InterfaceError")
    return is_refused or str(state).startswith(AWAY)


def be_patient(database: Engine, remark: Callable[[str], None]) -> Patience:
    """Let what is decorated with `outlasting` wait for this server; `remark` shows a line."""
    return _PATIENCE.setdefault(database, Patience(remark))


def is_repeating(database: Engine) -> bool:
    """Whether an earlier attempt of the same call may have been committed."""
    patience = _PATIENCE.get(database)
    return patience is not None and patience.is_repeating


def answers_again(database: Engine) -> None:
    """Note that a server that was away is back."""
    if patience := _PATIENCE.get(database):
        patience.answered_at = time.monotonic()


def seconds_back(database: Engine) -> float:
    """Return for how long a server has answered again; infinite if it was never away."""
    patience = _PATIENCE.get(database)
    return math.inf if patience is None else time.monotonic() - patience.answered_at


def outlasting(act: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Repeat a function of a database, or a method of an object that has one, while it is away."""

    @wraps(act)
    def patiently(*arguments: Arguments.args, **options: Arguments.kwargs) -> Result:
        patience = _PATIENCE.get(_database_of(arguments[0]))
        if patience is None:
            return act(*arguments, **options)
        return patience(lambda: act(*arguments, **options))

    return patiently


def _database_of(first: Any) -> Engine:
    found = first if isinstance(first, Engine) else getattr(first, "_database", None)
    return found if isinstance(found, Engine) else first.engine
