"""The tutorial does what it says, with nothing but what its own commands wrote."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.test_docs import TUTORIAL, run


@pytest.mark.slow
def test_the_tutorial_runs_from_its_first_line_to_its_last(tmp_path: Path) -> None:
    """In an empty folder, every block, and in the end a translation."""
    text = TUTORIAL.read_text(encoding="utf-8")
    done = run("\n".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL)), tmp_path)
    assert " -> " in done.stdout.splitlines()[-1]
