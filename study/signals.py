"""Stop a run by SIGINT or SIGTERM without interrupting a write."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_STATE = {"requested": False, "inside": False}


def is_stopping() -> bool:
    """Return whether a signal has asked the run to stop."""
    return _STATE["requested"]


@contextmanager
def stop_signals() -> Iterator[Callable[[], Any]]:
    """Turn SIGINT and SIGTERM into KeyboardInterrupt, but not while something is written.

    Yields a context manager for the code in which the interrupt may be raised.  A second SIGINT
    interrupts anywhere, as in Python by default.
    """
    state = _STATE
    state.update(requested=False, inside=False)

    def handler(number: int, frame: Any) -> None:
        state["requested"] = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if state["inside"]:
            raise KeyboardInterrupt

    @contextmanager
    def interruptible() -> Iterator[None]:
        state["inside"] = True
        try:
            if state["requested"]:
                raise KeyboardInterrupt
            yield
        finally:
            state["inside"] = False

    try:
        before = {s: signal.signal(s, handler) for s in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread: signals are handled elsewhere
        yield interruptible
        return
    try:
        yield interruptible
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
