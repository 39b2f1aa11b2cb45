"""The benchmark behind docs/evidence.md asks every one of its questions."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "adversary.py"


@pytest.mark.whole
def test_a_quick_run_answers_every_question() -> None:
    """One study per line: each line that the benchmark lists gives a figure from 0 to 1."""
    listed = rows("--list")
    answered = rows("--quick")
    assert len(listed) > 30
    assert [row[0] for row in answered] == [row[0] for row in listed]
    assert all(0 <= float(row[2]) <= 1 for row in answered)


def rows(option: str) -> list[list[str]]:
    """Return the cells of each line of the table that the script prints."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), option], capture_output=True, text=True, check=True
    )
    return [row.strip("| ").split(" | ") for row in done.stdout.splitlines()[2:]]
