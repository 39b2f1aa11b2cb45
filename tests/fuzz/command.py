"""The command line called in this process: fast enough for thousands of wrong inputs."""

from __future__ import annotations

import hashlib
import io
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from optuna_study.cli import app

MOST_SECONDS = 300  # of CPU time, far beyond what is needed: a hang, not a slow machine
MOST_WAITING = 4 * MOST_SECONDS  # on the clock: others may use the machine too


class HangError(BaseException):
    """Something takes for ever; no exception that a command could take for its own."""


class Ran(NamedTuple):
    """What a command printed and how it ended."""

    status: int
    out: str
    err: str


def command(*arguments: object) -> Ran:
    """Run `optuna-study`; anything that would be a traceback is raised here."""
    out, err, status = io.StringIO(), io.StringIO(), 0
    with (
        mock.patch.object(sys, "argv", ["optuna-study", *map(str, arguments)]),
        redirect_stdout(out),
        redirect_stderr(err),
        in_time(),
    ):
        try:
            app.main()
        except SystemExit as ended:
            status = int(ended.code or 0)
    return Ran(status, out.getvalue(), err.getvalue())


def accepted(*arguments: object) -> bool:
    """Run a command that must be done, or refused in one line or several; say which."""
    ran = command(*arguments)
    if ran.status == 0:
        return True
    assert ran.status == 2, ran
    assert ran.err.strip(), "status 2 without a word"
    assert all(is_problem(line) for line in ran.err.splitlines()), ran.err
    return False


def is_problem(line: str) -> bool:
    """Say whether a line reads as `where: rule, got X; allowed Y`, and can be printed."""
    return line.isprintable() and ": " in line and len(line) < 1100


@contextmanager
def in_time() -> Iterator[None]:
    """Raise where something computes or waits for ever."""

    def expired(number: int, _: Any) -> None:
        raise HangError("still computing" if number == signal.SIGPROF else "still waiting")

    timers = (
        (signal.SIGPROF, signal.ITIMER_PROF, MOST_SECONDS),
        (signal.SIGALRM, signal.ITIMER_REAL, MOST_WAITING),
    )
    before = [signal.signal(number, expired) for number, _, _ in timers]
    left = [signal.setitimer(timer, seconds)[0] for _, timer, seconds in timers]
    try:
        yield
    finally:
        for (number, timer, _), handler, seconds in zip(timers, before, left, strict=True):
            signal.setitimer(timer, 0)
            signal.signal(number, handler)
            signal.setitimer(timer, seconds)  # of what this is a part of


def fingerprint(folder: Path) -> dict[str, str]:
    """Return every file of a folder with a hash of what it holds."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@contextmanager
def quiet() -> Iterator[None]:
    """Let libraries warn of nonsense without failing: what counts is how the command ends."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
