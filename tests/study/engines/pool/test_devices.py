"""One worker per GPU, each of which sees its own; on the CPU one per core that has memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import study.engines.start as start
from study.engines.engine_choice import AS_MANY_AS_FIT, EngineChoice
from study.engines.pool import devices, local_processes
from study.engines.pool.devices import VISIBLE, on_devices
from study.errors import InputError

Machine = Callable[[int, str | None], None]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Return a function that makes a machine of GPUs, of which the environment may name some."""

    def make(gpus: int, visible: str | None = None) -> None:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(devices, "physical_cores", lambda: 6)
        if visible is None:
            monkeypatch.delenv(VISIBLE, raising=False)
        else:
            monkeypatch.setenv(VISIBLE, visible)

    return make


@pytest.mark.parametrize(
    ("gpus", "visible", "named", "workers", "wanted", "count"),
    [
        (0, None, (), AS_MANY_AS_FIT, None, 6),  # a worker per physical core
        (0, None, (), 3, None, 3),
        (4, None, (), AS_MANY_AS_FIT, "0,1,2,3", 4),
        (4, None, ("1", "3"), AS_MANY_AS_FIT, "1,3", 2),
        (2, "5,7", (), AS_MANY_AS_FIT, "5,7", 2),
        (2, "5,7", ("1",), AS_MANY_AS_FIT, "7", 1),  # the second of those that are visible
        (4, None, (), 1, "0", 1),
        (2, None, (), 6, "0,1", 6),
        (4, None, ("cpu",), AS_MANY_AS_FIT, "", 6),
    ],
)
def test_workers_follow_the_devices(
    machine: Machine,
    gpus: int,
    visible: str | None,
    named: tuple[str, ...],
    workers: int,
    wanted: str | None,
    count: int,
) -> None:
    """As many as there are GPUs or cores, unless a number is given; other GPUs are hidden."""
    machine(gpus, visible)
    with on_devices(EngineChoice(workers=workers, devices=named)) as choice:
        assert choice.workers == count
        assert os.environ.get(VISIBLE) == wanted
        assert ",".join(choice.devices) == (wanted or "")
    assert os.environ.get(VISIBLE) == visible


def test_a_gpu_that_is_not_there_is_refused(machine: Machine) -> None:
    """The line says which there are."""
    machine(2, None)
    choice = EngineChoice(devices=("0", "2"))
    with pytest.raises(InputError, match="no GPU 2 is visible; allowed: cpu, 0, 1"):
        on_devices(choice).__enter__()


def test_a_worker_starts_with_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of a process names one GPU before it imports anything; they take turns."""
    monkeypatch.setenv(VISIBLE, "4,6")
    seen: list[str | None] = []

    def channel(make_engine: Any) -> Any:
        seen.append(os.environ.get(VISIBLE))
        return SimpleNamespace()

    monkeypatch.setattr(local_processes, "ProcessChannel", channel)
    on_gpus = local_processes.ProcessLauncher(lambda: None, ("4", "6"))
    for number in (0, 1, 2, 1):
        on_gpus.launch(number)
    assert seen == ["4", "6", "4", "6"]
    local_processes.ProcessLauncher(lambda: None).launch(0)
    assert seen[-1] == "4,6"


@pytest.mark.parametrize(("gpus", "machines", "sharing"), [(0, 1, 4), (2, 1, 2), (4, 2, 1)])
def test_workers_share_the_memory_of_their_device(gpus: int, machines: int, sharing: int) -> None:
    """Four workers on two GPUs have half of one each."""
    names = tuple(map(str, range(gpus)))
    assert EngineChoice(workers=4, machines=machines, devices=names).workers_per_device == sharing


def test_no_more_workers_than_bases_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """One always starts; a line says how much memory each needs."""
    monkeypatch.setattr(start, "worker_bytes", lambda *arguments: 3 * 2**30)
    prepared: Any = SimpleNamespace(skeleton=None, task=None)
    spec: Any = None
    for free, kept in ((2, 1), (7, 2), (100, 4)):
        monkeypatch.setattr(start, "usable_memory", lambda free=free: free * 2**30)
        remarks: list[str] = []
        choice = start._as_memory_allows(spec, prepared, EngineChoice(workers=4), remarks.append)
        assert choice.workers == kept
        assert len(remarks) == (kept < 4)
