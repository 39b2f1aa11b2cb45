"""Whether the teacher helped is read off the paired baselines and the searched weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import optuna
import pytest

from analysis import StudyData
from analysis.comparison.contrast import compare
from analysis.comparison.distillation import Distillation, distillation_of
from study.metrics import METRICS

WEIGHTS = optuna.distributions.FloatDistribution(0.0, 1.0)


def with_trials(data: StudyData, points: list[tuple[float, float]]) -> StudyData:
    """The study with other trials: (weight, value) each."""
    trials = tuple(
        optuna.trial.create_trial(
            params={"distillation_weight": weight},
            distributions={"distillation_weight": WEIGHTS},
            value=value,
        )
        for weight, value in points
    )
    return replace(data, frozen_trials=trials)


def found_in(data: StudyData) -> Distillation:
    """What is known about the teacher of a study that has one."""
    found = distillation_of(data)
    assert found is not None
    return found


def test_default_against_plain_is_the_paired_comparison(pairs: StudyData) -> None:
    """Difference and interval are those of `compare` on both baselines' stored statistics."""
    own = found_in(pairs).against_plain
    assert own is not None
    expected = compare(
        pairs.statistics("default", "accuracy"), pairs.statistics("plain", "accuracy")
    )
    assert (own.difference, own.interval) == (expected.difference, expected.interval)
    assert (own.a.name, own.b.name) == ("default", "plain")


def test_a_study_without_a_teacher_says_nothing(petroleum: StudyData) -> None:
    """No teacher, no section."""
    assert distillation_of(petroleum) is None


def test_the_curve_finds_a_peak_that_is_there(pairs: StudyData) -> None:
    """Scores that rise to a = 0.5 and fall again peak in the bin around it, clearly over a = 0."""
    rng = np.random.default_rng(0)
    weights = rng.random(200)
    values = 0.6 - (weights - 0.5) ** 2 + rng.normal(0, 0.02, 200)
    found = found_in(with_trials(pairs, list(zip(weights, values, strict=True))))
    assert found.peak is not None
    assert found.peak.low < 0.5 < found.peak.high
    assert found.is_clear
    assert sum(part.trials for part in found.curve) == 200
    for part in found.curve:
        inside = (weights >= part.low) & (weights < part.high)
        assert part.mean == pytest.approx(values[inside].mean(), abs=1e-2)
        assert part.ci[0] < part.mean < part.ci[1]


def test_of_a_loss_less_is_better(pairs: StudyData) -> None:
    """Each bin's best trial is its lowest, and so is the peak's mean."""
    points = [(0.0, 0.9), (0.0, 0.8), (0.5, 0.3), (0.5, 0.2)]
    found = found_in(replace(with_trials(pairs, points), directions=("minimize",)))
    assert [part.best for part in found.curve] == [0.8, 0.2]
    assert found.peak is found.curve[1]


def test_noise_is_no_clear_peak(pairs: StudyData) -> None:
    """Where the weight does nothing, its best bin is not called clearly better."""
    rng = np.random.default_rng(1)
    points = list(zip(rng.random(60), rng.normal(0.5, 0.1, 60), strict=True))
    assert not found_in(with_trials(pairs, points)).is_clear


def test_few_levels_are_taken_as_they_are(pairs: StudyData) -> None:
    """A grid of weights has one point per level, and no interval where trials are too few."""
    points = [(0.0, 0.5), (0.0, 0.6), (0.5, 0.8), (0.5, 0.7), (1.0, 0.6)]
    found = found_in(with_trials(pairs, points))
    assert [(p.low, p.trials, round(p.mean, 6)) for p in found.curve] == [
        (0.0, 2, 0.55),
        (0.5, 2, 0.75),
        (1.0, 1, 0.6),
    ]
    assert [part.ci for part in found.curve] == [None] * 3
    assert not found.is_clear


def test_a_loss_is_best_where_it_is_lowest(pairs: StudyData) -> None:
    """The peak of a minimised objective is its lowest mean."""
    points = [(0.0, 0.9), (0.0, 0.8), (0.0, 0.85), (0.5, 0.2), (0.5, 0.3), (0.5, 0.25)]
    down = replace(pairs, objectives=("loss",), directions=("minimize",))
    found = found_in(with_trials(down, points))
    assert METRICS["loss"].direction == found.direction
    assert found.peak is not None
    assert found.peak.low == 0.5
    assert found.is_clear
