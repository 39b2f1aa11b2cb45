"""Gradient accumulation: a step of several passes is the step of one larger batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from study.errors import InputError
from study.spec.hyperparameters import TrainingSpec
from study.spec.sections import StudySpec, parse_spec
from study.trials import TrialConfig, search_config
from tests.engine_runs import Bench, bench_of

MakeSpec = Callable[..., StudySpec]


@pytest.fixture(scope="module")
def bench(make_spec: MakeSpec) -> Bench:
    """The tiny study in float64, where equal is equal to 1e-9."""
    return bench_of(make_spec({"base.dtype": "float64"}))


def config(bench: Bench, number: int, **training: Any) -> TrialConfig:
    """A trial with dropout; all have one seed."""
    values = {"rank": 4, "dropout": 0.3, "learning_rate": 1e-2, **training}
    return search_config(bench.spec, number, values, seed_index=0)


def losses(result: Any) -> np.ndarray:
    """The training losses of a result, and its dev loss."""
    return np.array([loss for _, loss in result.losses] + [result.metrics()["loss"]])


@pytest.mark.parametrize(
    ("size", "passes"),
    [
        (4, 4),
        pytest.param(8, 2, marks=pytest.mark.whole),
        pytest.param(2, 8, marks=pytest.mark.whole),
    ],
)
def test_passes_add_up_to_a_larger_batch(bench: Bench, size: int, passes: int) -> None:
    """Losses are those of one batch of 16, dropout included, in both engines."""
    whole = losses(bench.alone(config(bench, 0, batch_size=16)))
    cut = config(bench, 1, batch_size=size, gradient_accumulation_steps=passes)
    assert losses(bench.alone(cut)) == pytest.approx(whole, rel=1e-9)
    packed = bench.together([cut, config(bench, 2, batch_size=16)])
    for number in (1, 2):
        assert losses(packed[number]) == pytest.approx(whole, rel=1e-9)


def test_an_epoch_counts_all_passes() -> None:
    """One epoch of 100 examples in steps of 2 x 5 rows has ten steps."""
    training = TrainingSpec(epochs=1.0, batch_size=5, gradient_accumulation_steps=2)
    assert training.counted(100).steps == 10


def test_warm_up_in_steps_replaces_the_fraction() -> None:
    """A file gives one of the two, and what is stored is read again as the same study."""
    spec = parse_spec({"training": {"warmup_steps": 7}, "search": SEARCH}, "x.toml")
    assert spec.training.warmup_steps == 7
    assert "warmup_fraction" not in spec.to_toml()
    both = {"warmup_steps": 7, "warmup_fraction": 0.1}
    with pytest.raises(InputError, match="give warmup_fraction or warmup_steps, not both"):
        parse_spec({"training": both, "search": SEARCH}, "x.toml")


SEARCH = {"parameters": {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}}}


@pytest.mark.parametrize(
    ("section", "name", "meant"),
    [
        ("training", "lr_scheduler_type", "training.schedule"),
        ("training", "per_device_train_batch_size", "training.batch_size"),
        ("training", "num_train_epochs", "training.epochs"),
        ("training", "max_length", "data.max_tokens"),
        ("training", "gradient_accumulation_step", "gradient_accumulation_steps"),
        ("method", "lora_alpha", "method.alpha"),
    ],
)
def test_names_of_other_programs_are_understood(section: str, name: str, meant: str) -> None:
    """A key as TRL, transformers or PEFT call it is refused with its name here."""
    with pytest.raises(InputError, match=rf"{section}.{name}: unknown key; did you mean {meant}\?"):
        parse_spec({section: {name: 1}, "search": SEARCH}, "x.toml")
    search = {"parameters": {name: {"choices": [1, 2]}}}
    with pytest.raises(InputError, match=rf"unknown hyperparameter; did you mean {meant}\?"):
        parse_spec({"search": search}, "x.toml")
