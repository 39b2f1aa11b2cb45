"""Thousands of wrong inputs: each does its work or is refused in lines, and nothing is changed."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

from study.errors import InputError
from tests.fuzz.command import HangError
from tests.fuzz.mutants import KINDS, main, try_mutants

pytestmark = [pytest.mark.whole, pytest.mark.usefixtures("quiet_optuna")]


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.default])
def test_mutants(tmp_path: Path, name: str) -> None:
    """Some are accepted and some refused, with no traceback and none that hangs."""
    least, most = KINDS[name].shares
    assert least <= try_mutants(name, tmp_path / name, KINDS[name].default) <= most


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.slow])
def test_thousands_of_mutants(tmp_path: Path, name: str) -> None:
    """The same for as many as there is time for."""
    least, most = KINDS[name].shares
    assert least <= try_mutants(name, tmp_path / name, KINDS[name].slow) <= most


def test_a_hundred_more_of_each_are_tried_slowly() -> None:
    """Every source has at least a hundred more mutants in `nox -s slow` than in each session."""
    tried: defaultdict[str, list[int]] = defaultdict(list)
    for kind in KINDS.values():
        tried[kind.source.seed].append(len(kind.slow) - len(kind.default))
    assert {seed: sum(more) for seed, more in tried.items() if sum(more) < 100} == {}


def fail(error: BaseException) -> bool:
    """Raise, as an expression."""
    raise error


WRONG: dict[str, Callable[[Path], bool]] = {
    "a traceback": lambda path: fail(ValueError("x")),
    "a hang": lambda path: fail(HangError()),
    "a line that does not say where": lambda path: fail(InputError("bad: table")),
    "the same line twice": lambda path: fail(InputError([f"{path}: bad"] * 2)),
    "a refusal without a reason": lambda path: fail(InputError([])),
    "a mutant that is changed": lambda path: path.write_text("x") == 1,
    "a file that is left behind": lambda path: path.with_name("left").touch() is None,
    "a file that is lost": lambda path: path.with_name("space.toml").unlink() is None,
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_must_not_happen_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    """The loop stops at it and says how to make the mutant again."""
    kind = dataclasses.replace(KINDS["table"], read=WRONG[wrong])
    monkeypatch.setitem(KINDS, "table", kind)
    with pytest.raises((AssertionError, ValueError, HangError)) as found:
        try_mutants("table", tmp_path / "table", range(7, 9))
    assert found.value.__notes__[-1] == "mutant 7: python -m tests.fuzz.mutants table 7"


def test_a_mutant_is_made_again(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """It is printed, or written into a folder beside what its commands need."""
    main("table", "7")
    main("table", "7", str(tmp_path / "again"))
    assert capfdbinary.readouterr().out == (tmp_path / "again" / "results.csv").read_bytes()
    assert (tmp_path / "again" / "space.toml").exists()
