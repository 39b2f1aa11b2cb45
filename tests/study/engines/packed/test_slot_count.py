"""How many trials are packed: what can be used and what fits."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from study.engines.packed import slot_count as module
from study.engines.packed.slot_count import (
    fitting_slots,
    in_even_rounds,
    most_slots,
    numbers_per_weight,
    slot_bytes,
)
from study.kinds.optimizers import OPTIMIZERS
from study.kinds.table_names import names_where
from study.spec.sections import StudySpec
from study.trials import search_config
from tests.engine_runs import Bench

MakeSpec = Callable[..., StudySpec]


@pytest.mark.parametrize(
    ("sampler", "trials", "workers", "most"),
    [
        ("random", 6, 1, 8),  # and two baselines
        ("random", 30, 2, 16),
        ("random", 31, 2, 17),
        ("random", 1000, 1, 64),
        ("random", 1000, 100, 11),
        ("random", 1, 8, 1),
        ("tpe", 62, 1, 16),
        ("tpe", 62, 2, 8),
        ("gp", 1000, 1, 64),
        ("gp", 1, 1, 1),
    ],
)
def test_no_more_slots_than_can_be_used(
    make_spec: MakeSpec,
    monkeypatch: pytest.MonkeyPatch,
    sampler: str,
    trials: int,
    workers: int,
    most: int,
) -> None:
    """As many as there are trials for a worker; samplers that learn are asked in rounds."""
    monkeypatch.setattr(module, "ROUNDS_OF_ADAPTIVE_SAMPLERS", 4)
    spec = make_spec({"search.sampler": sampler, "search.trials": trials})
    assert most_slots(spec, workers) == most


@pytest.mark.parametrize(
    ("slots", "trials", "workers", "even"),
    [
        (24, 62, 1, 22),  # 64 trainings in three rounds
        (63, 62, 1, 32),
        (64, 62, 1, 64),
        (1, 62, 1, 1),
        (20, 62, 2, 16),
        (3, 1, 1, 3),
    ],
)
def test_rounds_are_even(
    make_spec: MakeSpec, slots: int, trials: int, workers: int, even: int
) -> None:
    """No last round of a trial or two: the same rounds, with as few slots as they need."""
    assert in_even_rounds(slots, make_spec({"search.trials": trials}), workers) == even


def test_even_rounds_are_as_few_and_as_narrow_as_can_be(make_spec: MakeSpec) -> None:
    """For every number of slots and trials: never more slots, never more rounds."""
    for trials in (1, 5, 17):
        spec = make_spec({"search.trials": trials})
        total = trials + 2
        for slots in range(1, total + 1):
            even = in_even_rounds(slots, spec, workers=1)
            assert even <= slots
            assert math.ceil(total / even) == math.ceil(total / slots)
            assert even == 1 or math.ceil(total / (even - 1)) > math.ceil(total / slots)


# ---------------------------------------------------------------- memory


def test_memory_limits_the_slots_before_they_are_allocated(make_spec: MakeSpec) -> None:
    """Half of what is free is for adapters and optimizers; one slot there always is."""
    spec = make_spec({"search.trials": 62})
    assert fitting_slots(spec, 1, bytes_per_slot=1, free_bytes=10**9) == 64
    assert fitting_slots(spec, 1, bytes_per_slot=100, free_bytes=4000) == 16  # 20, in even rounds
    assert fitting_slots(spec, 1, bytes_per_slot=100, free_bytes=10) == 1


@pytest.mark.parametrize(
    ("changes", "numbers"),
    [
        ({"training.optimizer": "sgd"}, 3),
        ({"training.optimizer": "adafactor"}, 2),
        ({"search.parameters.optimizer": {"choices": ["lion", "adamw", "sgd"]}}, 4),
    ],
)
def test_moments_are_counted_by_the_optimizers_of_the_study(
    make_spec: MakeSpec, changes: dict[str, Any], numbers: int
) -> None:
    """Weight, gradient, and the moments of whichever optimizer keeps most."""
    assert numbers_per_weight(make_spec(changes)) == numbers


@pytest.mark.parametrize("optimizer", names_where(OPTIMIZERS, lambda row: row.packs))
def test_a_slot_takes_what_the_bank_and_the_optimizer_allocate(
    bench: Bench, optimizer: str
) -> None:
    """Counted before anything is allocated: weights, gradients and moments of the largest."""
    training = bench.spec.training.model_copy(update={"optimizer": optimizer})
    spec = bench.spec.model_copy(update={"training": training})
    config = search_config(spec, 0, {"rank": 32, "target_modules": "attention+ffn"}, 0)
    with closing(bench.packed([config], slots=3)) as engine:
        engine.start(config)
        engine.train_one_step()
        matrices = engine._bank.weights, engine._bank.grads, *engine._optimizers.moments
        per_slot = sum(matrix.nbytes for matrix in matrices) // 3
        assert config.method is not None
        assert slot_bytes(spec, bench.base, [config.method]) == per_slot
