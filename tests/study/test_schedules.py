"""The learning-rate schedules are transformers' own."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import get_scheduler

from study.engines.schedules import learning_rate_factor
from study.spec.hyperparameters import TrainingSpec

NAMES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}


@pytest.mark.parametrize("schedule", NAMES)
@pytest.mark.parametrize(("steps", "warmup"), [(1, 0.0), (7, 0.0), (40, 0.05), (9, 1.0), (3, 0.5)])
def test_factors_are_those_of_transformers(schedule: str, steps: int, warmup: float) -> None:
    """Step by step the factor equals that of `get_scheduler` with the same warm-up."""
    training = TrainingSpec.model_validate(
        {"steps": steps, "warmup_fraction": warmup, "schedule": schedule, "report_every": 1}
    )
    warmup_steps = -int(-steps * warmup // 1)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = get_scheduler(
        NAMES[schedule], optimizer, num_warmup_steps=warmup_steps, num_training_steps=steps
    )
    for step in range(steps):
        assert learning_rate_factor(step, training) == pytest.approx(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()


def test_a_warm_up_may_be_given_in_steps() -> None:
    """Three steps of eight rise as three eighths of them do."""
    in_steps = TrainingSpec(steps=8, warmup_steps=3, report_every=1)
    in_share = TrainingSpec(steps=8, warmup_fraction=3 / 8, report_every=1)
    for step in range(8):
        assert learning_rate_factor(step, in_steps) == learning_rate_factor(step, in_share)


@settings(deadline=None)
@given(
    steps=st.integers(1, 200),
    warmup=st.floats(0, 1),
    schedule=st.sampled_from(sorted(NAMES)),
    step=st.integers(0, 250),
)
def test_a_factor_is_a_share(steps: int, warmup: float, schedule: str, step: int) -> None:
    """At any step, also past the end, the factor lies between 0 and 1."""
    training = TrainingSpec.model_validate(
        {"steps": steps, "warmup_fraction": warmup, "schedule": schedule}
    )
    assert 0.0 <= learning_rate_factor(step, training) <= 1.0
