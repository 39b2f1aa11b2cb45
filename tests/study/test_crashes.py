"""Runs that are killed, stopped and starved: nothing is lost, nothing is counted twice."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from random import Random
from typing import Any

import pytest
from optuna.trial import TrialState

from benchmarks.storage_runs import CheapEngine, cheap_spec, run_cheaply, start
from study.errors import InputError
from study.store import storage
from study.store.storage import sqlite_url
from tests.cheap_runs import Found, assert_best_kept, assert_whole, expected_table, look

Starter = Callable[..., ForkServerProcess]


@pytest.fixture
def begin() -> Iterator[Starter]:
    """Return `start`, whose processes end with the test."""
    begun: list[ForkServerProcess] = []

    def starter(*arguments: Any, **options: Any) -> ForkServerProcess:
        begun.append(start(*arguments, **options))
        return begun[-1]

    yield starter
    for process in begun:
        process.kill()
        process.join()


def finish(process: ForkServerProcess, status: int = 0) -> None:
    """Wait for a run's end."""
    process.join(timeout=300)
    assert process.exitcode == status


def told(target: str) -> dict[int, list[float]]:
    """The COMPLETE trials of a study that may not be there yet."""
    try:
        return look(target).complete()
    except (InputError, ValueError):  # killed before the study was made
        return {}
    except Exception as error:
        if storage.storage_problem(error):
            return {}
        raise


def kill_often(
    begin: Starter, outs: list[Path], url: str, trials: int, kills: int, longest: float
) -> int:
    """Kill runs at random moments until so many were killed; returns the total they have now.

    What was told before a kill is told afterwards.  A study that comes to its end gets more trials.
    """
    rng = Random(kills)
    runs: dict[Path, ForkServerProcess] = {}
    known: dict[int, list[float]] = {}
    while kills > 0:
        for out in outs:
            if out not in runs or not runs[out].is_alive():
                assert out not in runs or runs[out].exitcode in (0, -signal.SIGKILL)
                trials += trials * (out in runs and runs[out].exitcode == 0)
                runs[out] = begin(cheap_spec(trials), out, url)
        time.sleep(rng.uniform(0, longest))
        victim = runs[rng.choice(outs)]
        if victim.is_alive():
            victim.kill()
            victim.join()
            kills -= victim.exitcode == -signal.SIGKILL
            now = told(url)
            assert known.items() <= now.items()
            known = now
    for out, process in runs.items():
        if not process.is_alive():  # nobody needs to wait for what the killed one held
            runs[out] = begin(cheap_spec(trials), out, url)
    for process in runs.values():
        process.join()
    return trials


def killed_often(begin: Starter, folder: Path, **how_often: Any) -> tuple[int, Found]:
    """Kill a run often, let it finish, and hold it whole; return its trials and what they left."""
    out = folder / "run"
    total = kill_often(begin, [out], sqlite_url(out / "study.db"), **how_often)
    finish(begin(cheap_spec(total), out))
    found = look(str(out))
    assert_whole(found, total)
    assert_best_kept(found, out)
    return total, found


@pytest.mark.whole
def test_a_run_killed_at_any_moment_is_continued(begin: Starter, tmp_path: Path) -> None:
    """After SIGKILL the same command continues at once; the study is that of a run left alone."""
    total, found = killed_often(begin, tmp_path, trials=12, kills=2, longest=0.4)
    given_up = total - len(found.complete())
    missing = set(map(str, expected_table(total, tmp_path / "whole")))
    assert len(missing - set(map(str, found.table()))) == given_up
    with closing(sqlite3.connect(tmp_path / "run" / "study.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    left = {
        path.name for path in (tmp_path / "run").iterdir() if not path.name.startswith("study.db-")
    }
    assert left == {".lock", "study.db", "spec.toml", "adapters"}


@pytest.mark.whole
def test_two_runs_give_the_table_of_one(begin: Starter, tmp_path: Path) -> None:
    """Seeds, points and values do not depend on how many runs share the storage."""
    url = sqlite_url(tmp_path / "shared.db")
    enqueue = [{"alpha": 8.0}, {"alpha": 16.0, "learning_rate": 0.001}, {"alpha": 8.0}]
    spec = cheap_spec(20, enqueue=enqueue)
    outs = [tmp_path / "a", tmp_path / "b"]
    for process in [begin(spec, out, url) for out in outs]:
        finish(process)
    finish(begin(spec, tmp_path / "one"))
    found, one = look(url), look(str(tmp_path / "one"))
    for each in (found, one):
        assert_whole(each, 20)
        assert [t.params["alpha"] for t in each.trials if "enqueued" in t.user_attrs].count(8) == 2
    assert found.table() == one.table()
    best = sorted(found.complete().items(), key=lambda item: item[1])[:3]
    saved = {path.name for out in outs for path in (out / "adapters").glob("trial-*")}
    assert {f"trial-{number:05d}" for number, _ in best} <= saved  # each run keeps its own


def wait_for_trials(path: Path, count: int) -> None:
    """Wait until so many trials are complete."""
    query = "SELECT count(*) FROM trials WHERE state = 'COMPLETE'"
    for _ in range(3000):
        time.sleep(0.01)
        with suppress(sqlite3.Error), closing(sqlite3.connect(path)) as connection:
            if path.exists() and connection.execute(query).fetchone()[0] >= count:
                return
    raise AssertionError(f"{path}: the run does not come on")


def stopped_early(begin: Starter, out: Path, *signals: int) -> Found:
    """Begin a run, send it signals after its first trials, and return what it left."""
    process = begin(cheap_spec(25), out, seconds=0.05)
    wait_for_trials(out / "study.db", 2)
    for number in signals:
        assert process.pid is not None
        os.kill(process.pid, number)
        time.sleep(0.01)
    process.join(timeout=180)  # a hang, not a slow machine
    assert process.exitcode in ((3,) if len(signals) == 1 else (1, 3, 130))
    return look(str(out))


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGINT, marks=pytest.mark.whole),
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
    ],
)
def test_one_signal_ends_a_run_in_order(begin: Starter, tmp_path: Path, number: int) -> None:
    """What is complete stays, what was running is put up again, and the same command continues."""
    found = stopped_early(begin, tmp_path / "run", number)
    assert all(t.state.is_finished() for t in found.trials)
    assert found.parents == 0
    assert 2 <= len(found.complete()) < 25
    finish(begin(cheap_spec(25), tmp_path / "run"))
    whole = look(str(tmp_path / "run"))
    assert_whole(whole, 25)
    assert found.complete().items() <= whole.complete().items()


