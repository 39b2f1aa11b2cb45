"""Learning-rate schedules: warm-up, then down to zero."""

from __future__ import annotations

import math

from study.spec.hyperparameters import TrainingSpec


def learning_rate_factor(step: int, training: TrainingSpec) -> float:
    """Return the factor on the learning rate of update `step`, counted from 0.

    Like transformers' `get_linear_schedule_with_warmup` and `get_cosine_schedule_with_warmup`.
    """
    warmup = training.warmup_steps
    if warmup is None:
        warmup = math.ceil(training.steps * training.warmup_fraction)
    if step < warmup:
        return step / warmup
    done = (step - warmup) / max(1, training.steps - warmup)
    match training.schedule:
        case "linear":
            return max(0.0, 1.0 - done)
        case "cosine":
            return 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))
        case "constant":
            return 1.0
