"""A trial's result is the one that it has alone, whatever is packed beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from study.engines.packed.bank import AdapterBank
from study.engines.packed.batch_rows import Rows
from study.engines.packed.packed_engine import PackedEngine
from study.engines.passes import TokenBudget
from study.tasks.base import Batch, stacked
from study.trials import Finished, Progress, SplitResult, TrialConfig, TrialResult, search_config
from tests.engine_cases import CASES
from tests.engine_runs import Bench, assert_same_result, move_away


def configs_of(bench: Bench) -> list[TrialConfig]:
    """Return trials of different ranks, targets and batch sizes."""
    return CASES["lora"].configs(bench.spec)


# ---------------------------------------------------------------- random packings


@dataclass(frozen=True)
class Plan:
    """A trial that starts after so many reports of the engine, and may be stopped at a report."""

    config: TrialConfig
    starts_after: int
    stops_at: int | None


points = st.fixed_dictionaries(
    {
        "rank": st.integers(1, 12),
        "alpha": st.sampled_from([1.0, 4.0, 12.5]),
        # larger rates and alphas amplify rounding past the tolerance within five steps
        "learning_rate": st.sampled_from([1e-4, 1e-3]),
        "dropout": st.sampled_from([0.0, 0.1, 0.5]),
        "target_modules": st.sampled_from(["qv", "attention", "attention+ffn", "fc2"]),
        "batch_size": st.integers(1, 9),
        "steps": st.integers(2, 6),
        "use_rslora": st.booleans(),
        "init_lora_weights": st.sampled_from(["default", "pissa", "olora"]),
    }
)
packings = st.lists(
    st.tuples(points, st.integers(0, 3), st.sampled_from([None, None, 2, 4])),
    min_size=1,
    max_size=5,
)


def run_packing(engine: PackedEngine, plans: Sequence[Plan]) -> dict[int, TrialResult]:
    """Start and stop trials as planned; returns the results of those that came to their end."""
    waiting = sorted(plans, key=lambda plan: plan.starts_after)
    stops = {plan.config.number: plan.stops_at for plan in plans}
    results: dict[int, TrialResult] = {}
    reports = 0
    while waiting or engine.is_busy:
        while waiting and engine.free_slots:
            if engine.is_busy and waiting[0].starts_after > reports:
                break
            engine.start(waiting.pop(0).config)
        events = engine.advance()
        reports += 1
        ended = {event.number: event.result for event in events if isinstance(event, Finished)}
        results |= ended
        for event in events:
            is_report = isinstance(event, Progress) and event.number not in ended
            if is_report and event.step == stops[event.number]:
                engine.stop(event.number)
    return results


Drawn = list[tuple[dict[str, Any], int, int | None]]
drawn_packings = given(packings, st.integers(1, 3), st.sampled_from([1, 60, 200, 10_000]))


def so_many(examples: int) -> settings:
    """Return settings that draw the same packings every time."""
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )


@pytest.mark.parametrize("examples", [3, pytest.param(8, marks=pytest.mark.whole)])
def test_a_packing_gives_every_trial_its_own_result(bench: Bench, examples: int) -> None:
    """Trials that begin, end and are stopped at any time leave the others as they are alone."""

    @so_many(examples)
    @drawn_packings
    def check(drawn: Drawn, slots: int, tokens_per_pass: int) -> None:
        assert_each_as_alone(bench, drawn, slots, tokens_per_pass)

    check()


def assert_each_as_alone(bench: Bench, drawn: Drawn, slots: int, tokens_per_pass: int) -> None:
    """Train a packing, and each of its trials alone."""
    plans = [
        Plan(search_config(bench.spec, number, point, number), starts_after, stops_at)
        for number, (point, starts_after, stops_at) in enumerate(drawn)
    ]
    budget = TokenBudget(tokens_per_pass, tokens_per_pass)
    engine = bench.packed([plan.config for plan in plans], slots, budget)
    with closing(engine):
        results = run_packing(engine, plans)
    for plan in plans:
        config = plan.config
        is_stopped = plan.stops_at is not None and plan.stops_at < config.training.steps
        assert (config.number in results) != is_stopped
        if not is_stopped:
            assert_same_result(results[config.number], bench.alone(config))


def test_a_slot_that_pruning_frees_is_filled_at_once(bench: Bench) -> None:
    """Started in the middle of its neighbours' training, a trial trains as if it were alone."""
    first, pruned, third, late = configs_of(bench)
    with closing(bench.packed([first, pruned, third, late], slots=3)) as engine:
        for config in (first, pruned, third):
            engine.start(config)
        assert {event.step for event in engine.advance() if isinstance(event, Progress)} == {2}
        assert engine.free_slots == 0
        assert engine.stop(pruned.number).details["steps"] == 2
        assert engine.free_slots == 1
        engine.start(late)
        results: dict[int, TrialResult] = {}
        while engine.is_busy:
            events = engine.advance()
            results |= {e.number: e.result for e in events if isinstance(e, Finished)}
    assert set(results) == {first.number, third.number, late.number}
    for config in (first, third, late):
        assert_same_result(results[config.number], bench.alone(config))


