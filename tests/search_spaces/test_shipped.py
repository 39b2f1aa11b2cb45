"""The spaces that ship are those that the documentation describes."""

from __future__ import annotations

import tomllib

import pytest

from search_spaces import Parameter, shipped_spaces


def parameters(name: str) -> dict[str, Parameter]:
    """A shipped space's parameters."""
    document = tomllib.loads(shipped_spaces()[name].read_text(encoding="utf-8"))
    return {n: Parameter.model_validate(table) for n, table in document["parameters"].items()}


def test_two_spaces_ship() -> None:
    """The narrow and the wide space are found by name."""
    assert set(shipped_spaces()) == {"lora-narrow", "lora-wide"}


def test_the_narrow_space_is_that_of_the_original_finding() -> None:
    """α in powers of two up to 256, r 8 or 16, learning rate within a factor of 2.5."""
    narrow = parameters("lora-narrow")
    assert narrow["alpha"].choices == tuple(2**k for k in range(9))
    assert narrow["rank"].choices == (8, 16)
    assert narrow["learning_rate"].low is not None
    assert narrow["learning_rate"].high == pytest.approx(2.5 * narrow["learning_rate"].low)
    assert narrow["learning_rate"].log
    assert (narrow["dropout"].low, narrow["dropout"].high) == (0.0, 0.3)
    assert narrow["target_modules"].value == "attention"


def test_the_wide_space_frees_the_learning_rate() -> None:
    """Learning rate over four decades on a log scale, α 8 to 128, r 4 to 32, sets of modules."""
    wide = parameters("lora-wide")
    assert wide["learning_rate"].low is not None
    assert wide["learning_rate"].high == pytest.approx(1e4 * wide["learning_rate"].low)
    assert wide["learning_rate"].log
    assert wide["alpha"].choices == (8, 16, 32, 64, 128)
    assert wide["rank"].choices == (4, 8, 16, 32)
    assert wide["target_modules"].choices == ("qv", "attention", "attention+ffn")


@pytest.mark.parametrize("name", sorted(shipped_spaces()))
def test_every_space_says_what_it_is(name: str) -> None:
    """The first line is the comment that `optuna-study list` prints."""
    first = shipped_spaces()[name].read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# ")
    assert len(first) > 20
