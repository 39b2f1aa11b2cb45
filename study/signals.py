"""Stop a run by SIGINT or SIGTERM without interrupting a write; end with the parent process."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

ENDING = ("SIGTERM", "SIGHUP")
"""The signals by which a system or a closed terminal ends a command."""
PR_SET_PDEATHSIG = 1  # Linux's prctl: the signal that a process gets when its parent ends

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


@contextmanager
def ending_cleanly() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end a command as an exit does: temporary files are deleted.

    Children that compute for it are killed, since nobody needs their results.
    """

    def handler(number: int, frame: Any) -> NoReturn:
        signal.signal(number, signal.SIG_DFL)  # a second one ends it at once
        end_children()
        sys.exit(128 + number)

    named = [getattr(signal, name) for name in ENDING if hasattr(signal, name)]
    default = [number for number in named if signal.getsignal(number) == signal.SIG_DFL]
    try:
        for number in default:  # not one that is ignored, as under nohup
            signal.signal(number, handler)
    except ValueError:  # not the main thread
        default = []
    try:
        yield
    finally:
        for number in default:
            signal.signal(number, signal.SIG_DFL)


def end_children() -> None:
    """Kill the processes that this one started by multiprocessing."""
    for child in multiprocessing.active_children():
        child.kill()


# ---------------------------------------------------------------- in a child


def end_with(parent: int) -> None:
    """Let the system kill this process as soon as its parent ends, whatever it is doing; on Linux.

    A thread could not do it while a library loads a base and holds Python's lock.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before
        os._exit(1)


@dataclass(frozen=True)
class EndsWith:
    """When a spawned process unpickles this, it begins to end with its parent.

    Put it first in the arguments: what comes after it may import for seconds.
    """

    parent: int

    def __reduce__(self) -> tuple[Callable[[int], None], tuple[int]]:
        """Unpickle as None, after a call of `end_with`."""
        return end_with, (self.parent,)


def call(first: None, function: Callable[..., Any], *arguments: Any) -> None:
    """Call a function in a process whose arguments begin with `EndsWith`."""
    function(*arguments)
