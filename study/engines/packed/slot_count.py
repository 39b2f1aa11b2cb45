"""Choose how many trials to pack: as many as fit into memory and still make each cheaper."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace

import psutil

from study.engines.memory import PeakMemory
from study.engines.packed.packed_engine import PackedEngine
from study.kinds.methods import METHODS
from study.spec.sections import StudySpec
from study.trials import TrialConfig, baseline_configs, search_config

MOST = 64
WORTH_IT = 0.97  # doubling must reduce the time per trial to this share
STEPS = 3
SHARE_OF_MEMORY = 0.7
ROUNDS_OF_ADAPTIVE_SAMPLERS = 4  # benchmarks/parallel_proposals.py


def most_slots(spec: StudySpec, workers: int) -> int:
    """Return the largest number of slots that a worker can use.

    A sampler that learns from results proposes in rounds: the more trials run at once, the fewer
    results each proposal is based on.
    """
    trials = spec.search.budget + len(baseline_configs(spec))
    if spec.search.learns:
        trials = math.ceil(trials / ROUNDS_OF_ADAPTIVE_SAMPLERS)
    return max(1, min(MOST, math.ceil(trials / workers)))


def measured_slots(engine: PackedEngine, spec: StudySpec, workers: int) -> int:
    """Return how many of the engine's slots are worth using, measured on the largest trial.

    Doubles the number of trials until that hardly saves time per trial, until twice as many would
    not fit into this worker's share of memory, or until no slots are left.
    """
    free_bytes = psutil.virtual_memory().available * SHARE_OF_MEMORY / workers
    best, seconds_before = 1, math.inf
    for k in _doubling(engine.slots):
        memory = PeakMemory()
        start_bytes = memory.peak_bytes()
        seconds = _seconds_per_step(engine, _largest(spec), k)
        if engine.slots < k or seconds > WORTH_IT * seconds_before:
            return best
        best, seconds_before = k, seconds
        if 2 * (memory.peak_bytes() - start_bytes) > free_bytes:
            return best
    return best


def _doubling(most: int) -> Iterator[int]:
    k = 1
    while k < most:
        yield k
        k *= 2
    yield most


def _largest(spec: StudySpec) -> TrialConfig:
    names = ("rank", "batch_size", "gradient_accumulation_steps", "dropout")
    values = {name: max(spec.values_of(name)) for name in names}
    values["target_modules"] = spec.values_of("target_modules")[-1]
    values["method"] = next(name for name in spec.methods if METHODS[name].packs)
    return search_config(spec, 0, values, seed_index=0)


def _seconds_per_step(engine: PackedEngine, config: TrialConfig, k: int) -> float:
    """Return the seconds per step and trial with k trials, which are removed afterwards."""
    for number in range(k):
        engine.start(replace(config, number=number))
    seconds = []
    for _ in range(STEPS):
        started = time.perf_counter()
        engine.train_one_step()
        seconds.append(time.perf_counter() - started)
    for number in range(k):
        engine.stop(number)
    return min(seconds) / k


def in_even_rounds(slots: int, spec: StudySpec, workers: int) -> int:
    """Return the fewest slots for the same number of rounds, so that every round is full."""
    trials = (spec.search.budget + len(baseline_configs(spec))) / workers
    return math.ceil(trials / math.ceil(trials / slots))
