"""Trials that cannot be packed, in one engine with those that can."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace

import pytest
import torch

from study.engines.engine_choice import EngineChoice
from study.engines.mixed import MixedEngine
from study.spec.sections import StudySpec
from study.trials import Event, Progress
from tests.engine_cases import CASES
from tests.engine_runs import Bench, assert_same_result, bench_of, train_all

CASE = CASES["not all packed"]


@pytest.fixture(scope="module")
def dropping(make_dropping_spec: Callable[..., StudySpec]) -> Bench:
    """Return a base that has dropout, and its task."""
    return bench_of(make_dropping_spec(dict(CASE.changes)))


def mixed_engine(bench: Bench, slots: int) -> MixedEngine:
    """Return an engine that packs what packs."""
    engine = bench.engine(EngineChoice(slots=slots))
    assert isinstance(engine, MixedEngine)
    return engine


def test_the_bases_own_dropout_comes_from_the_trials_seed(dropping: Bench) -> None:
    """It makes a difference, and PyTorch's global generator makes none."""
    plain, with_dropout = CASE.configs(dropping.spec)[:2]
    torch.manual_seed(1)
    first = dropping.alone(with_dropout)
    torch.manual_seed(2)
    assert_same_result(dropping.alone(with_dropout), first)
    assert dropping.alone(plain).metrics()["loss"] != first.metrics()["loss"]


@pytest.mark.whole
def test_packed_trials_drain_before_one_is_trained_alone(bench: Bench) -> None:
    """While trials wait the slots stay full; while one is trained alone none is free."""
    packed, waiting, other, later = CASE.configs(bench.spec)[:4]
    with closing(mixed_engine(bench, slots=2)) as engine:
        engine.start(packed)
        engine.start(waiting)
        assert engine.free_slots == 1
        engine.start(later)
        assert engine.free_slots == 0
        assert numbers(engine.advance()) == {packed.number}
        engine.stop(packed.number)
        assert engine.free_slots == 0
        assert numbers(engine.advance()) == {waiting.number}
        assert engine.stop(waiting.number).details["steps"] == 2
        assert engine.free_slots == 0
        assert numbers(engine.advance()) == {later.number}
        engine.stop(later.number)
        assert engine.free_slots == 2
        results, _ = train_all(engine, [other])
    assert_same_result(results[other.number], bench.alone(other))


@pytest.mark.whole
def test_what_the_study_does_not_search_is_trained_alone(bench: Bench) -> None:
    """A trial of a larger rank, as an older study may hold, has its own result."""
    packed = CASE.configs(bench.spec)[0]
    assert packed.method is not None
    larger = replace(packed, number=7, method=packed.method.model_copy(update={"rank": 64}))
    with closing(mixed_engine(bench, slots=2)) as engine:
        results, _ = train_all(engine, [packed, larger])
    assert_same_result(results[larger.number], bench.alone(larger))


def numbers(events: Sequence[Event]) -> set[int]:
    """Return who reports."""
    return {event.number for event in events if isinstance(event, Progress)}


@pytest.mark.whole
def test_no_slot_is_free_when_memory_ran_out_while_trials_wait(bench: Bench) -> None:
    """A pack that was halved has fewer slots than trials that wait: none is free, not minus one."""
    configs = CASE.configs(bench.spec)
    with closing(mixed_engine(bench, slots=3)) as engine:
        for config in (configs[0], configs[1], configs[3]):
            engine.start(config)
        engine._packed.slots = 1
        assert engine.free_slots == 0
        results, _ = train_all(engine, [], running=3)
    assert len(results) == 3
