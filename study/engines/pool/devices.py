"""Which devices train, and how many workers: one per GPU, or per physical core of the CPU.

A worker sees one GPU, as `cuda:0`: CUDA_VISIBLE_DEVICES is set before PyTorch is imported there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from study.engines.engine_choice import AS_MANY_AS_FIT, CPU, EngineChoice
from study.errors import InputError
from study.hardware import physical_cores

VISIBLE = "CUDA_VISIBLE_DEVICES"


@contextmanager
def on_devices(choice: EngineChoice) -> Iterator[EngineChoice]:
    """Yield the choice with the GPUs that train and a number of workers; hide all other GPUs.

    Raises:
        InputError: the choice names a GPU that this process does not see.
    """
    if choice.ray is not None:  # Ray gives each worker its device
        yield choice
        return
    gpus = _chosen(choice.devices, visible_gpus())
    workers = choice.workers
    if workers == AS_MANY_AS_FIT:
        workers = len(gpus) or physical_cores()
    seen = gpus[:1] if workers == 1 else gpus
    with environment({VISIBLE: ",".join(seen)} if gpus or choice.devices else {}):
        yield replace(choice, devices=tuple(seen), workers=workers)


def visible_gpus() -> list[str]:
    """Return the names of the GPUs that this process sees, as CUDA_VISIBLE_DEVICES lists them."""
    import torch

    count = torch.cuda.device_count()
    named = os.environ.get(VISIBLE)
    return [str(n) for n in range(count)] if named is None else named.split(",")[:count]


def _chosen(named: Sequence[str], gpus: Sequence[str]) -> list[str]:
    if not named:
        return list(gpus)
    if CPU in named:
        return []
    missing = [name for name in named if int(name) >= len(gpus)]
    if missing:
        allowed = ", ".join([CPU, *map(str, range(len(gpus)))])
        raise InputError(f"--devices: no GPU {missing[0]} is visible; allowed: {allowed}")
    return [gpus[int(name)] for name in named]


def device_of(worker: int, devices: Sequence[str]) -> dict[str, str]:
    """Return the environment of a worker: the GPUs take turns."""
    return {VISIBLE: devices[worker % len(devices)]} if devices else {}


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables, for processes that are started inside too."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
