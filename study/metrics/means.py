"""Metrics that are a mean over the examples: their statistics, and how these become a score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from study.kinds.metrics import Array


def weighted_mean(summed: Array) -> Array:
    """Aggregate (..., 2), sum and weight: the mean, NaN where there is no weight."""
    total, weight = summed[..., 0], summed[..., 1]
    nan = np.full(np.shape(total), np.nan)
    return np.asarray(np.divide(total, weight, out=nan, where=weight != 0))


def of_examples(scores: Sequence[float] | Array) -> Array:
    """Return (N, 2), each example's own score and 1: the corpus score is their mean."""
    return np.stack([np.asarray(scores, dtype=np.float64), np.ones(len(scores))], axis=1)
