"""A study on a real Ray cluster of this machine: nodes and workers die, the study does not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest
from optuna.trial import TrialState

import study.engines.start
from study.engines.engine_choice import EngineChoice
from study.engines.pool import ray_cluster
from study.errors import InputError
from study.runner import run_study
from study.spec.sections import StudySpec
from study.trials import TrialConfig
from tests.patient_engine import PatientEngine, make_patient_engine

pytest.importorskip("ray", reason="Ray is NOT tested: run `nox -s ray`")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("default"),  # Ray's own: sockets and processes that it leaves open
]
COST_ONLY = {"evaluation.objective": "trainable_parameters"}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Yield a head, which trains nothing, and two nodes of one core; engines there are patient."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setattr(study.engines.start, "make_engine", make_patient_engine)
    head = {"num_cpus": 0, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args=head)
    made.add_node(num_cpus=1)
    made.add_node(num_cpus=1)
    yield made
    made.shutdown()


def on(cluster: Any, **changes: Any) -> EngineChoice:
    """Two workers of two slots on a cluster."""
    return EngineChoice(**{"slots": 2, "workers": 2, "ray": cluster.address, **changes})


def trials_of(out: Path) -> list[optuna.trial.FrozenTrial]:
    """The trials of the study in a run folder."""
    return optuna.load_study(study_name="tiny", storage=f"sqlite:///{out}/study.db").trials


def complete(out: Path) -> int:
    """How many trials are complete; none may be left running."""
    states = [trial.state for trial in trials_of(out)]
    assert all(state.is_finished() for state in states)
    return states.count(TrialState.COMPLETE)


def actors() -> list[psutil.Process]:
    """The processes that train."""
    return [
        p for p in psutil.process_iter(["cmdline"]) if "ray::WorkerActor" in str(p.info["cmdline"])
    ]


def once(action: Callable[[], Any]) -> Callable[[TrialConfig, int], None]:
    """Do something at the first report of a trial."""
    done: list[Any] = []

    def on_progress(config: TrialConfig, step: int) -> None:
        if config.number >= 0 and not done:
            done.append(True)
            action()

    return on_progress


def test_a_killed_worker_is_placed_again_with_fewer_slots(
    make_spec: Callable[..., StudySpec], cluster: Any, tmp_path: Path, view: Any
) -> None:
    """SIGKILL, as for want of memory: its trials are retried, the next worker makes smaller passes.

    As many workers as the cluster has room for are placed where none were asked for.
    """
    view.on_progress = once(lambda: actors()[0].kill())
    spec = make_spec({**COST_ONLY, "search.trials": 16})
    run_study(spec, tmp_path, view, choice=on(cluster, workers=0))
    assert view.remarks[0] == "ray: 3 nodes, 2 cores: 2 workers of 1 core each"
    assert any("the next one makes passes of half the size" in r for r in view.remarks)
    assert complete(tmp_path) == 16
    lost = [o for o in view.outcomes if o.state == "interrupted"]
    assert 1 < len(lost) <= 2
    assert all("the worker process on node" in str(outcome.reason) for outcome in lost)


def test_a_node_that_dies_takes_nothing_with_it(
    make_spec: Callable[..., StudySpec], cluster: Any, tmp_path: Path, view: Any
) -> None:
    """Its trials are trained on the other node, and on a new one as soon as it has joined."""
    from ray.cluster_utils import Cluster

    nodes: Cluster = cluster
    victim = next(iter(nodes.worker_nodes))
    view.on_progress = once(lambda: nodes.remove_node(victim, allow_graceful=False))
    spec = make_spec({**COST_ONLY, "search.trials": 12})
    run_study(spec, tmp_path, view, choice=on(cluster))
    assert complete(tmp_path) == 12
    assert "interrupted" in [outcome.state for outcome in view.outcomes]
    slots = {trial.user_attrs.get("slots") for trial in trials_of(tmp_path)}
    assert slots <= {2.0, None}, "a node's death is no want of memory"


def test_without_its_head_the_run_ends_in_one_line(
    make_spec: Callable[..., StudySpec],
    cluster: Any,
    tmp_path: Path,
    view: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ray itself would kill the run after a minute; what was told is kept, and continues."""
    monkeypatch.setattr(ray_cluster, "CHECK_SECONDS", 0.5)
    monkeypatch.setattr(ray_cluster, "GRACE_SECONDS", 2.0)
    head = cluster.head_node
    view.on_progress = once(
        lambda: head.kill_all_processes(check_alive=False, allow_graceful=False)
    )
    spec = make_spec({**COST_ONLY, "search.trials": 100})
    with pytest.raises(
        InputError, match=r"^--ray: the head of the cluster at .* no longer answers; .*$"
    ):
        run_study(spec, tmp_path, view, choice=on(cluster))
    monkeypatch.setattr(study.engines.start, "make_engine", lambda *_: PatientEngine(4))
    smaller = make_spec({**COST_ONLY, "search.trials": 8})
    run_study(smaller, tmp_path, view, choice=EngineChoice("sequential"))
    assert complete(tmp_path) >= 8


