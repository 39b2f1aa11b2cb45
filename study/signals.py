"""Stopping a run by SIGINT or SIGTERM without tearing a write apart."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def stop_signals() -> Iterator[Callable[[], Any]]:
    """Turn SIGINT and SIGTERM into KeyboardInterrupt, but only where nothing is being written.

    Yields a context manager that encloses the places where the interrupt may be raised.  A second
    SIGINT interrupts anywhere, as Python itself does.
    """
    state = {"requested": False, "inside": False}

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
