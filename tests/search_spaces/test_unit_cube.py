"""Values and positions are each other's inverse, and positions follow what Optuna samples."""

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from search_spaces.unit_cube import from_unit, holds, level_count, to_unit

DISTRIBUTIONS = [
    FloatDistribution(-1.0, 3.0),
    FloatDistribution(1e-5, 1e-1, log=True),
    FloatDistribution(0.0, 0.3, step=0.1),
    FloatDistribution(2.0, 2.0),
    IntDistribution(1, 9),
    IntDistribution(4, 32, step=4),
    IntDistribution(1, 300, log=True),
    CategoricalDistribution(["qv", "attention", None, 3]),
]


@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=str)
@given(unit=st.floats(0.0, 1.0, exclude_max=True))
def test_there_and_back(distribution: BaseDistribution, unit: float) -> None:
    """A value maps to a position that maps to the same value, inside [0, 1]."""
    value = from_unit(distribution, unit)
    position = to_unit(distribution, value)
    assert 0.0 <= position <= 1.0
    assert from_unit(distribution, min(position, 1 - 1e-12)) == pytest.approx(value)
    assert holds(distribution, value)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=str)
@given(pair=st.tuples(st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True)))
def test_order_is_kept(distribution: BaseDistribution, pair: tuple[float, float]) -> None:
    """A larger position never gives a smaller value."""
    if isinstance(distribution, CategoricalDistribution):
        return
    low, high = (from_unit(distribution, unit) for unit in sorted(pair))
    assert low <= high


@pytest.mark.whole
@pytest.mark.parametrize("distribution", DISTRIBUTIONS[:3] + DISTRIBUTIONS[4:], ids=str)
def test_optuna_samples_uniformly_in_these_positions(distribution: BaseDistribution) -> None:
    """Optuna's own random draws are uniform on the interval, levels in equal shares of it."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [study.ask({"x": distribution}).params["x"] for _ in range(2000)]
    positions = np.sort([to_unit(distribution, value) for value in drawn])
    levels = level_count(distribution)
    cell = 1 / 300 if levels is None or levels > 50 else 1 / levels
    distance = np.abs(positions - (np.arange(2000) + 0.5) / 2000).max()
    # a level stands in the middle of its cell: half a cell off at most, plus sampling error; the
    # coarsest cells of a log-scaled integer are wider than an even one
    wide = 0.1 if getattr(distribution, "log", False) and levels else cell / 2
    assert distance < wide + 0.045


def test_level_counts() -> None:
    """Discrete distributions count their levels, continuous ones have none."""
    counts = [level_count(d) for d in DISTRIBUTIONS]
    assert counts == [None, None, 4, None, 9, 8, 300, 4]


@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids=str)
@pytest.mark.parametrize("value", ["a word", 1e9, float("nan"), ["a", "list"]])
def test_no_distribution_holds_what_it_does_not_allow(
    distribution: BaseDistribution, value: object
) -> None:
    """Values outside it, and of a type that it does not know, are no error."""
    assert not holds(distribution, value)
