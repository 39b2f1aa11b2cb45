"""How many trials are packed: what can be used, what pays, and what fits."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from study.engines.packed import slot_count as module
from study.engines.packed.packed_engine import PackedEngine
from study.engines.packed.slot_count import in_even_rounds, measured_slots, most_slots
from study.spec.sections import StudySpec
from study.tasks.base import Batch
from study.trials import search_config
from tests.engine_runs import Bench, assert_same_result, train_all

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


# ---------------------------------------------------------------- measuring


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, make_spec: MakeSpec) -> Callable[..., int]:
    """Return a function that measures a machine of the given speed and memory."""

    def measure(
        seconds: Mapping[int, float], most: int, free_bytes: float = math.inf, workers: int = 1
    ) -> int:
        trained: list[int] = []

        def seconds_a_step(engine: Any, config: Any, k: int) -> float:
            trained.append(k)
            return seconds[k]

        class Memory:
            """Every trial takes a hundred bytes from the time on that this was made."""

            def __init__(self) -> None:
                self.before = len(trained)

            def peak_bytes(self) -> float:
                return 100 * sum(trained[self.before :])

        monkeypatch.setattr(module, "_seconds_per_step", seconds_a_step)
        monkeypatch.setattr(module, "PeakMemory", Memory)
        memory = SimpleNamespace(available=free_bytes / module.SHARE_OF_MEMORY)
        monkeypatch.setattr(module.psutil, "virtual_memory", lambda: memory)
        found = measured_slots(SimpleNamespace(slots=most), make_spec(), workers)  # type: ignore[arg-type]
        assert found in trained
        return found

    return measure


def test_slots_double_while_a_trial_gets_cheaper(measured: Callable[..., int]) -> None:
    """The first doubling that hardly helps is not taken; what can be used at all is the end."""
    cheaper = {1: 1.0, 2: 0.6, 4: 0.4, 8: 0.3, 11: 0.2}
    assert measured(cheaper, most=11) == 11
    assert measured({**cheaper, 8: 0.399}, most=11) == 4
    assert measured({**cheaper, 2: 1.1}, most=11) == 1
    assert measured(cheaper, most=1) == 1


def test_slots_that_would_not_fit_are_not_tried(measured: Callable[..., int]) -> None:
    """Twice the trials take twice the memory, of which every worker has its share."""
    cheaper = {1: 1.0, 2: 0.6, 4: 0.4, 8: 0.3}
    assert measured(cheaper, most=8, free_bytes=799) == 4
    assert measured(cheaper, most=8, free_bytes=800) == 8
    assert measured(cheaper, most=8, free_bytes=799, workers=2) == 2


def roomy(bench: Bench, slots: int) -> PackedEngine:
    """Return an engine with room for whatever the wide space has."""
    widest = {"rank": 32, "target_modules": "attention+ffn"}
    return bench.packed([search_config(bench.spec, 0, widest, 0)], slots)


def test_measuring_leaves_nothing_behind(bench: Bench) -> None:
    """The number lies within bounds, all slots are free, and trials are as they are alone."""
    config = search_config(bench.spec, 0, {"rank": 32, "dropout": 0.1, "learning_rate": 1e-2}, 0)
    with closing(roomy(bench, slots=6)) as engine:
        assert 1 <= measured_slots(engine, bench.spec, workers=1) <= 6
        assert (engine.slots, engine.free_slots) == (6, 6)
        results, _ = train_all(engine, [config])
    assert_same_result(results[0], bench.alone(config))


def test_measuring_stops_where_memory_runs_out(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not fit is found by trying: no crash, and no more slots than did fit."""
    loss = bench.task.loss

    def limited(model: Any, batch: Batch) -> Any:
        if len(batch.labels) > 8:  # of four rows a trial
            raise torch.OutOfMemoryError("tried to allocate 9 GiB")
        return loss(model, batch)

    monkeypatch.setattr(bench.task, "loss", limited)
    monkeypatch.setattr(module, "WORTH_IT", math.inf)
    with closing(roomy(bench, slots=6)) as engine:
        assert measured_slots(engine, bench.spec, workers=1) == 2
        assert engine.slots == 2
