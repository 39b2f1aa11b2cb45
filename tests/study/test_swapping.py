"""Several adapters on one base: shown and timed for those that a study saved."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from reports.terminal_adapters import swap_text
from study.engines.choice import EngineChoice
from study.errors import InputError
from study.runner import run_study
from study.spec import StudySpec
from study.swapping import time_study_swaps
from tests.conftest import RecordingView


def test_saved_adapters_are_swapped_and_timed(tiny_spec: StudySpec, tmp_path: Path) -> None:
    """Base and first adapter, a further one, a swap; with one adapter there is nothing to swap."""
    run = tmp_path / "run"
    run_study(tiny_spec, run, RecordingView(), choice=EngineChoice("sequential"))
    found = time_study_swaps(run, tiny_spec)
    assert len(found.folders) == 3
    assert 0 < found.swap < found.loading
    text = swap_text(found.folders, found.loading, found.further, found.swap)
    assert text.count("load_adapter") == 2
    for folder in found.folders[1:]:
        shutil.rmtree(folder)
    with pytest.raises(InputError, match="two saved adapters of one kind, got 1"):
        time_study_swaps(run, tiny_spec)
