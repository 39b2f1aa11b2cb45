"""README's study and the tutorial at their full lengths, with what their own commands wrote."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from analysis import load
from study.spec.files import load_spec
from tests.test_docs import FIRST, TUTORIAL, run


@pytest.mark.slow
def test_the_tutorial_runs_from_its_first_line_to_its_last(tmp_path: Path) -> None:
    """Every block in an empty folder as it stands; in the end it prints a translation."""
    script = "\n".join(re.findall(r"```sh\n(.*?)```", TUTORIAL.read_text("utf-8"), re.DOTALL))
    assert " -> " in run(script, tmp_path).stdout.splitlines()[-1]


@pytest.mark.slow
def test_the_readmes_first_command_runs_all_its_trials(tmp_path: Path) -> None:
    """As it stands; `tests/test_docs.py` runs the other commands over fewer trials."""
    run(FIRST, tmp_path)
    data = load(tmp_path / "runs" / "petroleum")
    assert len(data.complete) == load_spec("petroleum").search.trials
