"""What goes wrong for one trial is its own affair; what goes wrong for a pack makes it smaller."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from study.engines.trial_state import Training
from study.tasks.base import Batch
from study.trials import TrialConfig, search_config
from tests.engine_runs import Bench, assert_same_result, train_all

BAD = 1
POINTS: list[dict[str, Any]] = [
    {"rank": 4, "alpha": 16, "learning_rate": 1e-3, "dropout": 0.1, "target_modules": "qv"},
    {"rank": 8, "alpha": 64, "learning_rate": 1e-3, "dropout": 0.1},
    {"rank": 16, "alpha": 8, "learning_rate": 1e-2, "dropout": 0.0},
    {"rank": 4, "alpha": 128, "learning_rate": 1e-4, "dropout": 0.2},
    {"rank": 32, "alpha": 32, "learning_rate": 1e-3, "dropout": 0.0, "target_modules": "qv"},
]


class MarkedTask:
    """A task whose rows know the number of their trial; `seen` may refuse them or change losses."""

    def __init__(self, task: Any, seen: Callable[[Tensor], Tensor | None]) -> None:
        self._task = task
        self._seen = seen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def collate(self, examples: Any, config: TrialConfig, generator: torch.Generator) -> Batch:
        batch: Batch = self._task.collate(examples, config, generator)
        return replace(batch, rows={"number": torch.full((len(examples),), config.number)})

    def loss(self, model: Any, batch: Batch) -> Tensor:
        factors = self._seen(batch.rows["number"])
        losses: Tensor = self._task.loss(model, batch)
        return losses if factors is None else losses * factors

    def predict(self, model: Any, batch: Batch) -> list[str]:
        self._seen(batch.rows["number"])
        texts: list[str] = self._task.predict(model, batch)
        return texts


def marked(bench: Bench, seen: Callable[[Tensor], Tensor | None]) -> Bench:
    """Return the bench with a task that fails as a test wants, four examples at a time."""
    evaluation = bench.spec.evaluation.model_copy(update={"batch_size": 4})
    spec = bench.spec.model_copy(update={"evaluation": evaluation})
    return Bench(spec, bench.base, MarkedTask(bench.task, seen))  # type: ignore[arg-type]


def configs_of(bench: Bench, count: int = len(POINTS), **of_bad: Any) -> list[TrialConfig]:
    """Return trials of which one is bad in its way."""
    points = [{**point, **(of_bad if n == BAD else {})} for n, point in enumerate(POINTS[:count])]
    return [search_config(bench.spec, n, point, n) for n, point in enumerate(points)]


def assert_only_the_bad_one_fails(bench: Bench, configs: list[TrialConfig], reason: str) -> None:
    """Train a pack; everyone but the bad one gives what it gives alone."""
    results = bench.together(configs)
    assert results[BAD].failure == reason
    assert results[BAD].adapter is None
    for config in configs:
        if config.number != BAD:
            assert_same_result(results[config.number], bench.alone(config))


# ---------------------------------------------------------------- one trial


def test_a_trial_that_diverges_fails_alone(bench: Bench) -> None:
    """A learning rate beyond all reason ends in a loss that is no number, for one trial only."""
    configs = configs_of(bench, 3, learning_rate=1e200)
    reason = bench.alone(configs[BAD]).failure
    assert reason is not None
    assert reason.startswith("the training loss became nan at step")
    assert_only_the_bad_one_fails(bench, configs, reason)


@pytest.mark.parametrize("factors", [(torch.nan, 1.0), (0.0, 0.0)])
def test_rows_without_a_loss_fail_their_trial_alone(
    bench: Bench, factors: tuple[float, float]
) -> None:
    """A task that gives NaN, or no weight at all, for one trial's rows costs that trial."""

    def seen(numbers: Tensor) -> Tensor:
        is_bad = (numbers == BAD)[:, None]
        return torch.where(is_bad, torch.tensor(factors), torch.ones(2)).double()

    spoilt = marked(bench, seen)
    reason = "the training loss became nan at step 1"
    assert spoilt.alone(configs_of(bench)[BAD]).failure == reason
    assert_only_the_bad_one_fails(spoilt, configs_of(bench, 3), reason)


