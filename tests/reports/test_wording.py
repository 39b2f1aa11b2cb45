"""How numbers are written."""

from __future__ import annotations

import math
from typing import Any

import pytest

from analysis.wording import alike, interval, listing, named, number, probability, setting, signed


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (64, "64"),
        (2_359_296, "2,359,296"),
        (80.399, "80.4"),
        (1.5, "1.50"),
        (0.0345, "0.0345"),
        (3.14e-4, "3.14e-4"),
        (2e-4, "2e-4"),
        (-0.5, "-0.500"),
        (123456.7, "1.23e5"),
        (math.inf, "inf"),
        (math.nan, "nan"),
        (True, "True"),
        (None, ""),
        ("attention", "attention"),
    ],
)
def test_numbers_have_three_significant_digits(value: Any, text: str) -> None:
    """Integers in full, small numbers as powers, the rest as text."""
    assert number(value) == text


def test_a_column_has_the_same_decimals() -> None:
    """So that the eye can compare."""
    write = alike([80.4, 7.25, 0.1234, None, "x"])
    assert [write(v) for v in (80.4, 7.25, 0.1234, None, "x", 3)] == [
        "80.4",
        "7.2",
        "0.1",
        "",
        "x",
        "3",
    ]
    assert alike([4.7e-4, 3.123e-4])(4.7e-4) == "4.70e-4"


def test_numbers_that_differ_are_not_written_the_same() -> None:
    """One large value takes no digits from the others."""
    write = alike([10.93, 0.903, 0.926, 1.1])
    assert [write(v) for v in (10.93, 0.903, 0.926, 1.1)] == ["10.93", "0.90", "0.93", "1.10"]
    assert alike([67.93, 67.94])(67.93) == "67.9"  # the same in three digits


def test_differences_bear_their_sign() -> None:
    """A true minus, and both ends of an interval alike."""
    assert signed(-6.678) == "−6.68"
    assert interval((-12.8, -0.0983)) == "−12.8 to −0.1"


def test_a_probability_is_never_zero() -> None:
    """No smaller than the resamples can tell."""
    assert probability(1 / 1001) == "< 0.001"
    assert probability(0.0579) == "0.058"


@pytest.mark.parametrize(
    ("items", "text"), [([], ""), (["a"], "a"), (["a", "b"], "a and b"), ("abc", "a, b and c")]
)
def test_listings_read_as_sentences(items: list[str], text: str) -> None:
    """With an "and" before the last."""
    assert listing(items) == text


def test_a_column_over_decades_loses_no_number() -> None:
    """Learning rates from 2.3e-5 to 4.8e-2 are each written with their own digits."""
    write = alike([2.3e-5, 4e-4, 0.0477])
    assert [write(v) for v in (2.3e-5, 0.0477)] == ["2.3e-5", "0.0477"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.3, "0.3"),
        (0.05, "0.05"),
        (0.0964298, "0.0964"),
        (0.29999, "0.300"),
        (2e-4, "2e-4"),
        (8, "8"),
    ],
)
def test_what_somebody_chose_is_written_as_they_would(value: float, text: str) -> None:
    """Zeros only where something was rounded."""
    assert setting(value) == text


def test_a_parameter_s_name_fits_a_table() -> None:
    """A long name keeps both ends, a blank one is visible."""
    assert named("learning_rate") == "learning_rate"
    assert named("") == "''"
    assert named("a" * 60 + "b" * 60) == "a" * 24 + "…" + "b" * 24
