"""Did learning from a teacher beat plain training, and how does the score depend on its weight a?

The baselines `default` and `plain` differ only in the teacher: same seed, same batches.  Their
paired difference is the effect of distillation there.  Over the search, trials are sorted into bins
of the weight a; random trials differ in everything else too, so each bin shows the mean of its
trials with a bootstrap interval.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analysis.comparison.bootstrap import RESAMPLES, Interval, interval_of
from analysis.comparison.contrast import Contrast
from analysis.comparison.within_study import compare_trials
from study.metrics import Array

if TYPE_CHECKING:
    from analysis.studies.study_data import StudyData

WEIGHT, TEMPERATURE = "distillation_weight", "temperature"
BINS, SMALLEST_BIN = 5, 3


@dataclass(frozen=True)
class WeightBin:
    """The trials whose weight lies between `low` and `high`: their mean score with its interval."""

    low: float
    high: float
    trials: int
    mean: float
    ci: Interval | None  # None where there are too few trials
    best: float


@dataclass(frozen=True)
class Distillation:
    """What the study shows about its teacher; None or empty where it shows nothing."""

    objective: str
    direction: str
    against_plain: Contrast | None  # default minus plain, on the same examples
    curve: tuple[WeightBin, ...]

    @property
    def peak(self) -> WeightBin | None:
        """The bin of the best mean."""
        choose = max if self.direction == "maximize" else min
        return choose(self.curve, key=lambda part: part.mean) if self.curve else None

    @property
    def is_clear(self) -> bool:
        """Whether the best bin's interval lies beyond that of the smallest weight."""
        peak = self.peak
        if peak is None or peak is self.curve[0]:
            return False
        first = self.curve[0].ci
        if peak.ci is None or first is None:
            return False
        return peak.ci[0] > first[1] if self.direction == "maximize" else peak.ci[1] < first[0]


def distillation_of(data: StudyData, seed: int = 0) -> Distillation | None:
    """Return what is known about the teacher; None where the study has none."""
    if "plain" not in data.baselines and not (data.spec or {}).get("distillation"):
        return None
    try:
        against_plain = compare_trials(data, "default", "plain", seed=seed)
    except (LookupError, ValueError):
        against_plain = None
    curve = _bins(*_points(data), data.direction, seed)
    return Distillation(data.objective, data.direction, against_plain, curve)


def _points(data: StudyData) -> tuple[Array, Array]:
    """The searched weight and the objective of every finished trial, (N,) each."""
    found = [
        (t.params[WEIGHT], data.value(t))
        for t in data.complete
        if WEIGHT in t.params and math.isfinite(data.value(t))
    ]
    points = np.array(found, dtype=np.float64).reshape(-1, 2)
    return points[:, 0], points[:, 1]


def _bins(weights: Array, values: Array, direction: str, seed: int) -> tuple[WeightBin, ...]:
    """One bin per level where there are few; otherwise bins of equal width.

    Thin bins are dropped, and thin levels have no interval: resampling them shows no spread.
    """
    best = np.max if direction == "maximize" else np.min
    levels = np.unique(weights)
    if len(levels) < 2:
        return ()
    if len(levels) <= BINS + 1:
        groups = [(float(level), float(level), values[weights == level]) for level in levels]
    else:
        edges = np.linspace(weights.min(), weights.max(), BINS + 1)
        place = np.clip(np.digitize(weights, edges) - 1, 0, BINS - 1)
        groups = [(float(edges[i]), float(edges[i + 1]), values[place == i]) for i in range(BINS)]
    return tuple(
        WeightBin(low, high, len(y), float(y.mean()), _mean_interval(y, seed), float(best(y)))
        for low, high, y in groups
        if len(y) >= (SMALLEST_BIN if low != high else 1)
    )


def _mean_interval(y: Array, seed: int) -> Interval | None:
    """The bootstrap interval of a mean over trials; None for too few."""
    if len(y) < SMALLEST_BIN:
        return None
    drawn = np.random.default_rng([seed, 11]).integers(len(y), size=(RESAMPLES, len(y)))
    return interval_of(y[drawn].mean(axis=1))
