"""What goes wrong for one trial is its own affair; what goes wrong for a pack makes it smaller."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from study.engines.packed import updates
from study.engines.packed.updates import Move, SlotOptimizers
from study.engines.passes import IN_AN_UPDATE, TokenBudget
from study.engines.sequential import SequentialEngine
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


def assert_only_the_bad_one_fails(
    bench: Bench, configs: list[TrialConfig], reason: str, reads_late: bool | None = None
) -> None:
    """Train a pack; everyone but the bad one gives what it gives alone, and it fails as alone."""
    results = bench.together(configs, reads_late)
    assert results[BAD].failure == reason
    assert results[BAD].adapter is None
    assert results[BAD].details["steps"] == int(reason.split("step ")[1].split(":")[0])
    for config in configs:
        if config.number != BAD:
            assert_same_result(results[config.number], bench.alone(config))


# ---------------------------------------------------------------- one trial


@pytest.mark.parametrize("reads_late", [False, True])
def test_a_trial_that_diverges_fails_alone(bench: Bench, reads_late: bool) -> None:
    """A learning rate beyond all reason ends in a loss that is no number, for one trial only.

    A GPU's losses are read during the step after, which changes nothing.
    """
    configs = configs_of(bench, 3, learning_rate=1e200)
    reason = bench.alone(configs[BAD]).failure
    assert reason is not None
    assert reason.startswith("the training loss became nan at step")
    assert_only_the_bad_one_fails(bench, configs, reason, reads_late)


@pytest.mark.whole
@pytest.mark.parametrize("reads_late", [False, True])
@pytest.mark.parametrize("factors", [(torch.nan, 1.0), (0.0, 0.0)])
def test_rows_without_a_loss_fail_their_trial_alone(
    bench: Bench, factors: tuple[float, float], reads_late: bool
) -> None:
    """A task that gives NaN, or no weight at all, for one trial's rows costs that trial."""

    def seen(numbers: Tensor) -> Tensor:
        is_bad = (numbers == BAD)[:, None]
        return torch.where(is_bad, torch.tensor(factors), torch.ones(2)).double()

    spoilt = marked(bench, seen)
    reason = "the training loss became nan at step 1"
    assert spoilt.alone(configs_of(bench)[BAD]).failure == reason
    assert_only_the_bad_one_fails(spoilt, configs_of(bench, 3), reason, reads_late)


def test_a_slot_without_a_finite_loss_is_masked_on_the_device(bench: Bench) -> None:
    """Until the host reads the loss, its weights stay numbers; the moments of others are moved."""
    spoilt = marked(
        bench, lambda numbers: torch.where(numbers == BAD, torch.nan, 1.0)[:, None].double()
    )
    configs = configs_of(bench, 3)
    with closing(spoilt.packed(configs, reads_late=True)) as engine:
        for config in configs:
            engine.start(config)
        engine.train_one_step()
        assert not any(training.failure for training in engine._trials.values())
        assert engine._bank.weights.isfinite().all()
        mean = engine._optimizers.moments[0]
        assert [bool(row.any()) for row in mean] == [True, False, True]
        before = engine._trials[BAD].tokens
        engine.train_one_step()
        failed = engine._trials[BAD]
        assert failed.failure == "the training loss became nan at step 1"
        assert (failed.step, failed.tokens) == (1, before)
        assert [engine._trials[slot].step for slot in (0, 2)] == [2, 2]


@pytest.mark.parametrize("when", ["in training", "in evaluation"])
def test_an_error_that_is_a_bug_is_raised(bench: Bench, when: str) -> None:
    """It is neither a failed trial nor a lack of memory, whatever its words are."""
    is_training = when == "in training"

    def seen(numbers: Tensor) -> None:
        if (numbers == BAD).any() and torch.is_grad_enabled() == is_training:
            raise RuntimeError("a shape that is out of memory of its own does not fit")

    spoilt = marked(bench, seen)
    with pytest.raises(RuntimeError, match="of its own"):
        spoilt.together(configs_of(bench, 4))
    with pytest.raises(RuntimeError, match="of its own"):
        spoilt.alone(configs_of(bench)[BAD])


