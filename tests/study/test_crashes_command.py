"""The real command, with real workers: killed, stopped, and out of disk."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from random import Random

import psutil
import pytest
from optuna.trial import TrialState

from benchmarks.storage_runs import cheap_spec, start
from study.spec.sections import StudySpec
from tests.cheap_runs import Found, look

Runner = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Runner]:
    """Return a function that begins `optuna-study run` in a session of its own."""
    begun: list[subprocess.Popen[str]] = []

    def begin(spec: StudySpec, *options: str) -> subprocess.Popen[str]:
        file = tmp_path / "study.toml"
        file.write_text(spec.to_toml())
        arguments = [str(file), "--out", str(tmp_path / "run"), "--workers", "2", *options]
        begun.append(
            subprocess.Popen(
                [sys.executable, "-m", "optuna_study", "run", *arguments],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        )
        return begun[-1]

    yield begin
    for process in begun:
        process.kill()
        process.communicate()


def descendants(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The workers, and what they started."""
    return psutil.Process(process.pid).children(recursive=True)


def wait_for_trials(folder: Path, count: int, process: subprocess.Popen[str]) -> None:
    """Wait until so many trials are complete, or the run is over."""
    query = "SELECT count(*) FROM trials WHERE state = 'COMPLETE'"
    while process.poll() is None:
        time.sleep(0.02)
        with suppress(sqlite3.Error), closing(sqlite3.connect(folder / "study.db")) as connection:
            if connection.execute(query).fetchone()[0] >= count:
                return


def assert_exact(found: Found, total: int) -> None:
    """Nothing runs any more, and the total is exact."""
    assert all(t.state.is_finished() for t in found.trials)
    assert len(found.counted()) == total
    assert sorted(claim for claim, _, _ in found.claims if claim >= 0) == list(range(total))
    assert {state for _, state, _ in found.claims} == {"done"}
    assert found.parents == 0


@pytest.mark.slow
def test_the_command_is_killed_and_continued(
    command: Runner, make_spec: Callable[..., StudySpec], tmp_path: Path
) -> None:
    """Parent, worker or the whole group at random moments; no worker outlives its parent."""
    spec = make_spec({"search.trials": 24})
    rng = Random(0)
    for whom in ("parent", "worker", "group", "parent", "worker"):
        process = command(spec)
        wait_for_trials(tmp_path / "run", 1, process)
        time.sleep(rng.uniform(0, 0.5))
        if process.poll() is not None:
            break
        workers = descendants(process)
        if whom == "worker" and workers:
            rng.choice(workers).kill()
        elif whom == "group":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.communicate()
        gone, alive = psutil.wait_procs(workers, timeout=20)
        assert alive == []
        assert len(gone) == len(workers)
    process = command(spec)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert_exact(look(str(tmp_path / "run")), 24)


@pytest.fixture
def interrupted(
    command: Runner, make_spec: Callable[..., StudySpec], tmp_path: Path
) -> subprocess.Popen[str]:
    """Return a long run that is told to stop, as a terminal tells all its processes."""
    process = command(make_spec({"search.trials": 4000}))
    wait_for_trials(tmp_path / "run", 3, process)
    os.killpg(process.pid, signal.SIGINT)
    return process


@pytest.mark.slow
def test_ctrl_c_ends_with_a_report(interrupted: subprocess.Popen[str], tmp_path: Path) -> None:
    """The terminal sends it to every process: the reports are finished, and a line says how on."""
    output, errors = interrupted.communicate(timeout=120)
    assert interrupted.returncode == 130, errors
    assert "Some trials are missing. Repeat the same command to continue." in errors
    assert "report.html" in output
    assert (tmp_path / "run" / "report.html").is_file()
    found = look(str(tmp_path / "run"))
    assert all(t.state.is_finished() for t in found.trials)
    assert 3 <= len(found.complete()) < 4000


@pytest.mark.slow
def test_ctrl_c_twice_ends_at_once(
    interrupted: subprocess.Popen[str],
    command: Runner,
    make_spec: Callable[..., StudySpec],
    tmp_path: Path,
) -> None:
    """No report, no traceback, one line; and nothing is lost."""
    time.sleep(0.02)
    os.killpg(interrupted.pid, signal.SIGINT)
    _, errors = interrupted.communicate(timeout=60)
    assert interrupted.returncode == 130
    assert "Traceback" not in errors
    assert "Repeat the same command to continue" in errors
    total = sum(claim >= 0 for claim, _, _ in look(str(tmp_path / "run")).claims)  # begun, all
    command(make_spec({"search.trials": total})).communicate()
    assert_exact(look(str(tmp_path / "run")), total)


@pytest.mark.whole
def test_a_full_disk_ends_in_one_line(small_disk: Path, tmp_path: Path) -> None:
    """What was told is kept; with room again the same command continues to the exact total."""
    problems = tmp_path / "problems"
    run = start(cheap_spec(3000), small_disk / "run", seconds=0.0, problems=problems)
    run.join()
    assert run.exitcode == 2
    (line,) = problems.read_text().splitlines()
    assert "run the same command" in line
    told = look(str(small_disk / "run")).complete()
    assert 0 < len(told) < 3000
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    total = len(told) + 20
    again = start(cheap_spec(total), small_disk / "run", seconds=0.0)
    again.join()
    assert again.exitcode == 0
    found = look(str(small_disk / "run"))
    assert told.items() <= found.complete().items()
    assert_exact(found, total)
    assert TrialState.RUNNING not in [t.state for t in found.trials]
