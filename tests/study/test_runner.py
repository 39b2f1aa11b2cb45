"""The loop and its ledger: what counts, what survives, what a run leaves behind."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

import study.runner
from study.engines.choice import EngineChoice
from study.engines.workspace import make_engine
from study.errors import InputError
from study.runner import run_study
from study.spec import StudySpec
from study.store import records
from study.store.storage import engine_of, open_read_only
from study.trials import Finished, Interrupted, TrialConfig, TrialResult


def load(out: Path, name: str = "tiny") -> optuna.Study:
    """Open a finished study as anybody would."""
    return optuna.load_study(study_name=name, storage=open_read_only(str(out)))


def table(out: Path) -> list[tuple[Any, ...]]:
    """Return what must be the same however a study was run."""
    return [(t.number, t.state, t.params, t.values) for t in load(out).trials]


class ScriptedEngine:
    """An engine that gives what a script says, in place of training: number -> events."""

    def __init__(self, script: Callable[[TrialConfig], list[Any]]) -> None:
        self.script = script
        self.config: TrialConfig | None = None
        self.stopped: list[int] = []

    @property
    def free_slots(self) -> int:
        return 1 if self.config is None else 0

    def start(self, config: TrialConfig) -> None:
        self.config = config
        self.events = self.script(config)

    def advance(self) -> list[Any]:
        event = self.events.pop(0)
        if isinstance(event, (Finished, Interrupted)):
            self.config = None
        return [event]

    def stop(self, number: int) -> TrialResult:
        self.stopped.append(number)
        self.config = None
        return TrialResult(details={"steps": 2})

    def close(self) -> None:
        """Hold nothing."""


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ScriptedEngine]:
    """Return a function that puts a scripted engine in the place of the real one."""

    def put(script: Callable[[TrialConfig], list[Any]]) -> ScriptedEngine:
        engine = ScriptedEngine(script)
        monkeypatch.setattr(study.runner, "make_engine", lambda *_: engine)
        return engine

    return put


def scored(config: TrialConfig, value: float) -> Finished:
    """Return the end of a trial whose only known number is its cost."""
    return Finished(config.number, TrialResult(details={"trainable_parameters": value}))


COST_ONLY = {"evaluation.objective": "trainable_parameters"}


def test_a_run_leaves_a_whole_study_behind(tiny_spec: StudySpec, tmp_path: Path, view: Any) -> None:
    """Trials, baselines, statistics, outputs, adapters and the resolved study file are there."""
    done = run_study(tiny_spec, tmp_path / "run", view)
    assert not done.stopped_early
    assert [t.state for t in load(done.folder).trials] == [TrialState.COMPLETE] * 3
    assert [o.state for o in view.outcomes] == ["complete"] * 5
    engine = engine_of(open_read_only(str(done.folder)))
    assert engine is not None
    rows = records.read_evaluations(engine, 1)
    assert {(r.role, r.name, r.split) for r in rows if r.role == "baseline"} == {
        ("baseline", name, split) for name in ("base", "default") for split in ("dev", "general")
    }
    assert {r.trial_number for r in rows if r.role == "search"} == {0, 1, 2}
    assert set(records.read_examples(engine, 1)) == {"dev", "general"}
    assert len(records.read_outputs(engine, rows[0].evaluation_id)) in (8, 12)
    names = {path.name for path in (done.folder / "adapters").iterdir()}
    assert names == {"default", "trial-00000", "trial-00001", "trial-00002"}
    assert (done.folder / "spec.toml").read_text() == tiny_spec.to_toml()


def test_the_database_can_be_copied_alone(tiny_spec: StudySpec, tmp_path: Path, view: Any) -> None:
    """After a run no log lies beside `study.db`, and its integrity is whole."""
    done = run_study(tiny_spec, tmp_path / "run", view)
    beside = {p.name for p in done.folder.iterdir() if p.name.startswith("study.db")}
    assert beside == {"study.db"}
    with sqlite3.connect(done.folder / "study.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_only_the_best_adapters_are_kept(
    make_spec: Callable[..., StudySpec], tmp_path: Path, view: Any
) -> None:
    """Of all trials the best k by the first objective keep their adapter."""
    spec = make_spec({"search.keep_adapters": 1, "evaluation.objective": "loss"})
    done = run_study(spec, tmp_path / "run", view)
    best = load(done.folder).best_trial.number
    kept = {p.name for p in (done.folder / "adapters").glob("trial-*")}
    assert kept == {f"trial-{best:05d}"}


def test_resuming_gives_what_an_uninterrupted_run_gives(
    make_spec: Callable[..., StudySpec], tmp_path: Path, view: Any
) -> None:
    """One trial, then two more by the same command, are the three of a whole run."""
    run_study(make_spec({"search.trials": 1}), tmp_path / "parts", view)
    run_study(make_spec(), tmp_path / "parts", view)
    run_study(make_spec(), tmp_path / "whole", view)
    assert table(tmp_path / "parts") == table(tmp_path / "whole")


def test_a_finished_study_trains_nothing_more(
    tiny_spec: StudySpec, tmp_path: Path, view: Any
) -> None:
    """`--trials` is the total: the same command again does nothing."""
    run_study(tiny_spec, tmp_path / "run", view)
    view.outcomes.clear()
    run_study(tiny_spec, tmp_path / "run", view)
    assert view.outcomes == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("training.steps", 6),
        ("evaluation.objective", "chrf"),
        ("seed", 8),
        ("data.target_column", "French"),
        ("search.space", "lora-wide"),
    ],
)
def test_a_study_whose_results_would_not_compare_is_refused(
    make_spec: Callable[..., StudySpec],
    scripted: Any,
    tmp_path: Path,
    view: Any,
    key: str,
    value: Any,
) -> None:
    """A change of data, base, objective, steps or space is shown and refused."""
    scripted(lambda config: [scored(config, 1.0)])
    spec = make_spec(COST_ONLY)
    run_study(spec, tmp_path, view)
    changed = make_spec({**COST_ONLY, key: value})
    if key == "data.target_column":
        changed = spec.model_copy(update={"data": spec.data.model_copy(update={"max_tokens": 64})})
        key = "data.max_tokens"
    with pytest.raises(InputError) as error:
        run_study(changed, tmp_path, view)
    shown = key.removesuffix(".space")
    assert any(f"tiny: {shown}" in problem for problem in error.value.problems)


def test_changed_data_under_the_same_name_is_refused(
    make_spec: Callable[..., StudySpec],
    parallel_text: Path,
    scripted: Any,
    tmp_path: Path,
    view: Any,
) -> None:
    """A file whose content changed since the study began is named with both hashes."""
    scripted(lambda config: [scored(config, 1.0)])
    dev = tmp_path / "dev.tsv"
    dev.write_text((parallel_text / "dev.tsv").read_text())
    spec = make_spec(COST_ONLY)
    spec = spec.model_copy(update={"data": spec.data.model_copy(update={"dev": dev})})
    run_study(spec, tmp_path / "run", view)
    dev.write_text(dev.read_text() + "One more.\tUn de plus.\n")
    with pytest.raises(InputError, match=r"data\.dev: its content changed"):
        run_study(spec, tmp_path / "run", view)


def test_growing_the_budget_is_no_such_change(
    make_spec: Callable[..., StudySpec], scripted: Any, tmp_path: Path, view: Any
) -> None:
    """More trials, another sampler or pruner continue the study."""
    scripted(lambda config: [scored(config, 1.0)])
    run_study(make_spec(COST_ONLY), tmp_path, view)
    run_study(
        make_spec({**COST_ONLY, "search.trials": 5, "search.sampler": "sobol"}), tmp_path, view
    )
    assert len(load(tmp_path).trials) == 5


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
    assert given_up.user_attrs["failure"] == "interrupted 3 times, at last: killed"
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


def test_enqueued_points_are_marked_and_come_first(
    make_spec: Callable[..., StudySpec], scripted: Any, tmp_path: Path, view: Any
) -> None:
    """The study file's points are trials with a mark, tried once, also after a resume."""
    scripted(lambda config: [scored(config, 1.0)])
    changes = {**COST_ONLY, "search.enqueue": [{"alpha": 8, "rank": 8}]}
    run_study(make_spec({**changes, "search.trials": 1}), tmp_path, view)
    run_study(make_spec(changes), tmp_path, view)
    trials = load(tmp_path).trials
    assert trials[0].params["alpha"] == 8
    assert [t.user_attrs.get("enqueued", False) for t in trials] == [True, False, False]