@pytest.mark.parametrize("when", ["in training", "in evaluation"])
def test_an_error_of_one_trial_fails_it_alone(bench: Bench, when: str) -> None:
    """The pack is halved until the trial stands alone with its error, and goes on as a pack."""
    is_training = when == "in training"

    def seen(numbers: Tensor) -> None:
        if (numbers == BAD).any() and torch.is_grad_enabled() == is_training:
            raise RuntimeError("a shape of its own\n does not fit")

    spoilt = marked(bench, seen)
    configs = configs_of(bench, 4)
    step = 0 if is_training else 2
    assert_only_the_bad_one_fails(
        spoilt, configs, f"at step {step}: a shape of its own does not fit"
    )
    with closing(spoilt.packed(configs)) as engine:
        notices: list[str] = []
        train_all(engine, configs, notices)
        assert (engine.slots, notices) == (4, [])


def test_an_update_that_fails_is_not_made_twice_for_others(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory for one optimizer's state may be lacking when others have moved already."""
    update = Training.update

    def failing(training: Training) -> None:
        if training.config.number == BAD:
            raise torch.OutOfMemoryError("tried to allocate 9 GiB")
        update(training)

    monkeypatch.setattr(Training, "update", failing)
    configs = configs_of(bench, 3)
    assert_only_the_bad_one_fails(bench, configs, "at step 1: tried to allocate 9 GiB")


# ---------------------------------------------------------------- memory

OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"),
]


def limited(bench: Bench, rows: int, error: Exception = OUT_OF_MEMORY[0]) -> Bench:
    """Return a bench on which more than so many rows in a pass do not fit."""

    def seen(numbers: Tensor) -> None:
        if len(numbers) > rows:
            raise error

    return marked(bench, seen)


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_a_pack_that_does_not_fit_is_halved(bench: Bench, error: Exception) -> None:
    """Slots are cut in half with a notice, and every trial still gives what it gives alone."""
    small = limited(bench, 8, error)
    configs = configs_of(bench)
    notices: list[str] = []
    with closing(small.packed(configs, slots=4)) as engine:
        results, reports = train_all(engine, configs, notices)
        assert (engine.slots, engine.free_slots) == (2, 2)
    assert notices == ["out of memory: continuing with 2 slots"]
    assert [[step for step, _ in curve] for curve in reports.values()] == [[2, 4, 5]] * len(configs)
    for config in configs:
        assert_same_result(results[config.number], small.alone(config))


def test_fewer_slots_are_filled_once_memory_ran_out(bench: Bench) -> None:
    """What is packed already goes on in halves; no slot is free until fewer trials run."""
    small = limited(bench, 8)
    configs = configs_of(bench)
    with closing(small.packed(configs, slots=4)) as engine:
        for config in configs[:4]:
            engine.start(config)
        engine.advance()
        assert engine.free_slots == 0
        engine.stop(0)
        engine.stop(1)
        assert engine.free_slots == 0
        engine.stop(2)
        assert engine.free_slots == 1
        engine.start(configs[4])
        results, _ = train_all(engine, [], running=2)
    assert_same_result(results[4], small.alone(configs[4]))


def test_a_trial_that_does_not_fit_alone_fails_alone(bench: Bench) -> None:
    """Where even one slot is too much the trial fails with the allocator's words."""
    small = limited(bench, 8)
    configs = configs_of(bench, 3, batch_size=9)
    reason = "at step 0: CUDA out of memory. Tried to allocate 2.00 GiB"
    assert small.alone(configs[BAD]).failure == reason
    assert_only_the_bad_one_fails(small, configs, reason)
