"""Trials that fail, are interrupted or lost with their process: what counts, what comes again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from study.engines.engine_choice import EngineChoice
from study.runner import run_study
from study.spec.sections import StudySpec
from study.trials import Finished, Interrupted, TrialConfig, TrialResult
from tests.scripted_engine import COST_ONLY, load, scored


def test_a_failed_trial_counts_and_the_study_goes_on(
    make_spec: Callable[..., StudySpec], scripted: Any, tmp_path: Path, view: Any
) -> None:
    """A trial's own failure is FAIL with its reason, and part of the total."""

    def script(config: TrialConfig) -> list[Any]:
        if config.number == 1:
            return [Finished(1, TrialResult(failure="the training loss became nan at step 3"))]
        return [scored(config, 1.0)]

    scripted(script)
    run_study(make_spec(COST_ONLY), tmp_path, view)
    trials = load(tmp_path).trials
    states = [t.state for t in trials]
    assert states == [TrialState.COMPLETE, TrialState.FAIL, TrialState.COMPLETE]
    assert trials[1].user_attrs["failure"] == "the training loss became nan at step 3"


def test_an_objective_that_is_no_number_fails_the_trial(
    make_spec: Callable[..., StudySpec], scripted: Any, tmp_path: Path, view: Any
) -> None:
    """A value of NaN is never told: the trial is FAIL and says so."""
    scripted(lambda config: [scored(config, float("nan") if config.number == 0 else 2.0)])
    run_study(make_spec(COST_ONLY), tmp_path, view)
    failed = load(tmp_path).trials[0]
    assert failed.state == TrialState.FAIL
    assert failed.user_attrs["failure"] == "after training trainable_parameters is nan"


def test_an_interrupted_trial_is_retried_and_does_not_count(
    make_spec: Callable[..., StudySpec], scripted: Any, tmp_path: Path, view: Any
) -> None:
    """What a dead worker lost comes again with the same point and seed, and the total is exact."""
    seeds: dict[int, int] = {}

    def script(config: TrialConfig) -> list[Any]:
        seeds[config.number] = config.seed
        if config.number == 0:
            return [Interrupted(0, "the worker process was ended by SIGKILL")]
        return [scored(config, 1.0)]

    scripted(script)
    run_study(make_spec(COST_ONLY), tmp_path, view)
    trials = load(tmp_path).trials
    (retry,) = [t for t in trials if t.user_attrs.get("retry_of") == 0]
    assert retry.params == trials[0].params
    assert seeds[retry.number] == seeds[0]
    assert trials[0].user_attrs["interrupted"] is True
    assert sum(t.state == TrialState.COMPLETE for t in trials) == 3


def test_a_trial_that_is_always_interrupted_is_given_up(
    make_spec: Callable[..., StudySpec], scripted: Any, tmp_path: Path, view: Any
) -> None:
    """After three attempts it counts as failed, so a study comes to its end."""
    first: list[Any] = []

    def script(config: TrialConfig) -> list[Any]:
        if config.role == "search":
            first.append(config.seed)
            if config.seed == first[0]:
                return [Interrupted(config.number, "killed")]
        return [scored(config, 1.0)]

    scripted(script)
    run_study(make_spec(COST_ONLY), tmp_path, view)
    given_up = [t for t in load(tmp_path).trials if "attempt" in t.user_attrs][-1]
    assert given_up.user_attrs["failure"] == "interrupted 3 times, most recently: killed"
    assert "interrupted" not in given_up.user_attrs


def test_what_a_killed_process_left_running_is_retried(
    make_spec: Callable[..., StudySpec], scripted: Any, tmp_path: Path, view: Any
) -> None:
    """A RUNNING trial whose process is gone is stale: failed, and put up again."""

    def dies(config: TrialConfig) -> list[Any]:
        if config.number == 1:
            raise SystemExit  # as if the process ended here
        return [scored(config, 1.0)]

    scripted(dies)
    with pytest.raises(SystemExit):
        run_study(make_spec(COST_ONLY), tmp_path, view)
    assert load(tmp_path).trials[1].state == TrialState.RUNNING
    scripted(lambda config: [scored(config, 1.0)])
    run_study(make_spec(COST_ONLY), tmp_path, view)
    trials = load(tmp_path).trials
    assert trials[1].state == TrialState.FAIL
    assert sum(t.state == TrialState.COMPLETE for t in trials) == 3