def test_a_hopeless_trial_is_pruned(
    make_spec: Callable[..., StudySpec], tmp_path: Path, view: Any
) -> None:
    """With the median pruner a trial that reports below the others is stopped and counts."""
    from study.trials import Progress

    def script(config: TrialConfig) -> list[Any]:
        value = 0.0 if config.number == 7 else 10.0 + config.number
        return [Progress(config.number, 2, value), scored(config, value)]

    engine = ScriptedEngine(script)
    spec = make_spec({**COST_ONLY, "search.pruner": "median", "search.trials": 9})
    spec = spec.model_copy(
        update={"evaluation": spec.evaluation.model_copy(update={"directions": ("maximize",)})}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study.runner, "make_engine", lambda *_: engine)
        run_study(spec, tmp_path, view)
    assert engine.stopped == [7]
    assert load(tmp_path).trials[7].state == TrialState.PRUNED
    assert len(load(tmp_path).trials) == 9


def test_several_objectives_are_told_together(
    make_spec: Callable[..., StudySpec], tmp_path: Path, view: Any
) -> None:
    """Quality against cost: every trial has both values in the file's directions."""
    spec = make_spec({"evaluation.objective": ["loss", "trainable_parameters", "general_loss"]})
    run_study(spec, tmp_path, view)
    trial = load(tmp_path).trials[0]
    assert trial.values == [
        trial.user_attrs[name] for name in ("loss", "trainable_parameters", "general_loss")
    ]
    assert len(load(tmp_path).best_trials) >= 1


