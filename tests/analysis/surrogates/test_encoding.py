"""What a trial's values become on the unit cube, and what is said about those that are missing."""

import numpy as np
import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from analysis.surrogates.encoding import common_distributions, encode, make_column


def test_numeric_choices_are_ordered_levels_in_their_own_order() -> None:
    """Choices that are all numbers stand in numeric order, whatever order they were declared in."""
    column = make_column("alpha", CategoricalDistribution([64, 1, 8]))
    assert column.values == (1, 8, 64)
    assert [column.to_unit(v) for v in (1, 8, 64)] == pytest.approx([1 / 6, 1 / 2, 5 / 6])
    assert not column.is_categorical
    assert column.is_log


@pytest.mark.parametrize("choices", [["q", "v"], [True, False], [None, 1]])
def test_other_choices_have_no_order(choices: list[object]) -> None:
    """Words, booleans and mixtures are categories without an order."""
    assert make_column("x", CategoricalDistribution(choices)).is_categorical  # type: ignore[arg-type]


def test_a_log_scale_is_uniform_in_the_logarithm() -> None:
    """The geometric middle of a log range is the middle of the unit interval."""
    column = make_column("learning_rate", FloatDistribution(1e-5, 1e-1, log=True))
    assert column.to_unit(1e-3) == pytest.approx(0.5)
    assert column.is_log


@pytest.mark.parametrize(
    "distribution",
    [
        IntDistribution(1, 9),
        IntDistribution(1, 32, log=True),
        FloatDistribution(0.0, 0.3, step=0.1),
        CategoricalDistribution(["a", "b", "c"]),
    ],
)
def test_levels_divide_the_whole_interval(distribution: BaseDistribution) -> None:
    """The measure below a threshold counts whole levels and ends at one."""
    column = make_column("x", distribution)
    assert column.positions is not None
    assert column.weights is not None
    assert column.weights.sum() == pytest.approx(1.0)
    between = (column.positions[:-1] + column.positions[1:]) / 2
    assert column.measure_below(between) == pytest.approx(np.cumsum(column.weights)[:-1])
    assert column.measure_below(np.array([1.0]))[0] == 1.0


def test_inactive_values_are_drawn_and_counted() -> None:
    """A missing value becomes some uniform level, the same for the same seed, and is counted."""
    points = [{"x": 0.5, "y": i / 20} if i % 2 else {"y": i / 20} for i in range(20)]
    for i in range(1, 20, 2):
        points[i]["x"] = i / 20
    distributions = {"x": FloatDistribution(0, 1), "y": FloatDistribution(0, 1)}
    one, two = (encode(points, distributions, seed=3) for _ in range(2))
    assert one.inactive == {"x": 10}
    assert np.array_equal(one.units, two.units)
    assert len(np.unique(one.units[::2, 0])) == 10


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ([0.5] * 9, "all trials have the same value"),
        (np.linspace(0.5, 0.55, 9), "the trials span only 5.0 % of its range"),
        ([0.1] * 6 + [0.2, 0.5, 0.9], "6 of 9 trials have the same value"),
    ],
)
def test_a_parameter_that_did_not_vary_is_refused(values: list[float], why: str) -> None:
    """No importance is given for a parameter whose trials span almost none of its range."""
    encoding = encode([{"x": float(v)} for v in values], {"x": FloatDistribution(0, 1)})
    assert encoding.columns == ()
    assert why in encoding.excluded["x"]


def test_a_value_outside_its_distribution_is_an_error() -> None:
    """A value that its distribution does not hold names the parameter and the value."""
    with pytest.raises(ValueError, match="'rank': the trials hold 32"):
        encode([{"rank": 32}], {"rank": CategoricalDistribution([8, 16])})


def test_changed_numeric_ranges_become_their_hull() -> None:
    """A range that grew during the study is taken whole, with a remark."""
    common, remarks = common_distributions(
        [{"x": FloatDistribution(low, high)} for low, high in ((0, 1), (0.5, 1.5), (0.5, 2))]
    )
    assert common == {"x": FloatDistribution(0, 2)}
    assert remarks == ["the range of x changed during the study; 0 to 2 is used"]


@pytest.mark.parametrize(
    "other",
    [FloatDistribution(0.1, 1, log=True), IntDistribution(0, 1), CategoricalDistribution([1])],
)
def test_mixed_scales_under_one_name_are_left_out(other: BaseDistribution) -> None:
    """One name on two scales has no importance, a remark says so, and the others keep theirs."""
    y = {"y": FloatDistribution(0, 1)}
    common, remarks = common_distributions([{"x": FloatDistribution(0, 1)} | y, {"x": other} | y])
    assert common == y
    assert "x is left out: it was used with different distributions" in remarks[0]


def test_changed_choices_are_joined() -> None:
    """Choices that were dropped or added during the study are taken together, with a remark."""
    nan = float("nan")
    used = [[None, "a"], ["a"], ["b", nan], [nan, None]]
    common, remarks = common_distributions([{"x": CategoricalDistribution(u)} for u in used])
    assert str(common["x"].choices) == "(None, 'a', 'b', nan)"  # type: ignore[attr-defined]
    assert "the set of choices of x changed during the study" in remarks[0]
    column = make_column("x", common["x"])
    assert [column.level_of(v) for v in (None, "a", "b", float("nan"))] == [0, 1, 2, 3]


def test_a_parameter_that_was_hardly_ever_active_is_refused() -> None:
    """A conditional parameter with two trials has no importance, and the count is said."""
    points = [{"x": i / 9, **({"y": i / 9} if i < 2 else {})} for i in range(10)]
    encoding = encode(points, {n: FloatDistribution(0, 1) for n in "xy"})
    assert encoding.names == ("x",)
    assert "active in only 2 of 10 trials" in encoding.excluded["y"]


def test_as_many_categories_as_trials_are_refused() -> None:
    """A method that was tried once has no effect that could be told from noise."""
    names = [f"method-{i}" for i in range(12)]
    points = [{"method": name} for name in names * 2]
    encoding = encode(points, {"method": CategoricalDistribution(names)})
    assert "24 trials are too few to tell 12 categories apart" in encoding.excluded["method"]


def test_a_grid_over_ranges_with_a_point_missing_is_still_a_grid() -> None:
    """Without one of 24 points the levels keep their measure: an end counts as a whole level."""
    space = {"a": FloatDistribution(0.0, 3.0), "b": FloatDistribution(0.0, 5.0)}
    points = [{"a": float(a), "b": float(b)} for a in range(4) for b in range(6)]
    whole, most = encode(points, space), encode(points[:-1], space)
    assert whole.is_complete_grid
    assert not most.is_complete_grid
    for one, other in zip(whole.columns, most.columns, strict=True):
        assert one.weights is not None
        assert one.weights == pytest.approx(other.weights)
