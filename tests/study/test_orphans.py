"""Processes and files that nobody would clean up after a kill or a signal."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import sqlalchemy

from analysis import load
from study.signals import end_with
from study.store import schema
from study.store.live_runs import Parent, forget_the_dead
from study.store.storage import close_after_writing, open_for_writing, sqlite_url
from tests.synthetic import Shape, write_study

PARENT = """
import sys, time
from study.engines.pool.local_processes import ProcessLauncher
from tests.study.test_orphans import hold_the_lock
if __name__ == "__main__":
    channel = ProcessLauncher(hold_the_lock).launch(0)
    channel.send("load", (None, None, None, None))
    print(channel.process.pid, flush=True)
    time.sleep(600)
"""
SECONDS = 2.0


def hold_the_lock(*_: Any) -> None:
    """Build an engine as a library does that never lets another thread of Python run."""
    Path(os.environ["BEGUN"]).touch()
    ctypes.PyDLL(None).sleep(60)


def is_gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody waited for has."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until(holds: Callable[[], bool], seconds: float) -> bool:
    """Wait for something, no longer than so many seconds; return whether it holds."""
    end = time.monotonic() + seconds
    while not (held := holds()) and time.monotonic() < end:
        time.sleep(0.02)
    return held


@pytest.mark.slow
@pytest.mark.parametrize("moment", [0.0, 0.3, 1.0, None])
def test_a_worker_ends_with_its_parent(moment: float | None, tmp_path: Path) -> None:
    """Within two seconds: while it starts, while it imports, and while it loads a base."""
    begun = tmp_path / "begun"
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "BEGUN": str(begun)},
    )
    assert parent.stdout is not None
    with parent:
        worker = int(parent.stdout.readline())
        if moment is None:
            assert wait_until(begun.exists, 120)
        else:
            time.sleep(moment)
        parent.kill()
    assert wait_until(lambda: is_gone(worker), SECONDS)


def test_a_child_whose_parent_has_ended_does_not_begin() -> None:
    """The parent may end between the child's start and its wish to end with it."""
    child = os.fork()
    if not child:
        end_with(parent=-1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1


def test_a_lock_without_a_row_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is killed between its lock and its row leaves a lock that the next one removes."""
    storage = open_for_writing(sqlite_url(tmp_path / "study.db"))
    schema.create_tables(storage.engine)
    close_after_writing(storage)
    child = os.fork()
    if not child:
        monkeypatch.setattr(Parent, "_renew", lambda _: os.kill(os.getpid(), signal.SIGKILL))
        Parent(sqlalchemy.create_engine("sqlite://"), tmp_path).begin()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert len([*tmp_path.glob(".lock-*")]) == 1
    forget_the_dead(storage.engine, tmp_path)
    assert not [*tmp_path.glob(".lock-*")]


def killed_writer(folder: Path) -> Path:
    """Write a run folder as a killed run leaves it: with a log that reading needs a copy for."""
    write_study(folder, Shape(complete=24))
    child = os.fork()
    if not child:
        engine = sqlalchemy.create_engine(sqlite_url(folder / "study.db"))
        with engine.begin() as connection:
            connection.exec_driver_sql("UPDATE studies SET study_name = 'killed'")
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    (folder / "study.db-shm").unlink()
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize("command", [("show", "--watch"), ("importance",), ("report",)])
def test_a_reader_that_is_stopped_leaves_nothing(
    command: tuple[str, ...], number: signal.Signals, tmp_path: Path
) -> None:
    """Neither its copy of the database nor its own processes, and the status says the signal."""
    folder = killed_writer(tmp_path / "run")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    before = sorted(folder.iterdir())
    reader = subprocess.Popen(
        [sys.executable, "-m", "optuna_study", *command, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(temporary), "PYTHONUNBUFFERED": "1"},
    )
    with reader:
        assert wait_until(lambda: bool([*temporary.glob("optuna-study-*/copy.db")]), 120)
        if "--watch" not in command:  # which ends by itself, since no run is alive
            time.sleep(1.0)
        children = psutil.Process(reader.pid).children(recursive=True)
        reader.send_signal(number)
        _, complaints = reader.communicate(timeout=60)
    # Python itself ends by the signal if that came while it ran a text, as dataclasses do
    assert reader.returncode in (128 + number, -number), complaints
    assert b"Traceback" not in complaints
    assert not [*temporary.iterdir()]
    assert sorted(folder.iterdir()) == before
    assert wait_until(lambda: all(is_gone(child.pid) for child in children), SECONDS)
    assert load(folder).name == "killed"