@pytest.mark.slow
def test_a_second_signal_ends_it_at_once(begin: Starter, tmp_path: Path) -> None:
    """Even then the database is whole, and the same command continues."""
    found = stopped_early(begin, tmp_path / "run", signal.SIGINT, signal.SIGINT)
    finish(begin(cheap_spec(25), tmp_path / "run"))
    whole = look(str(tmp_path / "run"))
    assert_whole(whole, 25)
    assert found.complete().items() <= whole.complete().items()


def is_asleep(pid: int) -> bool:
    """Whether all threads of a process are stopped."""
    states = [file.read_text() for file in Path(f"/proc/{pid}/task").glob("*/stat")]
    return all(state.rpartition(")")[2].split()[0] == "T" for state in states)


def put_to_sleep(pid: int, path: Path) -> None:
    """Stop a process between two transactions: within one it would keep SQLite's lock."""
    while True:
        os.kill(pid, signal.SIGSTOP)
        while not is_asleep(pid):  # each thread goes on until the system next looks at it
            time.sleep(0.001)
        with (
            suppress(sqlite3.OperationalError),
            closing(sqlite3.connect(path, timeout=0.1)) as connection,
        ):
            connection.execute("BEGIN IMMEDIATE")
            return
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.003)


@pytest.mark.whole
def test_a_run_that_slept_too_long_loses_its_trials_to_another(
    begin: Starter, tmp_path: Path
) -> None:
    """Its trials are retried elsewhere; when it wakes it tells none of them a second time."""
    url = sqlite_url(tmp_path / "shared.db")
    quick = {"grace": 0.6, "heartbeat": 0.1}
    sleeper = begin(cheap_spec(12), tmp_path / "a", url, seconds=0.1, **quick)
    assert sleeper.pid is not None
    wait_for_trials(tmp_path / "shared.db", 1)
    put_to_sleep(sleeper.pid, tmp_path / "shared.db")
    try:
        finish(begin(cheap_spec(12), tmp_path / "b", url, **quick))
        before = look(url)
        assert_whole(before, 12)
    finally:
        os.kill(sleeper.pid, signal.SIGCONT)
    finish(sleeper)
    after = look(url)
    assert_whole(after, 12)
    assert after.table() == before.table()
    reasons = {t.user_attrs.get("failure") for t in after.trials if t.state == TrialState.FAIL}
    assert reasons == {"the process that trained it ended"}


@pytest.mark.whole
def test_a_database_that_stays_locked_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody holds the file for longer than a run waits: it ends in order; later it goes on."""
    for name in ("BUSY_TIMEOUT_SECONDS", "WRITE_TIMEOUT_SECONDS"):
        monkeypatch.setattr(storage, name, 0.2)
    (tmp_path / "run").mkdir()
    holder = sqlite3.connect(tmp_path / "run" / "study.db", timeout=5)
    advance = CheapEngine.advance

    def locking(self: CheapEngine) -> list[Any]:
        if len(told(str(tmp_path / "run"))) == 3:
            holder.execute("BEGIN EXCLUSIVE")
        return advance(self)

    monkeypatch.setattr(CheapEngine, "advance", locking)
    with pytest.raises(InputError) as refused:
        run_cheaply(cheap_spec(8), tmp_path / "run", None, 0.0)
    holder.close()
    (problem,) = refused.value.problems
    assert "database is locked; finished trials are kept" in problem
    monkeypatch.setattr(CheapEngine, "advance", advance)
    assert not run_cheaply(cheap_spec(8), tmp_path / "run", None, 0.0)
    assert_whole(look(str(tmp_path / "run")), 8)


@pytest.mark.slow
def test_a_hundred_kills(begin: Starter, tmp_path: Path) -> None:
    """100 of 100 kills at random moments are survived with exact counts."""
    killed_often(begin, tmp_path, trials=200, kills=100, longest=0.6)
    with closing(sqlite3.connect(tmp_path / "run" / "study.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.slow
@pytest.mark.parametrize("writers", [2, 4, 8])
def test_several_runs_on_one_sqlite_file(begin: Starter, tmp_path: Path, writers: int) -> None:
    """Each has a folder of its own; they share the file, one transaction at a time."""
    url = sqlite_url(tmp_path / "shared.db")
    for process in [begin(cheap_spec(60), tmp_path / str(n), url) for n in range(writers)]:
        finish(process)
    assert_whole(look(url), 60)
