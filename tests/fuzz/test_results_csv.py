"""Tables of results as spreadsheets write them: a study, or one line a problem."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

from tests.fuzz.command import accepted, command, quiet

CELLS = ("1", "8", "0.5", "-1", "1e400", "nan", "inf", "-inf", "", " ", "NA", "x", "true", "8.0")
CELLS += ('"', '"a\nb"', "=1+1", "+SUM(A1)", "@x", "\x00", "\x1b[2J", "9" * 400, "1,5", "²", "٣")
SPACE = '[parameters.rank]\nlow = 1\nhigh = 64\n[parameters."b"]\nchoices = ["x", true, 8]\n'
SPACES = (
    "",
    "x",
    "[parameters]\n",
    "[parameters.rank]\nlow = 'a'\n",
    "rank = 3\n",
    "[rank]\nlow=1",
)


def table(number: int) -> bytes:
    """Return a CSV file: the declared columns and others, rows as long as they happen to be."""
    rng = random.Random(f"csv/{number}")
    columns = ["rank", "b", "accuracy"]
    if rng.random() < 0.3:
        columns = rng.choices(["rank", "b", "accuracy", "rank", "", "__class__", "state"], k=4)
    likely = {"rank": ("1", "8", "64"), "b": ("x", "true", "8"), "accuracy": ("0.5", "0.7", "0")}
    odd = rng.choice([0.0, 0.0, 0.02, 0.3])
    rows = [columns]
    for _ in range(rng.choice([0, 1, 2, 12])):
        row = [rng.choice(CELLS if rng.random() < odd else likely.get(c, CELLS)) for c in columns]
        rows.append(row[: len(row) - (rng.random() < odd)] + ["9"] * (rng.random() < odd))
    line_end, separator = rng.choice(["\n", "\r\n"]), rng.choice([",", ",", ",", ";"])
    text = line_end.join(separator.join(row) for row in rows)
    return text.encode(rng.choice(["utf-8", "utf-8-sig", "utf-16"]) if odd else "utf-8")


def read_all(folder: Path, numbers: range) -> int:
    """Show tables of results, JSON included; returns how many were a study."""
    (folder / "space.toml").write_text(SPACE)
    path, found = folder / "results.csv", 0
    for number in numbers:
        path.write_bytes(table(number))
        told = ("--space", folder / "space.toml", "--objective", "accuracy")
        try:
            with quiet():
                found += accepted("show", path, *told)
                accepted("show", path, *told, "--json")
        except Exception as error:
            error.add_note(f"table number {number}")
            raise
        assert path.read_bytes() == table(number)
    return found


def test_some_tables(tmp_path: Path) -> None:
    """Some are studies, some are refused."""
    assert 3 < read_all(tmp_path, range(30)) < 30


@pytest.mark.slow
def test_two_thousand_tables(tmp_path: Path) -> None:
    """The same for many more."""
    assert 200 < read_all(tmp_path, range(2000)) < 2000


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
