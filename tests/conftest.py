"""What several parts' tests share.  Its place makes `synthetic` importable from every test."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import pytest
from synthetic import Shape, write_study

from analysis import StudyData, load

mpl.use("agg")


@pytest.fixture(scope="session")
def petroleum_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a synthetic petroleum study: 64 complete, 2 failed, 3 pruned trials."""
    return write_study(tmp_path_factory.mktemp("runs") / "petroleum", Shape(pruned=3))


@pytest.fixture(scope="session")
def petroleum(petroleum_run: Path) -> StudyData:
    """The synthetic petroleum study, loaded."""
    return load(petroleum_run)