def test_an_update_that_fails_is_not_made_twice_for_others(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory for one optimizer's state may be lacking when others have moved already."""
    make = SlotOptimizers.make

    def failing(optimizers: SlotOptimizers, block: Sequence[Move]) -> None:
        if block[0].slot == BAD:
            raise torch.OutOfMemoryError("tried to allocate 9 GiB")
        make(optimizers, block)

    reason = f"at step 1: {IN_AN_UPDATE}"
    configs = configs_of(bench, 3)
    with monkeypatch.context() as patch:
        patch.setattr(SlotOptimizers, "make", failing)
        patch.setitem(updates.BLOCK_BYTES, "cpu", 1)
        assert_only_the_bad_one_fails(bench, configs, reason)

    def failing_alone(training: Training) -> None:
        raise torch.OutOfMemoryError("tried to allocate 9 GiB")

    monkeypatch.setattr(Training, "update", failing_alone)
    assert bench.alone(configs[BAD]).failure == reason


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


@pytest.mark.parametrize(
    "error", [OUT_OF_MEMORY[0], pytest.param(OUT_OF_MEMORY[1], marks=pytest.mark.whole)]
)
def test_passes_that_do_not_fit_are_halved_and_repeated(bench: Bench, error: Exception) -> None:
    """All slots stay in use, a notice says so, and every trial gives what it gives alone."""
    small = limited(bench, 8, error)
    configs = configs_of(bench)
    notices: list[str] = []
    with closing(small.packed(configs, slots=4)) as engine:
        results, reports = train_all(engine, configs, notices)
        assert (engine.slots, engine.free_slots) == (4, 4)
    assert all(notice.startswith("out of memory: ") for notice in notices)
    assert {notice.split()[3] for notice in notices} == {"training", "evaluation"}
    assert [[step for step, _ in curve] for curve in reports.values()] == [[2, 4, 5]] * len(configs)
    for config in configs:
        assert_same_result(results[config.number], bench.alone(config))


def test_memory_that_runs_out_in_the_middle_of_a_step_changes_no_result(bench: Bench) -> None:
    """What earlier passes and half a backward pass added to the gradients is not added twice."""
    trained = 0

    def seen(numbers: Tensor) -> Tensor | None:
        nonlocal trained
        if not torch.is_grad_enabled():
            return None
        trained += 1
        if trained == 2:
            raise OUT_OF_MEMORY[0]
        return FailingBackward.apply(numbers) if trained == 4 else None  # type: ignore[no-untyped-call]

    configs = configs_of(bench, 4)
    spoilt = marked(bench, seen)
    with closing(spoilt.packed(configs)) as engine:
        results, _ = train_all(engine, configs)
    assert trained > 4
    for config in configs:
        assert_same_result(results[config.number], bench.alone(config))


class FailingBackward(torch.autograd.Function):
    """A factor 1 whose backward pass runs out of memory."""

    @staticmethod
    def forward(ctx: Any, numbers: Tensor) -> Tensor:
        return torch.ones(len(numbers), 1, dtype=torch.float64)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> None:
        raise OUT_OF_MEMORY[0]


@pytest.mark.whole
def test_a_trial_in_one_slot_is_cut_into_passes_of_any_size(bench: Bench) -> None:
    """Micro batches change nothing, with dropout too, in either engine."""
    config = search_config(bench.spec, 0, {"batch_size": 13, "dropout": 0.2, "rank": 8}, 0)
    whole = bench.alone(config)
    for tokens in (1, 100):
        budget = TokenBudget(tokens, tokens)
        with closing(SequentialEngine(bench.spec, bench.base, bench.task, budget)) as engine:
            assert_same_result(train_all(engine, [config])[0][0], whole)
        with closing(bench.packed([config], budget=TokenBudget(tokens, tokens))) as packed:
            assert_same_result(train_all(packed, [config])[0][0], whole)


@pytest.mark.whole
def test_rows_that_do_not_fit_alone_fail_their_trial(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason says how long they are; the others are trained as they are alone."""
    bad_rows = configs_of(bench, 3)

    def seen(numbers: Tensor) -> None:
        if torch.is_grad_enabled() and (numbers == BAD).any():
            raise OUT_OF_MEMORY[0]

    spoilt = marked(bench, seen)
    failure = spoilt.together(bad_rows)[BAD].failure
    assert failure is not None
    assert re.fullmatch(
        r"at step 0: out of memory in a pass over a row of \d+ tokens; lower data.max_tokens",
        failure,
    )
    assert_only_the_bad_one_fails(spoilt, bad_rows, failure)
    failure = spoilt.alone(bad_rows[BAD]).failure
    assert failure is not None
    assert "a pass over a row of" in failure


def test_an_evaluated_row_that_does_not_fit_fails_its_trials(bench: Bench) -> None:
    """Everyone is evaluated on it, one row of one trial at a time in the end."""

    def seen(numbers: Tensor) -> None:
        if not torch.is_grad_enabled():
            raise OUT_OF_MEMORY[0]

    spoilt = marked(bench, seen)
    configs = configs_of(bench, 2)
    results = spoilt.together(configs)
    for config in configs:
        failure = results[config.number].failure
        assert failure is not None
        assert failure.startswith("at step 2: out of memory in a pass over a row of ")
        assert spoilt.alone(config).failure == failure
