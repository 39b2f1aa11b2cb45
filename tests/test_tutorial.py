"""The tutorial does what it says, with nothing but what its own commands wrote."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.test_docs import tutorial


@pytest.mark.slow
def test_the_tutorial_runs_from_its_first_line_to_its_last(tmp_path: Path) -> None:
    """As it stands: its base, its 16 trials, its three fresh seeds."""
    tutorial(tmp_path, {})
