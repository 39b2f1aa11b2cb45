"""Tables of results as spreadsheets write them: a study, or one line a problem."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.fuzz.command import command

pytestmark = pytest.mark.whole

SPACES = (
    "",
    "x",
    "[parameters]\n",
    "[parameters.rank]\nlow = 'a'\n",
    "rank = 3\n",
    "[rank]\nlow=1",
)


@pytest.mark.parametrize("space", SPACES)
def test_spaces_that_are_none(tmp_path: Path, space: str) -> None:
    """A declared space that is none is one line."""
    (tmp_path / "results.csv").write_text("rank,accuracy\n1,0.5\n")
    (tmp_path / "space.toml").write_text(space)
    told = ("--space", tmp_path / "space.toml", "--objective", "accuracy")
    ran = command("show", tmp_path / "results.csv", *told)
    assert (ran.status, len(ran.err.splitlines())) == (2, 1)


def test_a_cell_longer_than_csv_reads(tmp_path: Path) -> None:
    """A field of a million characters is refused with the reader's own reason."""
    (tmp_path / "results.csv").write_text("rank,accuracy\n1," + "0" * 1_000_000 + "\n")
    (tmp_path / "space.toml").write_text("[parameters.rank]\nlow = 1\nhigh = 64\n")
    told = ("--space", tmp_path / "space.toml", "--objective", "accuracy")
    ran = command("show", tmp_path / "results.csv", *told)
    assert (ran.status, len(ran.err.splitlines())) == (2, 1)


def test_digits_of_other_scripts_and_of_thousands_are_no_crash(tmp_path: Path) -> None:
    """What Python calls decimal, or takes too long to read, is a value or a line."""
    assert sys.get_int_max_str_digits() < 5000
    (tmp_path / "space.toml").write_text("[parameters.rank]\nlow = 1\nhigh = 64\n")
    told = ("--space", tmp_path / "space.toml", "--objective", "accuracy")
    for cell in ("٣", "²", "9" * 5000, "1_0", "0x10"):
        (tmp_path / "results.csv").write_text(f"rank,accuracy,note\n{cell},0.5,{cell}\n")
        ran = command("show", tmp_path / "results.csv", *told)
        assert ran.status in (0, 2)
        (tmp_path / "results.csv").write_text(f"rank,accuracy,note\n3,0.5,{cell}\n")
        assert command("show", tmp_path / "results.csv", *told).status == 0
