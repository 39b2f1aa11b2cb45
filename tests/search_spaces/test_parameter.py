"""A parameter is a range, choices or one value, and says so when it is none of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import ValidationError

from search_spaces import Parameter
from search_spaces.unit_cube import from_unit, level_count, to_unit

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, "exactly one of: .* got none"),
    "two kinds": ({"value": 1, "choices": [1]}, "exactly one of: .* got choices, value"),
    "half a range": ({"low": 1}, "both low and high"),
    "empty range": ({"low": 2, "high": 2}, "low must be below high"),
    "upside down": ({"low": 3, "high": 2}, "low must be below high"),
    "log from zero": ({"low": 0, "high": 2, "log": True}, "low > 0"),
    "log with a step": ({"low": 1, "high": 3, "log": True, "step": 1}, "cannot have a step"),
    "step of zero": ({"low": 0, "high": 1, "step": 0}, "above 0"),
    "step below zero": ({"low": 0, "high": 1, "step": -0.5}, "above 0"),
    "step too wide": ({"low": 0, "high": 1, "step": 2}, "at most high - low"),
    "step that does not divide": ({"low": 0, "high": 1, "step": 0.3}, "must divide"),
    "step that nearly divides": ({"low": 1, "high": 2, "step": 0.333333333333}, "must divide"),
    "step that underflows": ({"low": 1, "high": 2, "step": 1e-320}, "levels"),
    "huge integer": ({"low": 1, "high": 10**400}, "must lie between"),
    "infinite width": ({"low": -1.7e308, "high": 1.7e308}, "must lie between"),
    "not a number": ({"low": float("nan"), "high": 1}, "finite"),
    "infinity": ({"low": 1, "high": float("inf")}, "finite"),
    "no choices": ({"choices": []}, "must not be empty"),
    "the same twice": ({"choices": [8, 16, 8]}, "differ"),
    "the same to Optuna": ({"choices": [8, 8.0]}, "differ"),
    "true and one": ({"choices": [1, True]}, "differ"),
    "choices on a log scale": ({"choices": [1, 2], "log": True}, "work only with low and high"),
    "a value with a step": ({"value": 1, "step": 1}, "work only with low and high"),
    "a value under a condition": ({"value": 1, "when": {"rank": 8}}, "fixed"),
    "a list as a choice": ({"choices": [["q", "v"]]}, "valid"),
    "text as a bound": ({"low": "1", "high": 2}, "valid"),
    "truth as a bound": ({"low": True, "high": 2}, "valid"),
    "a number as log": ({"low": 1, "high": 2, "log": 1}, "valid boolean"),
    "turns in a range": ({"low": 1, "high": 2, "balanced": True}, "works only with choices"),
    "turns under a condition": (
        {"choices": [1, 2], "balanced": True, "when": {"rank": 8}},
        "works only with choices, and not together with when",
    ),
    "an unknown key": ({"low": 1, "high": 2, "base": 10}, "Extra"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_parameter_is_refused(name: str) -> None:
    """A table that makes no sense is refused with the rule that it breaks."""
    table, rule = REFUSED[name]
    with pytest.raises(ValidationError, match=rule):
        Parameter.model_validate(table)


def test_distributions() -> None:
    """Each kind becomes the distribution of Optuna's that means the same."""
    cases = [
        ({"low": 1, "high": 3}, True, IntDistribution(1, 3)),
        ({"low": 1, "high": 3}, False, FloatDistribution(1.0, 3.0)),
        ({"low": 4, "high": 12, "step": 4}, True, IntDistribution(4, 12, step=4)),
        ({"low": 0, "high": 0.3, "step": 0.1}, False, FloatDistribution(0.0, 0.3, step=0.1)),
        ({"low": 1, "high": 99, "log": True}, True, IntDistribution(1, 99, log=True)),
        ({"low": 1e-5, "high": 1, "log": True}, False, FloatDistribution(1e-5, 1.0, log=True)),
        ({"choices": ["qv", "attention"]}, False, CategoricalDistribution(("qv", "attention"))),
        ({"value": 3}, True, None),
    ]
    for table, integer, expected in cases:
        assert Parameter.model_validate(table).distribution(integer=integer) == expected


bounds = st.floats(-1e300, 1e300) | st.integers(-(10**12), 10**12)
ranges = st.fixed_dictionaries(
    {"low": bounds, "high": bounds},
    optional={
        "log": st.booleans(),
        "step": st.sampled_from([0.1, 0.25, 1, 2, 1e-3, 7]) | st.floats(0, 10),
    },
)
choices = st.lists(st.integers(-9, 99) | st.floats(-9, 9) | st.text(max_size=4), max_size=6)


@pytest.mark.whole
@settings(deadline=None)
@given(
    table=ranges | st.builds(lambda c: {"choices": c}, choices),
    integer=st.booleans(),
    unit=st.floats(0, 1, exclude_max=True),
)
def test_what_is_accepted_can_be_searched(table: Any, integer: bool, unit: float) -> None:
    """Every table is refused, or becomes a distribution whose positions and values agree."""
    try:
        parameter = Parameter.model_validate(table)
    except ValidationError:
        return
    whole = all(isinstance(table.get(k, 0), int) for k in ("low", "high", "step"))
    distribution = parameter.distribution(integer=integer and whole)
    assert distribution is not None
    value = from_unit(distribution, unit)
    assert distribution._contains(distribution.to_internal_repr(value))
    position = to_unit(distribution, value)
    assert -1e-9 <= position <= 1 + 1e-9
    if level_count(distribution) is not None:
        assert from_unit(distribution, min(position, 1 - 1e-12)) == pytest.approx(value)


def test_conditions_may_name_one_value_or_several() -> None:
    """`when = {method = "lora"}` and `when = {method = ["lora"]}` are the same."""
    one = Parameter.model_validate({"low": 1, "high": 2, "when": {"rank": 8}})
    several = Parameter.model_validate({"low": 1, "high": 2, "when": {"rank": [8]}})
    assert one == several
    assert one.when == {"rank": (8,)}
