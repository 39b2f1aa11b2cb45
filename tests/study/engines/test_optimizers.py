"""Optimizers are what their papers say; those that pack train a row as they train matrices."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any, get_args

import pytest
import torch

from study.engines.build import make_engine
from study.engines.engine_choice import EngineChoice
from study.engines.lion import Lion
from study.kinds.optimizers import OPTIMIZERS, OptimizerName
from study.spec.sections import StudySpec
from study.trials import search_config
from tests.engine_runs import Bench, assert_same_result, train_all


def test_every_name_is_an_optimizer() -> None:
    """The table has a line for each name that a study file may give."""
    assert set(OPTIMIZERS) == set(get_args(OptimizerName))


@pytest.mark.parametrize("name", [name for name, known in OPTIMIZERS.items() if known.packs])
def test_what_packs_trains_a_trial_as_if_it_were_alone(name: str, bench: Bench) -> None:
    """Beside one of another optimizer, weights and outputs are the sequential engine's."""
    rate = 1.0 if name == "sgd" else 1e-3
    points: list[dict[str, Any]] = [
        {"optimizer": name, "learning_rate": rate, "weight_decay": 0.1, "loraplus_lr_ratio": 4.0},
        {"optimizer": "adamw", "learning_rate": 1e-3, "rank": 4},
    ]
    configs = [search_config(bench.spec, n, point, n) for n, point in enumerate(points)]
    packed = bench.together(configs)
    for config in configs:
        assert_same_result(packed[config.number], bench.alone(config))


def test_what_does_not_pack_trains_alone_and_says_why(
    make_spec: Callable[..., StudySpec],
) -> None:
    """Adafactor's means are of a matrix's rows and columns: its trial waits for the others."""
    choices = {"choices": ["adamw", "adafactor"]}
    spec = make_spec({"search.parameters": {"optimizer": choices}})
    configs = [
        search_config(spec, n, {"optimizer": name}, n)
        for n, name in enumerate(("adafactor", "adamw"))
    ]
    notices: list[str] = []
    with closing(make_engine(spec, spec.base.model, None, EngineChoice(slots=2))) as engine:
        results, _ = train_all(engine, configs, notices)
    assert notices == ["not packed, trained one at a time: optimizer 'adafactor'"]
    assert all(result.failure is None for result in results.values())
    assert results[0].details["steps"] == 4


def test_lion_moves_as_its_paper_says() -> None:
    """Decay, then a step by the sign of 0.9 m + 0.1 g, then m = 0.99 m + 0.01 g."""
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64))
    optimizer = Lion([weight], lr=0.1, weight_decay=0.5)
    expected, momentum = weight.detach().clone(), torch.zeros(3, dtype=torch.float64)
    for step in range(20):
        gradient = torch.tensor([1.0, -0.5, 2.0 - step], dtype=torch.float64)
        weight.grad = gradient.clone()
        optimizer.step()
        expected -= 0.1 * ((0.9 * momentum + 0.1 * gradient).sign() + 0.5 * expected)
        momentum = 0.99 * momentum + 0.01 * gradient
    torch.testing.assert_close(weight.detach(), expected, rtol=1e-12, atol=0)
    optimizer.zero_grad()
    optimizer.step()
    torch.testing.assert_close(weight.detach(), expected, rtol=1e-12, atol=0)
