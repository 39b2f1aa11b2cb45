"""Chance is called chance, effects are found, and the reasons are said."""

from typing import Any

import numpy as np
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from analysis.importance.design import Design, orthonormal, without
from analysis.importance.reliability import (
    coverage_of,
    doubts,
    intervals,
    rank_stability,
    sampling_doubts,
    uniformity_of,
)
from analysis.importance.verdict import Verdict, per_configuration, verdict_on
from analysis.surrogates.encoding import Array, Encoding, make_column, ranges_that_differ

COLUMNS = tuple(make_column(name, FloatDistribution(0, 1)) for name in "abc")


def judged(units: Array, values: Array, seed: int = 0) -> Verdict:
    """Return the verdict on continuous parameters."""
    encoding = Encoding(COLUMNS[: units.shape[1]], units, {}, {})
    return verdict_on(encoding, values, seed, permutations=299)


def test_a_strong_effect_is_found_and_a_missing_one_is_not() -> None:
    """One parameter drives the objective; only that one is significant."""
    rng = np.random.default_rng(0)
    units = rng.random((60, 3))
    verdict = judged(units, 3 * units[:, 1] + 0.5 * rng.normal(size=60))
    assert list(verdict.significant) == [False, True, False]


def test_a_second_effect_is_found_in_the_shadow_of_the_first() -> None:
    """What the first parameter explains does not count as noise against the second."""
    rng = np.random.default_rng(1)
    units = rng.random((60, 3))
    verdict = judged(
        units, np.sin(5 * units[:, 0]) + 0.2 * units[:, 2] + 0.03 * rng.normal(size=60)
    )
    assert list(verdict.significant) == [True, False, True]


def test_a_pure_product_is_no_main_effect_but_is_seen() -> None:
    """Two parameters that act only through their product act together, neither by itself."""
    rng = np.random.default_rng(2)
    units = rng.random((150, 2))
    product = 12 * (units[:, 0] - 0.5) * (units[:, 1] - 0.5)
    verdict = judged(units, product + 0.3 * rng.normal(size=150))
    assert not verdict.significant.any()
    assert verdict.only_jointly.all()


def test_noise_that_grows_along_a_parameter_is_no_effect() -> None:
    """A parameter that moves only the spread is neither a main effect nor a joint one."""
    false = 0
    for seed in range(12):
        rng = np.random.default_rng([seed, 3])
        units = rng.random((40, 2))
        verdict = judged(units, rng.normal(size=40) * np.exp(3 * units[:, 0]), seed)
        false += bool(verdict.significant[0] or verdict.only_jointly[0])
    assert false <= 2  # binomial(12, 0.06): more than 2 with probability 0.03


def test_a_step_beyond_which_are_few_trials_is_found_in_uneven_noise() -> None:
    """The step's own height does not count as noise against it."""
    found = 0
    for seed in range(12):
        rng = np.random.default_rng([seed, 8])
        units = rng.random((60, 2))
        units[:, 0] = rng.permutation((np.arange(60) + 0.5) / 60)  # four trials are beyond the step
        noise = np.where(units[:, 0] > 0.5, 1.0, 0.2) * rng.normal(size=60)
        step = 3.0 * (units[:, 0] > 0.93)
        encoding = Encoding(COLUMNS[:2], units, {}, {})
        found += bool(verdict_on(encoding, step + noise, seed, permutations=199).significant[0])
    assert found >= 11


@pytest.mark.parametrize(
    ("name", "curve"),
    [
        ("line", lambda u: u),
        ("parabola", lambda u: (u - 0.5) ** 2),
        ("step near an end", lambda u: (u > 0.85).astype(float)),
        ("two periods", lambda u: np.cos(4 * np.pi * u)),
    ],
)
def test_any_shape_of_half_the_variance_is_found(name: str, curve: Any) -> None:
    """What no single curve covers, the largest of the families does."""
    rng = np.random.default_rng(4)
    units = rng.random((100, 3))
    effect = curve(units[:, 1])
    verdict = judged(units, effect / effect.std() + rng.normal(size=100))
    assert list(verdict.significant) == [False, True, False], name


