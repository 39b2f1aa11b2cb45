"""What trials train in full beside their adapters: a classifier's head, a stop token's row."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from study.trials import TrialConfig
from tests.engine_cases import CASES, COPIES, config_of
from tests.engine_runs import (
    Bench,
    assert_same_result,
    bench_of,
    dev_losses,
    losses_with_peft,
    train_all,
)


@pytest.fixture(scope="module", params=["classifier head", "tied llama", "untied llama"])
def copies(request: pytest.FixtureRequest) -> Bench:
    """Return a DistilBERT with a new head, or a Llama with a stop token to learn."""
    return bench_of(CASES[request.param].spec(request))


def configs_of(bench: Bench) -> list[TrialConfig]:
    """Return one trial per point."""
    return [config_of(bench.spec, number, point) for number, point in enumerate(COPIES)]


def test_something_is_trained_in_full(copies: Bench) -> None:
    """The bases of these tests have what they are about."""
    is_classifier = copies.base.model_type == "distilbert"
    assert copies.base.head == (["pre_classifier", "classifier"] if is_classifier else [])
    assert len(copies.base.trained_tokens) == (0 if is_classifier else 1)


def test_adapters_load_with_peft_to_the_stored_losses(copies: Bench, tmp_path: Path) -> None:
    """Head or row is saved beside LoRA, and PEFT puts both on a base that has never seen them."""
    for config in configs_of(copies):
        result = copies.together([config])[config.number]
        found = losses_with_peft(copies, result.adapter, tmp_path / str(config.number))
        stored = result.splits["dev"].statistics["loss"].values[:, 0].tolist()
        assert found == pytest.approx(stored, rel=1e-9)


def test_the_untrained_base_has_no_copies(copies: Bench) -> None:
    """In a slot that a trial has left it is evaluated as it is, and a trial beside it goes on."""
    first, second, _ = configs_of(copies)
    untrained = replace(first, number=-1, method=None)
    trained = replace(first, training=first.training.model_copy(update={"steps": 1}))
    with closing(copies.packed([first, second], slots=2)) as engine:
        results, _ = train_all(engine, [trained, second, untrained])
    found = results[-1].splits["dev"].statistics["loss"].values[:, 0].tolist()
    assert found == pytest.approx(dev_losses(copies, copies.base.model), rel=1e-9)
    assert_same_result(results[second.number], copies.alone(second))
