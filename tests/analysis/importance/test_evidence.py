"""Chance is called chance, effects are found, and the reasons are said."""

from functools import partial

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution

from analysis.importance.chance import (
    Chance,
    chance,
    curve_basis,
    doubts,
    intervals,
    rank_stability,
    uniformity_of,
)
from analysis.surrogates.choice import blind_to
from analysis.surrogates.encoding import Array, Encoding, make_column

COLUMNS = tuple(make_column(name, FloatDistribution(0, 1)) for name in "abc")


def judged(units: Array, values: Array, seed: int = 0) -> Chance:
    """Return the verdict on continuous parameters."""
    encoding = Encoding(COLUMNS[: units.shape[1]], units, {}, {})
    blind = partial(blind_to, encoding, values)
    return chance(units, blind, float(values.var()), encoding.columns, seed, permutations=499)


def test_a_strong_effect_is_found_and_a_missing_one_is_not() -> None:
    """One parameter drives the objective; only that one is significant."""
    rng = np.random.default_rng(0)
    units = rng.random((60, 3))
    verdict = judged(units, 3 * units[:, 1] + 0.5 * rng.normal(size=60))
    assert list(verdict.has_effect) == [False, True, False]
    assert verdict.raw[1] > verdict.line[1]


def test_a_second_effect_is_found_in_the_shadow_of_the_first() -> None:
    """What the first parameter explains does not count as noise against the second."""
    rng = np.random.default_rng(1)
    units = rng.random((60, 3))
    verdict = judged(
        units, np.sin(5 * units[:, 0]) + 0.2 * units[:, 2] + 0.03 * rng.normal(size=60)
    )
    assert verdict.has_effect[2]
    assert not verdict.has_effect[1]


def test_an_effect_that_needs_another_parameter_is_an_effect_but_no_main_effect() -> None:
    """A pure interaction is found, and is not called a main effect."""
    rng = np.random.default_rng(2)
    units = rng.random((100, 2))
    values = (1 + units[:, 0]) * (units[:, 0] - 0.5) + (units[:, 0] - 0.5) * (units[:, 1] - 0.5) * 4
    verdict = judged(units, values + 0.02 * rng.normal(size=100))
    assert verdict.has_effect[1]
    assert not verdict.significant(np.zeros(2))[1] or verdict.raw[1] > verdict.line[1]


@pytest.mark.whole
def test_noise_is_called_noise_about_as_often_as_promised() -> None:
    """Of 60 studies of pure noise at most a handful name any parameter."""
    false = 0
    for seed in range(60):
        rng = np.random.default_rng([seed, 9])
        units = rng.random((24, 3))
        false += bool(judged(units, rng.normal(size=24), seed).has_effect.any())
    assert false <= 8  # binomial(60, 0.05): more than 8 with probability 0.002


def test_the_basis_is_orthonormal_and_as_rich_as_the_levels() -> None:
    """Two levels carry one curve, categories one fewer than levels; a constant none."""
    two = make_column("rank", CategoricalDistribution([8, 16]))
    words = make_column("target", CategoricalDistribution(["qv", "attention", "all"]))
    rng = np.random.default_rng(0)
    for column, width in ((two, 1), (words, 2), (COLUMNS[0], 4)):
        unit = rng.random(40) if column.positions is None else rng.choice(column.positions, 40)
        basis, weight = curve_basis(column, unit)
        assert basis.shape == (40, width) == (40, len(weight))
        assert basis.T @ basis == pytest.approx(np.eye(width), abs=1e-9)
        assert basis.sum(axis=0) == pytest.approx(np.zeros(width), abs=1e-9)


def test_intervals_hold_the_estimate_and_stay_between_zero_and_one() -> None:
    """The spread of half-samples is the estimate's own, placed around it."""
    refits = np.array([[0.4, 0.0], [0.6, 0.1], [0.5, 0.0]])
    low, high = intervals(np.array([0.55, 0.01]), refits, kept=0.5)
    assert np.all((low >= 0) & (high <= 1))
    assert (high - low)[0] == pytest.approx(2 * 1.96 * refits[:, 0].std())


def test_half_samples_have_the_spread_of_the_estimate() -> None:
    """For a mean the interval of half-samples is the textbook one."""
    rng = np.random.default_rng(0)
    values = rng.random(200)
    halves = np.array([[rng.permutation(values)[:100].mean()] for _ in range(400)])
    low, high = intervals(np.array([values.mean()]), halves, kept=0.5)
    assert (high - low)[0] == pytest.approx(2 * 1.96 * values.std() / np.sqrt(200), rel=0.15)


def test_rank_stability() -> None:
    """Agreement is counted on the first place and on the order of pairs."""
    refits = np.array([[0.6, 0.3, 0.1], [0.3, 0.6, 0.1]])
    stability = rank_stability(np.array([0.7, 0.2, 0.1]), refits)
    assert stability == {"first": 0.5, "order": pytest.approx(5 / 6)}
    assert rank_stability(np.array([1.0]), np.ones((3, 1))) == {"first": 1.0, "order": 1.0}


def test_a_uniform_sample_is_told_from_a_crowded_one() -> None:
    """Random trials pass, trials crowding into a corner do not."""
    rng = np.random.default_rng(0)
    units = rng.random((80, 3))
    assert uniformity_of(Encoding(COLUMNS, units, {}, {})).is_uniform
    units[:, 2] **= 3
    crowded = uniformity_of(Encoding(COLUMNS, units, {}, {}))
    assert not crowded.is_uniform
    assert crowded.parameter == "c"


def test_doubts_are_in_words() -> None:
    """Too few trials and a blind surrogate are each said; enough of both is silent."""
    assert doubts(64, 4, 0.9) == []
    assert "12 trials are too few for 4" in doubts(12, 4, 0.9)[0]
    assert "cannot predict held-out trials (R² −0.10, at least 0.1" in doubts(64, 4, -0.1)[0]
    assert "R² 0.09, at least 0.1" in doubts(64, 4, 0.0999)[0]
    assert doubts(64, 4, float("nan"))