@pytest.mark.whole
def test_noise_is_called_noise_about_as_often_as_promised() -> None:
    """Of 40 studies of pure noise at most a handful name any parameter."""
    false = 0
    for seed in range(40):
        rng = np.random.default_rng([seed, 9])
        false += bool(judged(rng.random((24, 2)), rng.normal(size=24), seed).significant.any())
    assert false <= 6  # binomial(40, 0.05): more than 6 with probability 0.003


@pytest.mark.whole
def test_many_parameters_can_still_be_significant() -> None:
    """The number of permutations does not limit the number of parameters."""
    rng = np.random.default_rng(0)
    columns = tuple(make_column(f"x{j}", FloatDistribution(0, 1)) for j in range(60))
    units = rng.random((60, 60))
    values = units[:, 7] + 0.1 * rng.normal(size=60)
    verdict = verdict_on(Encoding(columns, units, {}, {}), values, permutations=199)
    assert np.flatnonzero(verdict.significant).tolist() == [7]


def tied_studies(kind: str, seed: int) -> tuple[Encoding, Array]:
    """Return trials whose second parameter does nothing but depends on the first, which acts."""
    rng = np.random.default_rng([seed, 5])
    if kind == "multiple of the rank":
        rank = rng.integers(4, size=80)
        alpha = rank + rng.integers(3, size=80)
        columns = (
            make_column("rank", CategoricalDistribution([4, 8, 16, 32])),
            make_column("alpha", CategoricalDistribution([4, 8, 16, 32, 64, 128])),
        )
        units = np.stack([(rank + 0.5) / 4, (alpha + 0.5) / 6], axis=1)
    else:
        columns = COLUMNS[:2]
        units = rng.random((320, 2))
        units = units[~(units > 0.5).all(axis=1)][:80]
    return Encoding(columns, units, {}, {}), units[:, 0] + 0.2 * rng.normal(size=80)


@pytest.mark.parametrize("kind", ["multiple of the rank", "forbidden corner"])
def test_an_idle_parameter_does_not_inherit_the_effect_of_its_partner(kind: str) -> None:
    """Parameters that depend on each other are drawn again, not permuted."""
    found = np.array(
        [
            verdict_on(*tied_studies(kind, seed), seed, permutations=99).significant
            for seed in range(10)
        ]
    )
    assert found[:, 0].sum() >= 8
    assert found[:, 1].sum() <= 2


def test_the_sampler_s_dependence_is_seen_and_independence_is_not_doubted() -> None:
    """A multiple of the rank has the rank as its partner; independent parameters have none."""
    assert Design(tied_studies("multiple of the rank", 0)[0]).partners(1) == [0]
    units = np.random.default_rng(0).random((80, 3))
    assert [Design(Encoding(COLUMNS, units, {}, {})).partners(j) for j in range(3)] == [[]] * 3


def test_a_column_that_adds_nothing_does_not_hide_the_next() -> None:
    """Where a column repeats an earlier one, as the square of two levels does, the rest counts."""
    x, y = np.random.default_rng(0).normal(size=(2, 20))
    basis = orthonormal(np.column_stack([np.ones(20), x, 2 * x + 3, y]))
    assert basis.shape == (20, 3)
    assert np.abs(without(basis, y)).max() < 1e-9


def test_a_redraw_stays_in_what_could_have_been_drawn() -> None:
    """α as 1, 2 or 4 times the rank is drawn again as such a multiple."""
    encoding, _ = tied_studies("multiple of the rank", 1)
    drawn = Design(encoding).redrawn(1, 50, np.random.default_rng(0))
    assert drawn.shape == (50, 80)
    multiple = np.round(drawn * 6 - 0.5) - np.round(encoding.units[:, 0] * 4 - 0.5)
    assert set(multiple.ravel()) == {0.0, 1.0, 2.0}


