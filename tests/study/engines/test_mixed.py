"""Trials that cannot be packed, in one engine with those that can."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
import torch

from study.engines.mixed import MixedEngine
from study.engines.sequential import SequentialEngine
from study.peft_methods.targets import why_not_packed
from study.spec.hyperparameters import MethodSpec
from study.trials import Event, Notice, TrialConfig, search_config
from tests.engine_runs import Bench, assert_same_result, train_all

POINTS: list[dict[str, Any]] = [
    {"rank": 4, "alpha": 16, "learning_rate": 1e-2, "dropout": 0.1, "target_modules": "qv"},
    {"rank": 8, "alpha": 64, "learning_rate": 1e-3, "dropout": 0.0},
    {"rank": 16, "alpha": 8, "learning_rate": 1e-3, "dropout": 0.2},
]


def with_base_dropout(config: TrialConfig) -> TrialConfig:
    """Return the trial with the base's own dropout."""
    training = config.training.model_copy(update={"base_dropout": True})
    return replace(config, number=config.number + 10, training=training)


def in_full(config: TrialConfig) -> TrialConfig:
    """Return the trial with all weights of the base trained."""
    return replace(config, number=config.number + 20, method=MethodSpec(name="full"))


def configs_of(bench: Bench) -> list[TrialConfig]:
    """Return trials that pack, and trials that do not, one behind the other."""
    first, second, third = (
        search_config(bench.spec, n, point, n) for n, point in enumerate(POINTS)
    )
    alone = [with_base_dropout(first), in_full(second), with_base_dropout(third), in_full(third)]
    return [first, alone[0], second, alone[1], alone[2], third, alone[3]]


@pytest.fixture
def dropping(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Return the bench with a base that has dropout, as published ones do."""
    for module in bench.base.model.modules():
        if isinstance(vars(module).get("dropout"), float):
            monkeypatch.setattr(module, "dropout", 0.3)
    return bench


def mixed_engine(bench: Bench, slots: int) -> MixedEngine:
    """Return an engine that packs what packs."""

    def why_alone(config: TrialConfig) -> str | None:
        return config.method and why_not_packed(config.method, config.training, bench.base)

    packable = [config for config in configs_of(bench) if why_alone(config) is None]
    alone = SequentialEngine(bench.spec, bench.base, bench.task)
    return MixedEngine(bench.packed(packable, slots), alone, why_alone)


@pytest.mark.parametrize("slots", [1, 3])
def test_every_trial_gives_what_it_gives_alone(dropping: Bench, slots: int) -> None:
    """Packed, with the base's dropout, or in full: no trial sees that others were there."""
    notices: list[str] = []
    configs = configs_of(dropping)
    with closing(mixed_engine(dropping, slots)) as engine:
        results, _ = train_all(engine, configs, notices)
    assert notices == [
        "not packed, trained one at a time: training.base_dropout",
        "not packed, trained one at a time: method 'full'",
    ]
    for config in configs:
        assert_same_result(results[config.number], dropping.alone(config))


def test_the_bases_own_dropout_comes_from_the_trials_seed(dropping: Bench) -> None:
    """It makes a difference, and PyTorch's global generator makes none."""
    plain = configs_of(dropping)[0]
    torch.manual_seed(1)
    first = dropping.alone(with_base_dropout(plain))
    torch.manual_seed(2)
    assert_same_result(dropping.alone(with_base_dropout(plain)), first)
    assert dropping.alone(plain).metrics()["loss"] != first.metrics()["loss"]


def test_packed_trials_drain_before_one_is_trained_alone(bench: Bench) -> None:
    """While trials wait the slots stay full; while one is trained alone none is free."""
    packed, waiting, other, later = configs_of(bench)[:4]
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


def numbers(events: Sequence[Event]) -> set[int]:
    """Return who reports."""
    return {event.number for event in events if not isinstance(event, Notice)}


def test_no_slot_is_free_when_memory_ran_out_while_trials_wait(bench: Bench) -> None:
    """A pack that was halved has fewer slots than trials that wait: none is free, not minus one."""
    configs = configs_of(bench)
    with closing(mixed_engine(bench, slots=3)) as engine:
        for config in (configs[0], configs[1], configs[3]):
            engine.start(config)
        engine._packed.slots = 1
        assert engine.free_slots == 0
        results, _ = train_all(engine, [], running=3)
    assert len(results) == 3
