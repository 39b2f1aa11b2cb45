"""Fixtures over the synthetic study, for the tests of analysis, reports and notebook."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest

from analysis import StudyData, load
from study.spec.sections import StudySpec
from tests.synthetic import Shape, write_study
from tests.tiny_studies import written_once


@pytest.fixture
def quiet_optuna() -> Iterator[None]:
    """Keep Optuna from announcing every study."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(before)


@pytest.fixture(scope="session")
def petroleum_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run folder: 64 complete, 2 failed, 3 pruned trials."""
    return written_once(
        tmp_path_factory, "synthetic-petroleum", lambda folder: write_study(folder, Shape(pruned=3))
    )


@pytest.fixture(scope="session")
def petroleum(petroleum_run: Path) -> StudyData:
    """Return the synthetic petroleum study, loaded."""
    return load(petroleum_run)


@pytest.fixture(scope="session")
def pairs(
    make_pair_spec: Callable[..., StudySpec], tmp_path_factory: pytest.TempPathFactory
) -> StudyData:
    """Return a run of the tiny classification study: three trials, with and without its teacher."""
    from study.engines.engine_choice import EngineChoice
    from study.runner import run_study
    from tests.conftest import RecordingView

    folder = tmp_path_factory.mktemp("pairs-run")
    run_study(make_pair_spec(), folder, RecordingView(), choice=EngineChoice("sequential"))
    return load(folder)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a folder on a disk of its own, of a megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(mounting, capture_output=True).returncode != 0:
        pytest.skip("a full disk is NOT tested: needs the right to mount one")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