def test_another_version_of_ray_is_refused(
    tiny_spec: StudySpec, cluster: Any, tmp_path: Path, view: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line names both versions."""
    import ray

    monkeypatch.setattr(ray, "__version__", "1.0.0")
    with pytest.raises(InputError, match=r"^--ray: cannot join .* Ray: 1\.0\.0 .*$"):
        run_study(tiny_spec, tmp_path, view, choice=on(cluster))


def test_a_node_without_the_package_is_refused(
    tiny_spec: StudySpec, cluster: Any, tmp_path: Path, view: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be imported over there is named in one line."""
    only_here = types.ModuleType("only_here")
    exec("def make(*_): pass", only_here.__dict__)
    only_here.make.__module__ = "only_here"
    monkeypatch.setitem(sys.modules, "only_here", only_here)
    monkeypatch.setattr(study.engines.start, "make_engine", only_here.make)
    with pytest.raises(InputError, match=r"a worker cannot start .* 'only_here'"):
        run_study(tiny_spec, tmp_path, view, choice=on(cluster))


# ---------------------------------------------------------------- the command


def command(spec: StudySpec, folder: Path, *options: str) -> list[str]:
    """The command line that runs a study file."""
    file = folder / "tiny.toml"
    file.write_text(spec.to_toml(), encoding="utf-8")
    return [sys.executable, "-m", "optuna_study", "run", str(file), "--workers", "2", *options]


def of_ray(*words: str) -> set[int]:
    """The processes of any Ray on this machine, or those that have these words."""
    words = words or ("raylet", "gcs_server", "ray::")
    found = [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"]]
    return {p.pid for p in found if any(word in " ".join(p.info["cmdline"]) for word in words)}


def assert_nothing_is_left(before: set[int], *words: str, seconds: float = 30) -> None:
    """Every process of Ray that was started since has ended, at once or soon."""
    ends = time.monotonic() + seconds
    while of_ray(*words) - before and time.monotonic() < ends:
        time.sleep(0.5)
    assert not of_ray(*words) - before


def test_a_local_cluster_gives_the_same_table(tiny_spec: StudySpec, tmp_path: Path) -> None:
    """Trials do not depend on where they are trained; Ray prints nothing and leaves nothing."""
    before = of_ray()
    plain = command(tiny_spec, tmp_path, "--out", str(tmp_path / "plain"))
    subprocess.run(plain, check=True, capture_output=True)
    ray = command(tiny_spec, tmp_path, "--out", str(tmp_path / "ray"), "--ray", "local")
    done = subprocess.run(ray, check=True, capture_output=True, text=True)
    assert_nothing_is_left(before, seconds=0)
    assert "ray: 1 node" in done.stderr
    assert "raylet" not in done.stdout + done.stderr
    found, wanted = (
        [(t.number, t.params, t.values) for t in trials_of(tmp_path / name)]
        for name in ("ray", "plain")
    )
    assert found == wanted


TRAINS = (
    "raylet",
    "gcs_server",
    "ray::WorkerActor",
)  # two helpers of Ray take minutes to see the end


@pytest.mark.parametrize(
    ("sent", "status", "words"), [(signal.SIGINT, 0, ()), (signal.SIGKILL, -9, TRAINS)]
)
def test_a_run_that_ends_early_leaves_no_process(
    make_spec: Callable[..., StudySpec],
    tmp_path: Path,
    sent: signal.Signals,
    status: int,
    words: tuple[str, ...],
) -> None:
    """Ctrl-C ends the run in order, SIGKILL at once, and the local cluster with it."""
    before = of_ray()
    spec = make_spec({"search.trials": 500})
    line = command(spec, tmp_path, "--out", str(tmp_path / "run"), "--ray", "local")
    run = subprocess.Popen(line, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert run.stderr is not None
    next(line for line in run.stderr if line.startswith("#"))  # a trial is complete
    os.kill(run.pid, sent)
    run.communicate(timeout=120)
    assert run.returncode == status
    assert_nothing_is_left(before, *words)