def test_a_redraw_uses_the_ranges_that_the_trials_store() -> None:
    """A range that depends on the method is drawn from exactly, levels and continuous alike."""
    rng = np.random.default_rng(0)
    kind = rng.integers(2, size=60)
    own: list[dict[str, BaseDistribution]] = [
        {"b": FloatDistribution(0.0, 0.3) if k else FloatDistribution(0.5, 1.0)} for k in kind
    ]
    rate = np.where(kind, 0.3 * rng.random(60), 0.5 + 0.5 * rng.random(60))
    columns = (make_column("a", CategoricalDistribution(["p", "q"])), COLUMNS[1])
    units = np.stack([(kind + 0.5) / 2, rate], axis=1)
    encoding = Encoding(columns, units, {}, {}, ranges_that_differ(columns, own))
    drawn = Design(encoding).redrawn(1, 200, np.random.default_rng(1))
    assert drawn[:, kind == 1].max() <= 0.3
    assert drawn[:, kind == 0].min() >= 0.5
    assert drawn[:, kind == 0].mean() == pytest.approx(0.75, abs=0.01)
    few = ranges_that_differ(columns, [{"a": CategoricalDistribution(["q"])}, {}])
    assert few["a"].tolist() == [[0.0, 1.0], [0.5, 0.5]]


def test_repeats_are_permuted_as_one_configuration() -> None:
    """Three seeds of a configuration count as one value with the mean's noise."""
    rng = np.random.default_rng(0)
    units = rng.random((20, 2))
    values = rng.normal(size=60)
    encoding = Encoding(COLUMNS[:2], np.tile(units, (3, 1)), {}, {})
    once, means = per_configuration(encoding, values)
    assert np.array_equal(once.units, units)
    assert means == pytest.approx(values.reshape(3, 20).mean(axis=0))
    repeated, single = verdict_on(encoding, values), verdict_on(once, means)
    assert repeated.p == pytest.approx(single.p)


def test_intervals_hold_the_estimate_and_stay_between_zero_and_one() -> None:
    """The spread of half-samples is the estimate's own, placed around it."""
    refits = np.tile([[0.4, 0.0], [0.6, 0.1], [0.5, 0.0]], (40, 1))
    low, high = intervals(np.array([0.55, 0.01]), refits, kept=0.5)
    assert np.all((low >= 0) & (high <= 1))
    assert (high - low)[0] == pytest.approx(2 * 1.96 * refits[:, 0].std(), rel=0.02)


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


def crowded_trials(power: float) -> Encoding:
    """Return 60 trials of three parameters, whose last crowds to its low end."""
    units = np.random.default_rng(0).random((60, 3))
    units[:, 2] **= power
    return Encoding(COLUMNS, units, {}, {})


def sampling(encoding: Encoding, sampler: str | None, excluded: dict[str, str]) -> list[str]:
    """Return the doubts about how trials were chosen."""
    uniformity, coverage = uniformity_of(encoding), coverage_of(encoding)
    return sampling_doubts(sampler, uniformity, coverage, excluded)


def test_a_sampler_that_follows_the_scores_is_doubted_and_the_region_is_named() -> None:
    """The reason says where most of the trials are, and what the sampler left aside."""
    why, hidden = sampling(crowded_trials(4), "tpe", {"d": "it hardly varied: 50 of 60"})
    assert "tpe chose the trials by earlier scores" in why
    assert "80 % of the trials have c between" in why
    assert "d hardly varied, and may matter" in hidden


def test_trials_of_unknown_origin_are_judged_by_what_they_cover() -> None:
    """A crowd leaves out most of a range; a slight slope or a uniform sample does not."""
    (why,) = sampling(crowded_trials(4), None, {})
    assert "leave out parts of the search space: 80 % of the trials have c between" in why
    assert sampling(crowded_trials(1.4), None, {}) == []
    assert sampling(crowded_trials(1), "tpe", {}) == []


def test_what_an_adaptive_sampler_left_aside_is_never_silent() -> None:
    """A parameter that the sampler hardly varied makes the study unreliable by itself."""
    excluded = {"d": "it hardly varied: 50 of 60 trials have the same value"}
    (why,) = sampling(crowded_trials(1), "gp", excluded)
    assert why.startswith("d hardly varied")
    assert sampling(crowded_trials(1), "random", excluded) == []
