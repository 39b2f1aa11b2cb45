"""One product of α, rank and learning rate is found where it rules, and not where it does not."""

import math
from typing import Any

import numpy as np
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from analysis.importance.capacity import capacity
from analysis.importance.confounding import confounding, correlation_ratio, with_derived
from analysis.importance.exponent import exponent_of, pooled
from analysis.surrogates.fits import Fits
from search_spaces.unit_cube import from_unit

WIDE: dict[str, BaseDistribution] = {
    "alpha": CategoricalDistribution([8, 16, 32, 64, 128]),
    "rank": CategoricalDistribution([4, 8, 16, 32]),
    "learning_rate": FloatDistribution(1e-5, 1e-1, log=True),
    "dropout": FloatDistribution(0.0, 0.3),
}


ROLES = {"alpha": "alpha", "rank": "rank", "learning_rate": "learning_rate"}


def draw(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Return random points of the wide space."""
    rng = np.random.default_rng(seed)
    return [
        {
            "alpha": int(2 ** rng.integers(3, 8)),
            "rank": int(2 ** rng.integers(2, 6)),
            "learning_rate": float(10 ** rng.uniform(-5, -1)),
            "dropout": float(0.3 * rng.random()),
        }
        for _ in range(count)
    ]


def by_effective_lr(points: list[dict[str, Any]]) -> list[float]:
    """Return an objective that depends on learning rate · α / r alone, best inside the range."""
    return [-((math.log10(p["learning_rate"] * p["alpha"] / p["rank"]) + 2.5) ** 2) for p in points]


def test_derived_columns_of_a_trial() -> None:
    """A point gets the products it determines, under the names of the field."""
    point = with_derived({"lora_alpha": 64, "r": 16, "lr": 1e-3})
    assert point["scale"] == 4
    assert point["rslora_scale"] == 16
    assert point["effective_lr"] == pytest.approx(4e-3)
    assert with_derived({"alpha": 8}) == {"alpha": 8}


@pytest.mark.parametrize(
    "alpha",
    [
        FloatDistribution(0, 1),
        FloatDistribution(-1, 1),
        CategoricalDistribution([0, 1, 2]),
        CategoricalDistribution(["low", "high"]),
        CategoricalDistribution([True, False]),
        CategoricalDistribution([None, 8, 16]),
    ],
)
def test_what_is_no_positive_number_makes_no_product(alpha: BaseDistribution) -> None:
    """Other programs call other things alpha: their studies are read without its products."""
    space = {"alpha": alpha, "learning_rate": WIDE["learning_rate"]}
    drawn = np.random.default_rng(0).random((20, 2))
    points = [
        {name: from_unit(d, unit) for (name, d), unit in zip(space.items(), row, strict=True)}
        for row in drawn
    ]
    values = [math.log10(point["learning_rate"]) for point in points]
    assert confounding(Fits.of(points, values, space, resamples=2)) is None
    assert "effective_lr" not in with_derived({**points[0], "alpha": 0, "rank": None})


@pytest.mark.whole
def test_the_ruling_product_explains_nearly_all() -> None:
    """Where only learning rate · α / r matters, that column explains the joint effect."""
    points = draw(80)
    result = confounding(Fits.of(points, by_effective_lr(points), WIDE, resamples=5))
    assert result is not None
    assert result.group == ("alpha", "rank", "learning_rate")
    assert result.joint > 0.95
    best = result.columns[0]
    assert best.name == "effective_lr"
    assert best.explained > 0.95
    assert best.ci[0] <= best.explained <= best.ci[1]
    assert best.held_out_r2 > 0.95
    alone = {c.name: c.explained for c in result.columns}
    assert alone["alpha"] < 0.3 < alone["learning_rate"] < 0.95


@pytest.mark.whole
def test_a_product_that_does_not_rule_explains_little() -> None:
    """Where α alone matters no product does better than α."""
    points = draw(60)
    result = confounding(
        Fits.of(points, [math.log2(p["alpha"]) for p in points], WIDE, resamples=0)
    )
    assert result is not None
    assert result.columns[0].name == "alpha"
    assert result.columns[0].explained > 0.98
    assert next(c for c in result.columns if c.name == "effective_lr").explained < 0.4


def test_with_a_fixed_rank_only_products_of_what_varied_are_offered() -> None:
    """A rank that never varied is a constant factor: the scale is α by another name."""
    points = [{**p, "rank": 8} for p in draw(40)]
    result = confounding(Fits.of(points, by_effective_lr(points), WIDE, resamples=0))
    assert result is not None
    assert {c.name for c in result.columns} == {
        "alpha",
        "learning_rate",
        "effective_lr",
        "rslora_effective_lr",
    }


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_the_exponent_of_the_rank_is_estimated(power: float) -> None:
    """The interval holds the power of the rank that rules, and excludes the two others."""
    points = draw(100)
    rng = np.random.default_rng(0)
    values = np.array(
        [
            -((math.log10(p["learning_rate"] * p["alpha"] / p["rank"] ** power) + 2) ** 2)
            + 0.1 * rng.normal()
            for p in points
        ]
    )
    found = exponent_of(Fits.of(points, values, WIDE).encoding, values, points, ROLES)
    assert found is not None
    assert found.ci[0] <= power <= found.ci[1]
    assert found.excluded == tuple(p for p in (0.0, 0.5, 1.0) if p != power)
    assert "excludes" in found.sentence
    both = pooled([found, found])
    assert both.ci[1] - both.ci[0] < found.ci[1] - found.ci[0]


def test_noise_and_a_cliff_exclude_no_exponent() -> None:
    """Nothing is said of the rank's power where the trials cannot tell it."""
    points = draw(60)
    encoding = Fits.of(points, range(60), WIDE).encoding
    noise = np.random.default_rng(1).normal(size=60)
    found = exponent_of(encoding, noise, points, ROLES)
    assert found is not None
    assert found.excluded == ()
    place = np.array([math.log10(p["learning_rate"] * p["alpha"]) for p in points])
    cliff = exponent_of(encoding, np.where(place > -1, -5.0, place) + 0.1 * noise, points, ROLES)
    assert cliff is not None
    assert "falls off a cliff" in cliff.unknown
    assert cliff.excluded == ()
    assert "cliff" in cliff.sentence
    assert exponent_of(encoding, noise, points, {"alpha": "alpha"}) is None


def test_without_an_effect_of_the_product_there_is_no_exponent() -> None:
    """Where α does nothing, or is tied to the rank, no power of the rank is named."""
    points = draw(100)
    noise = 0.05 * np.random.default_rng(2).normal(size=100)
    values = [-((math.log10(p["learning_rate"]) + 3) ** 2) for p in points] + noise
    idle = exponent_of(Fits.of(points, values, WIDE).encoding, values, points, ROLES)
    assert idle is not None
    assert "do not act through their product" in idle.sentence
    tied = [{**p, "alpha": 2.0 * p["rank"]} for p in points]
    values = [-((math.log10(p["learning_rate"]) + 3) ** 2) for p in tied] + noise
    same = exponent_of(Fits.of(tied, values, WIDE).encoding, values, tied, ROLES)
    assert same is not None
    assert "hardly varied independently" in same.sentence
    assert (idle.excluded, same.excluded) == ((), ())


def test_nothing_to_confound() -> None:
    """One varied parameter of the three, or too few trials, has no joint effect."""
    points = [{"alpha": p["alpha"], "dropout": p["dropout"]} for p in draw(30)]
    space = {n: WIDE[n] for n in ("alpha", "dropout")}
    assert confounding(Fits.of(points, list(range(30)), space)) is None
    assert confounding(Fits.of(draw(4), [1.0, 2.0, 3.0, 4.0], WIDE)) is None


def test_an_unrelated_column_explains_nothing() -> None:
    """The correlation ratio is adjusted for the number of its groups."""
    rng = np.random.default_rng(0)
    assert correlation_ratio(1 + rng.random(2000), rng.normal(size=2000)) < 0.05
    column = 1 + rng.random(2000)
    assert correlation_ratio(column, np.log(column)) > 0.99


def test_a_surface_has_the_shape_of_its_grids() -> None:
    """The mean over α and learning rate, on their own values, with a deviation everywhere."""
    points = draw(60)
    found = Fits.of(points, by_effective_lr(points), WIDE).surface(("alpha", "learning_rate"))
    assert found.values[0] == (8, 16, 32, 64, 128)
    assert found.mean.shape == found.deviation.shape == (5, len(found.values[1]))
    assert found.is_log == (True, True)
    # a larger α wants a smaller learning rate
    best = [found.values[1][int(np.argmax(row))] for row in found.mean]
    assert best[0] > best[-1]


def test_a_surface_of_nothing_is_an_error() -> None:
    """A parameter that did not vary is named with its reason."""
    points = [{**p, "rank": 8} for p in draw(20)]
    with pytest.raises(ValueError, match="nothing to show for 'rank': all trials have the same"):
        Fits.of(points, by_effective_lr(points), WIDE).surface(("alpha", "rank"))


MODULES = {"qv": 1000, "attention": 2000, "attention+ffn": 4000}


def with_modules(count: int) -> tuple[list[dict[str, Any]], list[float]]:
    """Return points whose target modules vary too, and their trainable parameters."""
    rng = np.random.default_rng(3)
    points = [{**p, "target_modules": str(rng.choice(list(MODULES)))} for p in draw(count)]
    return points, [float(MODULES[p["target_modules"]] * p["rank"]) for p in points]


def test_where_only_the_size_matters_it_explains_rank_and_modules() -> None:
    """More parameters are better whatever they are made of: the count says it all."""
    points, trainable = with_modules(60)
    space = {**WIDE, "target_modules": CategoricalDistribution(list(MODULES))}
    found = capacity(
        Fits.of(points, [math.log(n) for n in trainable], space, resamples=3), trainable
    )
    assert found is not None
    assert found.group == ("rank", "target_modules")
    assert found.joint > 0.95
    assert found.columns[0].name == "trainable_parameters"
    assert found.columns[0].explained > 0.97
    assert {c.name: c.explained for c in found.columns}["rank"] < 0.8


def test_a_size_that_does_not_follow_the_rank_is_no_coordinate() -> None:
    """Counts that are no multiple of the rank, or modules that never varied, have no answer."""
    points, trainable = with_modules(40)
    space = {**WIDE, "target_modules": CategoricalDistribution(list(MODULES))}
    values = [math.log(n) for n in trainable]
    assert capacity(Fits.of(points, values, space), [n + 7 for n in trainable]) is None
    assert capacity(Fits.of(draw(40), values, WIDE), trainable) is None
