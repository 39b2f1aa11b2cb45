"""Cores and memory are those that affinity and cgroups leave to this process."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from study import hardware

GIB = 2**30


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder for the files of a machine with eight hardware threads and 64 GiB."""
    monkeypatch.setattr(hardware, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(hardware, "MEMBERSHIP", tmp_path / "membership")
    monkeypatch.setattr(hardware, "TOPOLOGY", tmp_path / "cpus")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    memory = SimpleNamespace(available=64 * GIB)
    monkeypatch.setattr(hardware.psutil, "virtual_memory", lambda: memory)
    for core in range(8):
        write(tmp_path / "cpus" / hardware.SIBLINGS.format(core), f"{core % 4},{core % 4 + 4}\n")
    return tmp_path


def write(file: Path, text: object) -> None:
    """Write a file of the system."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(str(text))


def test_threads_of_a_core_count_once(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight threads are four cores; a process confined to the threads of one core has one."""
    assert (hardware.available_cores(), hardware.physical_cores()) == (8, 4)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1, 5}, raising=False)
    assert hardware.physical_cores() == 1


@pytest.mark.parametrize(("quota", "cores"), [("max 100000", 4), ("250000 100000", 3), ("1 9", 1)])
def test_a_containers_quota_limits_the_cores(system: Path, quota: str, cores: int) -> None:
    """Two and a half cores' worth of time keep three workers busy."""
    write(system / "membership", "0::/job/worker\n")
    write(system / "cgroup" / "job" / "cpu.max", quota)
    assert hardware.physical_cores() == cores


def test_a_containers_limit_is_the_memory(system: Path) -> None:
    """What files are cached can be dropped; the narrowest of the groups above counts."""
    assert hardware.free_memory() == 64 * GIB
    write(system / "membership", "0::/job/worker\n")
    for folder, most in (("job", 8 * GIB), ("job/worker", "max")):
        write(system / "cgroup" / folder / "memory.max", most)
        write(system / "cgroup" / folder / "memory.current", 5 * GIB)
        write(system / "cgroup" / folder / "memory.stat", f"anon 1\ninactive_file {GIB}\n")
    assert hardware.free_memory() == 4 * GIB


def test_the_first_version_of_cgroups_limits_too(system: Path) -> None:
    """Its files have other names."""
    write(system / "membership", "4:memory:/job\n3:cpu,cpuacct:/job\n")
    write(system / "cgroup" / "memory" / "job" / "memory.limit_in_bytes", 2 * GIB)
    write(system / "cgroup" / "memory" / "job" / "memory.usage_in_bytes", GIB)
    write(system / "cgroup" / "cpu,cpuacct" / "job" / "cpu.cfs_quota_us", 200000)
    write(system / "cgroup" / "cpu,cpuacct" / "job" / "cpu.cfs_period_us", 100000)
    assert hardware.free_memory() == GIB
    assert hardware.physical_cores() == 2