# ---------------------------------------------------------------- evaluation


@pytest.fixture
def talking(bench: Bench) -> Iterator[AdapterBank]:
    """Yield a bank of four adapters that make the tiny base say other things of every source."""
    configs = configs_of(bench)
    methods = [config.method for config in configs if config.method]
    bank = AdapterBank(bench.base, methods, len(methods))
    for slot, config in enumerate(configs):
        bank.attach(slot, methods[slot], config.seed)
        move_away(bank, slot, 30.0 / methods[slot].scale)
    bank.open()
    yield bank
    bank.close()


def said(bench: Bench, bank: AdapterBank, slots: Sequence[int]) -> list[list[str]]:
    """Return what some slots say of all dev examples, in one pack."""
    config, examples = configs_of(bench)[0], bench.task.examples("dev")
    batch = bench.task.collate(examples, config, torch.Generator())
    bank.lay_out([Rows(slot, len(examples)) for slot in slots])
    with torch.inference_mode():
        rows = bench.task.predict(bench.base.model, stacked([batch] * len(slots)))
    return [rows[start : start + len(examples)] for start in range(0, len(rows), len(examples))]


def test_rows_that_end_early_are_what_they_are_alone(
    bench: Bench, talking: AdapterBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When rows of some trials end before others', everyone's outputs are those of `generate`."""
    generation = bench.base.model.generation_config
    monkeypatch.setattr(generation, "eos_token_id", list(range(2, 400, 5)))
    together = said(bench, talking, [2, 0, 3, 1])
    alone = [said(bench, talking, [slot])[0] for slot in (2, 0, 3, 1)]
    assert together == alone
    assert len({text for rows in together for text in rows}) > 20
    monkeypatch.setattr("study.tasks.translation.is_plain", lambda model: False)
    assert said(bench, talking, [2, 0, 3, 1]) == together


def test_beams_of_a_trial_do_not_meet_its_neighbours(
    bench: Bench, talking: AdapterBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Generation with beams repeats every row, and says of each trial what it says of it alone."""
    evaluation = bench.spec.evaluation.model_copy(update={"num_beams": 3})
    greedy = said(bench, talking, [1, 3])
    monkeypatch.setattr(bench.task, "_evaluation", evaluation)
    together = said(bench, talking, [1, 3])
    assert together == [said(bench, talking, [slot])[0] for slot in (1, 3)]
    assert together != greedy


class NoisyTask:
    """A task that draws something for every token when it collates, as masked diffusion does."""

    def __init__(self, task: Any) -> None:
        self._task = task

    def __getattr__(self, name: str) -> Any:
        return getattr(self._task, name)

    def collate(self, examples: Any, config: TrialConfig, generator: torch.Generator) -> Batch:
        batch: Batch = self._task.collate(examples, config, generator)
        noise = torch.rand(batch.labels.shape, generator=generator, dtype=torch.float64)
        return replace(batch, rows={"noise": noise.mean(dim=1)})

    def loss(self, model: Any, batch: Batch) -> Tensor:
        losses: Tensor = self._task.loss(model, batch)
        return losses * torch.stack([1 + batch.rows["noise"], torch.ones(len(losses))], dim=1)


def test_what_collate_draws_for_evaluation_does_not_depend_on_the_pack(bench: Bench) -> None:
    """Many trials are evaluated fewer rows at a time, on the draws that one is evaluated on."""
    noisy = replace(bench, task=NoisyTask(bench.task))  # type: ignore[arg-type]
    doubled = bench.task.examples("dev") * 2  # more than are collated at once
    config = configs_of(bench)[0]
    (alone,) = examined(noisy, [config], doubled)
    many = examined(noisy, [replace(config, number=number) for number in range(80)], doubled)
    for result in (many[0], many[-1]):
        values = result.statistics["loss"].values
        np.testing.assert_allclose(values, alone.statistics["loss"].values, rtol=1e-9)


def examined(
    bench: Bench, configs: Sequence[TrialConfig], examples: Sequence[Any]
) -> list[SplitResult]:
    """Evaluate untrained trials in one pack."""
    with closing(bench.packed(configs)) as engine:
        for config in configs:
            engine.start(config)
        return engine._examiner.evaluate(configs, examples, texts=False)