@pytest.mark.whole
def test_ctrl_c_keeps_what_is_complete(
    tiny_spec: StudySpec, tiny_run: Path, tmp_path: Path, view: Any
) -> None:
    """After SIGINT the finished trials stay, the running one is retried by the same command."""

    def interrupt(config: TrialConfig, step: int) -> None:
        if config.number == 1:
            os.kill(os.getpid(), signal.SIGINT)

    view.on_progress = interrupt
    alone = EngineChoice("sequential")
    assert run_study(tiny_spec, tmp_path / "run", view, choice=alone).stopped_early
    states = [t.state for t in load(tmp_path / "run").trials]
    assert states[:2] == [TrialState.COMPLETE, TrialState.FAIL]
    view.on_progress = lambda config, step: None
    assert not run_study(tiny_spec, tmp_path / "run", view).stopped_early
    found = sorted(t.values for t in load(tmp_path / "run").trials if t.values)
    assert found == sorted(t.values for t in load(tiny_run).trials)


@pytest.mark.slow
def test_a_worker_that_is_killed_loses_nothing(
    tiny_spec: StudySpec, tmp_path: Path, view: Any
) -> None:
    """SIGKILL in the middle of a trial: it is retried in a new worker, the total is exact."""
    import psutil

    killed: list[int] = []

    def kill(config: TrialConfig, step: int) -> None:
        if config.number == 1 and not killed:
            for child in psutil.Process().children(recursive=True):
                if "spawn_main" in " ".join(child.cmdline()):
                    child.kill()
                    killed.append(child.pid)

    view.on_progress = kill
    run_study(tiny_spec, tmp_path / "run", view, choice=EngineChoice(workers=2))
    assert killed
    assert "interrupted" in [outcome.state for outcome in view.outcomes]
    trials = load(tmp_path / "run").trials
    assert sum(t.state == TrialState.COMPLETE for t in trials) == 3
    assert all(t.state.is_finished() for t in trials)


FULL_DISK = """
import resource, sys
from pathlib import Path
sys.path.insert(0, {root!r})
import study.engines.start
import study.runner
from study.errors import InputError
from study.spec.files import load_spec
from tests.conftest import RecordingView
from tests.scripted_engine import ScriptedEngine, scored

engine = ScriptedEngine(lambda config: [scored(config, float(config.number))])
study.engines.start.make_engine = lambda *_: engine
spec = load_spec({file!r}, {{"evaluation.objective": "trainable_parameters", "search.trials": 60}})
resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))
try:
    study.runner.run_study(spec, Path({out!r}), RecordingView())
except InputError as error:
    print(*error.problems, sep="\\n")
    sys.exit(2)
"""


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_loses_nothing(
    make_spec: Callable[..., StudySpec], tmp_path: Path
) -> None:
    """Where the database cannot grow the run ends with one line; with room it continues."""
    make_spec(name="full")
    file = next(tmp_path.parent.parent.rglob("full.toml"))
    root = str(Path(__file__).parents[2])
    unlimited = 2**40

    def run(size: int) -> subprocess.CompletedProcess[str]:
        script = FULL_DISK.format(root=root, file=str(file), out=str(tmp_path), size=size)
        return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)

    full = run(size=1_000_000)
    assert full.returncode == 2, full.stderr
    assert len(full.stdout.splitlines()) == 1
    assert "finished trials are kept" in full.stdout
    told = [t.number for t in load(tmp_path, "full").trials if t.state == TrialState.COMPLETE]
    assert 0 < len(told) < 60
    assert run(size=unlimited).returncode == 0
    complete = [t.number for t in load(tmp_path, "full").trials if t.state == TrialState.COMPLETE]
    assert len(complete) == 60
    assert set(told) <= set(complete)
