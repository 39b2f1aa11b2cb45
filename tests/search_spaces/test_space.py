"""A space asks a trial for what is active, and its grid holds every effective point once."""

from __future__ import annotations

import optuna
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from search_spaces import SearchSpace

CONDITIONAL = SearchSpace(
    distributions={
        "target_modules": CategoricalDistribution(("qv", "attention")),
        "rank": IntDistribution(1, 3),
        "dropout": FloatDistribution(0.0, 0.2, step=0.1),
    },
    conditions={"dropout": {"target_modules": ("attention",), "rank": (1, 2)}},
)


def test_only_active_parameters_are_asked_for() -> None:
    """A trial has a conditional parameter exactly where its condition holds."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen = set()
    for _ in range(40):
        trial = study.ask()
        values = CONDITIONAL.suggest(trial)
        assert values == trial.params
        active = values["target_modules"] == "attention" and values["rank"] <= 2
        assert ("dropout" in values) == active
        seen.add(active)
    assert seen == {True, False}


def test_a_condition_on_an_inactive_parameter_does_not_hold() -> None:
    """What depends on a parameter that was not asked for is not asked for either."""
    space = SearchSpace(
        distributions={
            "a": CategoricalDistribution((1, 2)),
            "b": CategoricalDistribution((1, 2)),
            "c": CategoricalDistribution((1, 2)),
        },
        conditions={"b": {"a": (1,)}, "c": {"b": (1, 2)}},
    )
    assert not space.is_active("c", {"a": 2})
    assert space.grid_points() == [
        *({"a": 1, "b": b, "c": c} for b in (1, 2) for c in (1, 2)),
        {"a": 2},
    ]


def test_the_conditional_grid_has_no_two_points_that_train_the_same() -> None:
    """Points that differ in inactive parameters alone are one point."""
    points = CONDITIONAL.grid_points()
    assert len(points) == 3 + 2 * 3 + 1  # qv; attention with rank 1 or 2; attention with rank 3
    assert len({tuple(sorted(p.items())) for p in points}) == len(points)
    assert CONDITIONAL.grid_size() == len(points)
    assert CONDITIONAL.product_size() == 2 * 3 * 3


levels = st.one_of(
    st.builds(lambda n: CategoricalDistribution(tuple(range(n))), st.integers(1, 4)),
    st.builds(lambda n: IntDistribution(2, 2 + n), st.integers(0, 3)),
    st.builds(lambda n: IntDistribution(1, 1 + n, log=True), st.integers(0, 9)),
    st.builds(lambda n: FloatDistribution(0.0, n * 0.25, step=0.25), st.integers(1, 4)),
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from("abcd"), levels, min_size=1))
def test_the_grid_is_the_whole_product(distributions: dict[str, BaseDistribution]) -> None:
    """Without conditions the grid has every combination of levels once, all of them valid."""
    space = SearchSpace(distributions, {})
    points = space.grid_points()
    assert len(points) == space.grid_size() == space.product_size()
    assert len({tuple(p.items()) for p in points}) == len(points)
    for point in points:
        assert list(point) == list(distributions)
        for name, value in point.items():
            distribution = distributions[name]
            assert distribution._contains(distribution.to_internal_repr(value))


def test_a_continuous_space_has_no_grid() -> None:
    """One continuous range is enough for there to be no complete grid."""
    space = SearchSpace(
        {"a": CategoricalDistribution((1, 2)), "b": FloatDistribution(0.0, 1.0)}, {}
    )
    assert space.grid_size() is None


def test_the_middle_is_the_middle_of_each_scale() -> None:
    """A log-scaled range has its geometric mean in the middle."""
    space = SearchSpace({"lr": FloatDistribution(1e-5, 1e-1, log=True)}, {})
    assert abs(space.middle()["lr"] - 1e-3) < 1e-12