def test_two_runs_in_one_folder_are_told_so(
    make_spec: Callable[..., StudySpec], scripted: Any, tmp_path: Path, view: Any
) -> None:
    """The second command is refused in one line while the first is at work."""
    refused: list[str] = []

    def script(config: TrialConfig) -> list[Any]:
        if not refused:
            with pytest.raises(InputError) as error:
                run_study(make_spec(COST_ONLY), tmp_path, view)
            refused.extend(error.value.problems)
        return [scored(config, 1.0)]

    scripted(script)
    run_study(make_spec(COST_ONLY), tmp_path, view)
    (problem,) = refused
    assert "another `optuna-study run`" in problem


def test_ctrl_c_keeps_what_is_complete(tiny_spec: StudySpec, tmp_path: Path, view: Any) -> None:
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
    run_study(tiny_spec, tmp_path / "whole", view)
    found = sorted(t.values for t in load(tmp_path / "run").trials if t.values)
    assert found == sorted(t.values for t in load(tmp_path / "whole").trials)


def test_a_timeout_starts_no_further_trial(
    make_spec: Callable[..., StudySpec], scripted: Any, tmp_path: Path, view: Any
) -> None:
    """With no time at all only the baselines run; the study says that it stopped early."""
    scripted(lambda config: [scored(config, 1.0)])
    done = run_study(make_spec({**COST_ONLY, "search.timeout_seconds": 1e-9}), tmp_path, view)
    assert done.stopped_early
    assert load(tmp_path).trials == []


@pytest.mark.slow
def test_two_workers_give_the_table_of_one(tiny_spec: StudySpec, tmp_path: Path, view: Any) -> None:
    """Points, values and numbers do not depend on the number of workers."""
    run_study(tiny_spec, tmp_path / "one", view)
    run_study(tiny_spec, tmp_path / "two", view, choice=EngineChoice(workers=2))
    assert table(tmp_path / "one") == table(tmp_path / "two")


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


def test_a_task_of_ones_own_takes_the_place_of_the_named_one(
    tiny_spec: StudySpec, tiny_base: Path, tmp_path: Path, view: Any
) -> None:
    """One object passed to `run_study` is trained and scored."""
    task = make_engine(tiny_spec, str(tiny_base), None, EngineChoice("sequential"))._task
    scores: list[int] = []

    class Counting:
        """The shipped task, counted."""

        def __getattr__(self, name: str) -> Any:
            if name == "score":
                scores.append(1)
            return getattr(task, name)

    run_study(tiny_spec, tmp_path / "run", view, task=Counting())  # type: ignore[arg-type]
    assert scores
    assert len(load(tmp_path / "run").trials) == 3
    with pytest.raises(
        InputError, match="tiny: task: was Counting, now the one that the study file"
    ):
        run_study(tiny_spec, tmp_path / "run")


