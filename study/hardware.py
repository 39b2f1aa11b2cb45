"""What this process may use of the machine: cores and memory.  Imports nothing heavy."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

import psutil

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
TOPOLOGY = Path("/sys/devices/system/cpu")
SIBLINGS = "cpu{}/topology/thread_siblings_list"


def available_cores() -> int:
    """Return how many cores this process may use, counting every hardware thread."""
    return len(_cores())


def device_kind() -> str:
    """Return the kind of device that models go to: `cuda` or `cpu`."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _cores() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def physical_cores() -> int:
    """Return how many physical cores this process may use, by affinity and by its cgroup's quota.

    Threads that share a core also share what a matrix product is bound by.
    """
    siblings = set()
    for core in _cores():
        try:
            siblings.add((TOPOLOGY / SIBLINGS.format(core)).read_text().strip())
        except OSError:
            siblings.add(str(core))
    return max(1, min(len(siblings), _quota()))


def _quota() -> int:
    """Return the cores' worth of time that the cgroups allow, at least one."""
    least = math.inf
    for folder in _groups("cpu"):
        for name in ("cpu.max", "cpu.cfs_quota_us"):
            words = _words(folder / name) or ["max"]
            period = words[1:] or _words(folder / "cpu.cfs_period_us")
            if words[0].isdecimal() and period:  # "max" or -1: no limit
                least = min(least, math.ceil(int(words[0]) / int(period[0])))
    return max(1, int(min(least, 2**20)))


def free_memory() -> int:
    """Return the bytes of memory that this process may still take: the system's or a cgroup's."""
    return int(min([psutil.virtual_memory().available, *_left_in_groups()]))


def _left_in_groups() -> Iterator[int]:
    """Yield what each cgroup that limits memory has left; the cache of files can be dropped."""
    for folder in _groups("memory"):
        for limit, used, cache in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            most, taken = _words(folder / limit), _words(folder / used)
            if most and taken and most[0].isdecimal():
                stat = _words(folder / "memory.stat")
                dropped = dict(zip(stat[::2], stat[1::2], strict=False)).get(cache, "0")
                yield max(0, int(most[0]) - int(taken[0]) + int(dropped))


def _groups(controller: str) -> Iterator[Path]:
    """Yield the folders of this process's cgroups, of both versions, and of those above them.

    A container may see its own group as the root.
    """
    try:
        lines = MEMBERSHIP.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = CGROUPS / controllers if controllers else CGROUPS
        group = root / path.lstrip("/")
        yield from (f for f in (group, *group.parents) if f == root or root in f.parents)


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:
        return []
