"""Several adapters on one base: shown, timed and tried on a text, those that a study saved."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from analysis import load
from reports.swaps import swap_text
from study.engines.engine_choice import EngineChoice
from study.errors import InputError
from study.finished.load_adapters import load_adapters
from study.finished.swapping import time_study_swaps
from study.runner import run_study
from study.spec.sections import StudySpec
from tests.conftest import RecordingView

pytestmark = pytest.mark.whole


@pytest.fixture(scope="module")
def run(tiny_spec: StudySpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run that kept its three adapters."""
    folder: Path = tmp_path_factory.mktemp("swaps") / "run"
    run_study(tiny_spec, folder, RecordingView(), choice=EngineChoice("sequential"))
    return folder


def test_saved_adapters_are_swapped_and_timed(
    tiny_spec: StudySpec, run: Path, tmp_path: Path
) -> None:
    """Base and first adapter, a further one, a swap; with one adapter there is nothing to swap."""
    copy = shutil.copytree(run, tmp_path / "run")
    found = time_study_swaps(copy, tiny_spec)
    assert len(found.folders) == 3
    assert 0 < found.swap < found.loading
    text = swap_text(found.folders, found.loading, found.further, found.swap)
    assert text.count("load_adapter") == 2
    config = found.folders[1] / "adapter_config.json"
    config.write_text("[]")
    with pytest.raises(InputError, match=r"adapter_config\.json: invalid adapter configuration"):
        time_study_swaps(copy, tiny_spec)
    for folder in found.folders[1:]:
        shutil.rmtree(folder)
    with pytest.raises(InputError, match="two saved adapters of one kind, got 1"):
        time_study_swaps(copy, tiny_spec)


def test_saved_adapters_answer_a_text_as_their_trials_did(run: Path) -> None:
    """A dev sentence asked again gets the outputs that are stored of the base and every trial."""
    data = load(run)
    adapted = load_adapters(run, data.spec_text)
    stored = data.outputs("base")
    found = adapted.answers(stored.source[3])
    assert list(found) == ["base", "trial-00000", "trial-00001", "trial-00002"]
    assert found["base"] == stored.output[3]
    for number in range(3):
        assert found[f"trial-{number:05d}"] == data.outputs(number).output[3]


def test_adapters_that_are_not_there_or_pickled_are_refused(run: Path, tmp_path: Path) -> None:
    """A database without a run folder, and weights that would have to be unpickled."""
    text = load(run).spec_text
    with pytest.raises(InputError, match="contains no adapters"):
        load_adapters(tmp_path, text)
    copy = shutil.copytree(run, tmp_path / "run")
    weights = copy / "adapters" / "trial-00001" / "adapter_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(InputError, match=r"no \*\.safetensors file, got adapter_model\.bin"):
        load_adapters(copy, text)