FULL_DISK = """
import resource, sys
from pathlib import Path
sys.path.insert(0, {root!r})
import study.runner
from study.errors import InputError
from study.study_files import load_spec
from tests.conftest import RecordingView
from tests.study.test_runner import ScriptedEngine, scored

engine = ScriptedEngine(lambda config: [scored(config, float(config.number))])
study.runner.make_engine = lambda *_: engine
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
    root = str(Path(__file__).parent.parent.parent)
    unlimited = 2**40

    def run(size: int) -> subprocess.CompletedProcess[str]:
        script = FULL_DISK.format(root=root, file=str(file), out=str(tmp_path), size=size)
        return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)

    full = run(size=1_000_000)
    assert full.returncode == 2, full.stderr
    assert len(full.stdout.splitlines()) == 1
    assert "trials that were told are kept" in full.stdout
    told = [t.number for t in load(tmp_path, "full").trials if t.state == TrialState.COMPLETE]
    assert 0 < len(told) < 60
    assert run(size=unlimited).returncode == 0
    complete = [t.number for t in load(tmp_path, "full").trials if t.state == TrialState.COMPLETE]
    assert len(complete) == 60
    assert set(told) <= set(complete)


def test_an_interruption_changes_no_later_trial(
    make_spec: Callable[..., StudySpec], scripted: Any, tmp_path: Path, view: Any
) -> None:
    """Points and training seeds after a retry are those of a study that was never interrupted."""
    seeds: dict[str, set[tuple[Any, ...]]] = {"whole": set(), "interrupted": set()}

    def script(name: str) -> Callable[[TrialConfig], list[Any]]:
        def events(config: TrialConfig) -> list[Any]:
            if name == "interrupted" and config.number == 1:
                return [Interrupted(1, "killed")]
            if config.role == "search":
                seeds[name].add((config.seed, *config.values.values()))
            return [scored(config, 1.0)]

        return events

    for name in seeds:
        scripted(script(name))
        run_study(make_spec({**COST_ONLY, "search.trials": 5}), tmp_path / name, view)
    assert seeds["interrupted"] == seeds["whole"]
    assert len(seeds["whole"]) == 5


def test_points_enqueued_later_are_tried_too(
    make_spec: Callable[..., StudySpec], scripted: Any, tmp_path: Path, view: Any
) -> None:
    """A point added to the study file before a resume becomes a trial; known ones do not again."""
    scripted(lambda config: [scored(config, 1.0)])
    first, second = {"alpha": 8, "rank": 8}, {"alpha": 16, "rank": 8}
    changes = {**COST_ONLY, "search.trials": 2}
    run_study(make_spec({**changes, "search.enqueue": [first]}), tmp_path, view)
    changes["search.trials"] = 4
    run_study(make_spec({**changes, "search.enqueue": [first, second]}), tmp_path, view)
    enqueued = [t.params["alpha"] for t in load(tmp_path).trials if "enqueued" in t.user_attrs]
    assert enqueued == [8, 16]


def test_a_grid_is_covered_beside_enqueued_points(
    make_spec: Callable[..., StudySpec], scripted: Any, tmp_path: Path, view: Any
) -> None:
    """Every point of the grid is tried once, whatever was enqueued, and then the study ends."""
    scripted(lambda config: [scored(config, 1.0)])
    parameters = {
        "alpha": {"choices": [8, 16]},
        "rank": {"choices": [4, 8]},
        "learning_rate": {"value": 3e-4},
        "dropout": {"value": 0.0},
    }
    changes = {
        **COST_ONLY,
        "search.parameters": parameters,
        "search.sampler": "grid",
        "search.enqueue": [{"alpha": 8, "rank": 4}],
        "search.trials": 50,
    }
    run_study(make_spec(changes), tmp_path, view)
    sampled = [t.params for t in load(tmp_path).trials if "enqueued" not in t.user_attrs]
    assert sorted((p["alpha"], p["rank"]) for p in sampled) == [(8, 4), (8, 8), (16, 4), (16, 8)]


def test_modules_that_the_model_lacks_are_refused_before_any_trial(
    make_spec: Callable[..., StudySpec], tmp_path: Path, view: Any
) -> None:
    """A choice of target modules that matches nothing is one line, and no trial is spent."""
    spec = make_spec({"search.parameters": {"target_modules": {"choices": ["qv", "query_key"]}}})
    with pytest.raises(InputError, match="'query_key' matches no module"):
        run_study(spec, tmp_path, view)
    assert view.outcomes == []


def test_a_finished_study_starts_no_engine(
    make_spec: Callable[..., StudySpec], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, view: Any
) -> None:
    """The same command on a finished study trains nothing, and tells a trial left running."""
    spec = make_spec({"search.trials": 1})
    done = run_study(spec, tmp_path, view)
    optuna.load_study(study_name=done.name, storage=done.storage).ask()  # by a killed process
    monkeypatch.setattr(study.runner, "make_engine", None)
    assert not run_study(spec, tmp_path, view).stopped_early
    states = [t.state for t in load(tmp_path).trials]
    assert states[:2] == [TrialState.COMPLETE, TrialState.FAIL]
