"""Choose how many trials to pack: as many as the sampler can use and memory holds."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch

from study.bases.load import BaseModel
from study.engines.packed.plan import RowPlan, linears_of, trained_in_full
from study.kinds.optimizers import OPTIMIZERS
from study.spec.hyperparameters import MethodSpec
from study.spec.sections import StudySpec
from study.trials import baseline_configs

MOST = 64
SHARE_FOR_STATES = 0.5  # of memory; the rest is for passes
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


def fitting_slots(spec: StudySpec, workers: int, bytes_per_slot: int, free_bytes: float) -> int:
    """Return how many slots the sampler can use and memory holds, in rounds of equal size."""
    held = int(free_bytes * SHARE_FOR_STATES // bytes_per_slot)
    return in_even_rounds(max(1, min(most_slots(spec, workers), held)), spec, workers)


def numbers_per_weight(spec: StudySpec) -> int:
    """Return how many numbers a trained weight takes: itself, its gradient and the most moments."""
    baselines = {config.training.optimizer for config in baseline_configs(spec)}
    return 2 + max(OPTIMIZERS[name].moments for name in {*spec.values_of("optimizer"), *baselines})


def slot_bytes(spec: StudySpec, base: BaseModel, methods: Iterable[MethodSpec]) -> int:
    """Return the bytes of a slot's weights, gradients and optimizer, for the largest method."""
    methods = list(methods)
    linears = linears_of(base, {method.target_modules for method in methods})
    plan = RowPlan(linears, max(method.rank for method in methods), trained_in_full(base))
    initial = any(method.begins_in_weight for method in methods)  # B₀ and A₀ are kept
    number = torch.promote_types(base.model.dtype, torch.float32).itemsize
    return max(1, plan.width * (numbers_per_weight(spec) + initial) * number)


def in_even_rounds(slots: int, spec: StudySpec, workers: int) -> int:
    """Return the fewest slots for the same number of rounds, so that every round is full."""
    trials = (spec.search.budget + len(baseline_configs(spec))) / workers
    return math.ceil(trials / math.ceil(trials / slots))
