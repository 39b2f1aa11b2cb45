"""Processes and threads: items on several cores, and one thread for many small matrices.

A command asks for several processes; otherwise everything runs in one.  Children inherit all that
this process has loaded.  Forking is safe on Linux, and where nothing else runs threads, which a
notebook cannot promise.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from study.freed_memory import keep_freed_memory
from study.signals import end_children, end_with

Item = TypeVar("Item")
Result = TypeVar("Result")

SELDOM = 50_000  # objects made between two collections of garbage

_processes = ContextVar("processes", default=1)
_inherited: tuple[Callable[[Any], Any], Sequence[Any]]


@contextmanager
def every_core() -> Iterator[None]:
    """Let `each` use one process per core; only for a process that a command has to itself."""
    keep_freed_memory()
    count = len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1
    token, often = _processes.set(count), gc.get_threshold()
    gc.set_threshold(SELDOM)  # or a twentieth of the time goes into looking through what is loaded
    try:
        yield
    finally:
        gc.set_threshold(*often)
        _processes.reset(token)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep BLAS to one thread for a while.

    A surrogate factorises matrices of a hundred rows thousands of times.  BLAS with several threads
    spends its time waking them: 64 trials took 13.9 s on two cores instead of 2.2 s on one.
    """
    import scipy.linalg
    import scipy.optimize  # noqa: F401  each brings a BLAS of its own; only what is loaded is kept
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(limits=1, user_api="blas"):
        yield


def each(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Yield `function(item)` for every item, in order; items and functions need not be picklable.

    Children inherit what is imported, so import first what the function needs.  This process does
    what a killed child leaves undone.
    """
    count = min(_processes.get(), len(items))
    if count < 2:
        yield from map(function, items)
        return
    done = 0
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(count, context, _begin, (os.getpid(), function, items)) as pool:
        try:
            for result in pool.map(_at, range(len(items))):
                yield result
                done += 1
        except BrokenProcessPool:
            yield from map(function, items[done:])
        except BaseException:  # interrupted: nobody needs what the children compute
            with _no_threads_tracebacks():  # the pool's own thread misses its children
                end_children()
                pool.shutdown(wait=True, cancel_futures=True)
            raise


@contextmanager
def _no_threads_tracebacks() -> Iterator[None]:
    """Keep threads from printing what ends them."""
    known, threading.excepthook = threading.excepthook, lambda _: None
    try:
        yield
    finally:
        threading.excepthook = known


def _begin(parent: int, function: Callable[[Any], Any], items: Sequence[Any]) -> None:
    """Set up a child: its work, no children of its own, and interrupts left to the parent."""
    global _inherited
    _inherited = function, items
    _processes.set(1)
    gc.freeze()  # a collection would copy what is inherited
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with(parent)


def _at(place: int) -> Any:
    function, items = _inherited
    return function(items[place])
