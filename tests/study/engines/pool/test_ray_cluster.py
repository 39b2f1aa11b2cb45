"""What is known of a cluster before anything of it starts: its address, its room."""

from __future__ import annotations

import ast
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from study.engines.engine_choice import AS_MANY_AS_FIT, EngineChoice
from study.engines.pool import ray_cluster
from study.engines.pool.ray_cluster import Room, connected
from study.errors import InputError

ROOT = Path(__file__).parents[4]
WANTED = EngineChoice(workers=AS_MANY_AS_FIT, ray="auto")


def problem_of(address: str) -> str:
    """The one line with which an address is refused."""
    with pytest.raises(InputError) as error, connected(address):
        raise AssertionError("there is a cluster")
    (problem,) = error.value.problems
    return problem


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line says what to install."""
    monkeypatch.setitem(sys.modules, "ray", None)
    assert problem_of("local") == '--ray: needs the extra: pip install "optuna-study[ray]"'


class FakeRay:
    """Takes the place of an installed Ray, of which nothing may be asked."""

    def shutdown(self) -> None:
        """Nothing was started."""


@pytest.fixture
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let addresses be looked at without Ray."""
    monkeypatch.setattr(ray_cluster, "_ray", FakeRay)


@pytest.mark.usefixtures("no_ray")
@pytest.mark.parametrize("address", ["here", "1.2.3.4", "http://a:1", "ray://a", "a b:1", ":1"])
def test_what_is_no_address_is_refused(address: str) -> None:
    """Where, what it got, what is allowed."""
    assert problem_of(address) == f"--ray: got {address!r}; {ray_cluster.ALLOWED}"


@pytest.fixture
def mute(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Yield a port at which something listens that never says a word."""
    monkeypatch.setattr(ray_cluster, "ANSWER_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.usefixtures("no_ray")
@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_where_nothing_answers_is_said_at_once(mute: int, scheme: str) -> None:
    """Ray itself would try for minutes."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = server.getsockname()[1]
    refused = f"--ray: nothing answers at 127.0.0.1:{closed}: Connection refused"
    assert problem_of(f"{scheme}127.0.0.1:{closed}") == refused
    pytest.importorskip("grpc", reason="what answers, but is no Ray, is NOT tested: needs grpc")
    silent = f"--ray: 127.0.0.1:{mute} answers, but is not a Ray cluster"
    assert problem_of(f"{scheme}127.0.0.1:{mute}") == silent


def node(cores: float, gpus: float = 0, alive: bool = True) -> dict[str, Any]:
    """A node as `ray.nodes()` tells it."""
    return {"Alive": alive, "Resources": {"CPU": cores, "GPU": gpus} if gpus else {"CPU": cores}}


@pytest.mark.parametrize(
    ("nodes", "workers", "machines", "each"),
    [
        ([node(8)], 4, 1, {"num_cpus": 2}),
        ([node(8), node(5), node(4, alive=False)], 6, 2, {"num_cpus": 2}),
        ([node(0), node(8, gpus=2), node(16)], 2, 1, {"num_gpus": 1, "num_cpus": 1}),
        ([node(1)], 1, 1, {"num_cpus": 1}),
    ],
)
def test_a_worker_takes_a_gpu_or_two_cores(
    nodes: list[dict[str, Any]], workers: int, machines: int, each: dict[str, int]
) -> None:
    """As many as fit, node by node; with any GPU only on GPUs; on a lone core one all the same."""
    room = Room.of(nodes)
    counted = room.counted(WANTED)
    assert (counted.workers, counted.machines) == (workers, machines)
    assert room.per_worker(counted.workers) == each


def test_as_many_workers_as_were_asked_for() -> None:
    """More than pairs of cores get a core each; more than cores wait, and that is said."""
    room = Room.of([node(4), node(2)])
    six = room.counted(EngineChoice(workers=6, ray="auto"))
    assert room.per_worker(6) == {"num_cpus": 1}
    assert room.described(six) == "ray: 2 nodes, 6 cores: 6 workers of 1 core each"
    eight = room.counted(EngineChoice(workers=8, ray="auto"))
    assert room.described(eight).endswith(
        "8 workers of 1 core each; 2 of them must wait for resources"
    )
    assert (six.workers_per_machine, eight.workers_per_machine) == (3, 4)


def test_a_cluster_without_any_room_is_refused() -> None:
    """A head that trains nothing, and no nodes yet: how many to wait for must be said."""
    with pytest.raises(InputError, match="no node of the cluster has a GPU or a core"):
        Room.of([node(0)]).counted(WANTED)
    assert Room.of([node(0)]).counted(EngineChoice(workers=3, ray="auto")).workers == 3


def test_gpus_are_named() -> None:
    """The line says what the workers train on."""
    room = Room.of([node(8, gpus=1)])
    counted = room.counted(WANTED)
    assert room.described(counted) == "ray: 1 node, 8 cores, 1 GPU: 1 worker of a GPU each"


def test_ray_is_imported_only_where_it_is_asked_for() -> None:
    """One module imports it at once, and nothing imports that one at once."""
    eager = set()
    for path in (ROOT / "study").rglob("*.py"):
        for statement in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(statement, (ast.Import, ast.ImportFrom)):
                names = [alias.name for alias in statement.names]
                module = getattr(statement, "module", None) or names[0]
                if module.split(".")[0] == "ray" or module == "study.engines.pool.ray_pool":
                    eager.add(path.name)
    assert eager == {"ray_pool.py"}
