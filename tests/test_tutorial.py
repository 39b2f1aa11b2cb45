"""README's study and the tutorial at their full lengths, with what their own commands wrote."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis import load
from study.spec.files import load_spec
from tests.test_docs import FIRST, run, tutorial


@pytest.mark.slow
def test_the_tutorial_runs_from_its_first_line_to_its_last(tmp_path: Path) -> None:
    """As it stands: its base, its 16 trials, its three fresh seeds."""
    tutorial(tmp_path, {})


@pytest.mark.slow
def test_the_readmes_first_command_runs_all_its_trials(tmp_path: Path) -> None:
    """As it stands; `tests/test_docs.py` runs the other commands over fewer trials."""
    run(FIRST, tmp_path)
    data = load(tmp_path / "runs" / "petroleum")
    assert len(data.complete) == load_spec("petroleum").search.trials
