"""Tables of results as spreadsheets write them: a study, or one line a problem."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from tests.fuzz.command import Ran, command

pytestmark = pytest.mark.whole

SPACES = (
    "",
    "x",
    "[parameters]\n",
    "[parameters.rank]\nlow = 'a'\n",
    "rank = 3\n",
    "[rank]\nlow=1",
)


RANKS = "[parameters.rank]\nlow = 1\nhigh = 64\n"


def shown(folder: Path, results: str, space: str = RANKS) -> Ran:
    """Show a table of results in a space declared beside it."""
    (folder / "results.csv").write_text(results)
    (folder / "space.toml").write_text(space)
    told = ("--space", folder / "space.toml", "--objective", "accuracy")
    return command("show", folder / "results.csv", *told)


@pytest.mark.parametrize("space", SPACES)
def test_spaces_that_are_none(tmp_path: Path, space: str) -> None:
    """A declared space that is none is one line."""
    ran = shown(tmp_path, "rank,accuracy\n1,0.5\n", space)
    assert (ran.status, len(ran.err.splitlines())) == (2, 1)


def test_a_cell_longer_than_csv_reads(tmp_path: Path) -> None:
    """A field of a million characters is refused with the reader's own reason."""
    ran = shown(tmp_path, "rank,accuracy\n1," + "0" * 1_000_000 + "\n")
    assert (ran.status, len(ran.err.splitlines())) == (2, 1)


def test_a_table_of_many_columns_is_read_in_time(tmp_path: Path) -> None:
    """The time grows with the number of columns, not with its square: that would be minutes."""
    names = [f"c{number}" for number in range(100_000)]
    (tmp_path / "results.csv").write_text(f"{','.join(names)}\n{','.join('1' for _ in names)}\n")
    (tmp_path / "space.toml").write_text("[parameters.a]\nlow = 0\nhigh = 10\n")
    begun = time.process_time()
    told = ("--space", tmp_path / "space.toml", "--objective", "accuracy")
    ran = command("show", tmp_path / "results.csv", *told)
    assert (ran.status, ran.err.count("\n")) == (2, 1)
    assert "objective must name a column, got accuracy" in ran.err
    assert time.process_time() - begun < 20


def test_digits_of_other_scripts_and_of_thousands_are_no_crash(tmp_path: Path) -> None:
    """What Python calls decimal, or takes too long to read, is a value or a line."""
    assert sys.get_int_max_str_digits() < 5000
    for cell in ("٣", "²", "9" * 5000, "1_0", "0x10"):
        ran = shown(tmp_path, f"rank,accuracy,note\n{cell},0.5,{cell}\n")
        assert ran.status in (0, 2)
        assert shown(tmp_path, f"rank,accuracy,note\n3,0.5,{cell}\n").status == 0
