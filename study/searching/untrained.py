"""Whether a trial is clearly better than the untrained model."""

from __future__ import annotations

import math

import numpy as np

from study.metrics import Statistics

ERRORS = 2.5  # standard errors of a difference
RESAMPLES = 200


def clearly_better(untrained: Statistics, direction: str) -> float:
    """Return the untrained model's score, 2.5 standard errors of a difference better.

    The error comes from resampled examples.  A difference of two models that agree on no example
    varies √2 times as much as one score; most models agree on some, so this is cautious.
    """
    rng = np.random.default_rng(0)
    count = len(untrained.values)
    drawn = [
        untrained.row.score(untrained.values[rng.integers(count, size=count)])
        for _ in range(RESAMPLES)
    ]
    sign = 1.0 if direction == "maximize" else -1.0
    error = float(np.std(drawn)) * math.sqrt(2.0)
    return untrained.score + sign * ERRORS * error


def is_clearly_better(trained: Statistics, untrained: Statistics, direction: str) -> bool:
    """Return whether a model is better than the untrained one by 2.5 standard errors.

    Of the paired difference: both are scored on the same resamples of the trained model's examples,
    which are the first of the untrained one's.
    """
    rng = np.random.default_rng(0)
    count = len(trained.values)
    before = untrained.values[:count]
    score = trained.row.score
    drawn = [
        score(trained.values[chosen]) - score(before[chosen])
        for chosen in (rng.integers(count, size=count) for _ in range(RESAMPLES))
    ]
    gain = score(trained.values) - score(before)
    sign = 1.0 if direction == "maximize" else -1.0
    return bool(sign * gain > ERRORS * float(np.std(drawn)))
