"""A masked-diffusion study from end to end: epochs, replicates, one base row, the same draws."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from analysis import StudyData, load
from study.engines.engine_choice import EngineChoice
from study.runner import run_study
from study.spec.sections import StudySpec
from tests.conftest import RecordingView

pytestmark = pytest.mark.whole

POINT = {"epochs": 0.5, "rank": 4, "cutoff_tokens": 12}


@pytest.fixture(scope="module")
def study(
    make_masked_spec: Callable[..., StudySpec], tmp_path_factory: pytest.TempPathFactory
) -> StudyData:
    """Return a run of three trials, two of them one configuration."""
    parameters = {
        "epochs": {"choices": [0.5, 0.8]},
        "rank": {"choices": [4, 8]},
        "cutoff_tokens": {"choices": [6, 12]},
        "learning_rate": {"value": 1e-2},
    }
    search = {"sampler": "random", "trials": 3, "parameters": parameters}
    search |= {"enqueue": [POINT, POINT, {**POINT, "epochs": 0.8}]}
    spec = make_masked_spec({"search": search, "training": {"batch_size": 4, "report_every": 2}})
    folder: Path = tmp_path_factory.mktemp("masked-run")
    run_study(spec, folder, RecordingView(), choice=EngineChoice(slots=3))
    return load(folder)


def test_epochs_are_stored_as_the_steps_that_they_were(study: StudyData) -> None:
    """Half an epoch of forty examples at four a step is five steps, in results and settings."""
    assert study.trials["steps"].tolist() == [5, 5, 8]
    rows = [e for e in study.evaluations if e.role == "search" and e.split == "dev"]
    assert [row.config["steps"] for row in rows] == [5, 5, 8]


def test_a_replicate_has_its_own_seed(study: StudyData) -> None:
    """The same point twice is two trials, whose training differs."""
    first, second, _ = study.trials.to_dict("records")
    assert first["seed"] != second["seed"]
    assert first["loss"] != second["loss"]


def test_the_signature_says_how_the_loss_is_normalised(study: StudyData) -> None:
    """It stands beside every loss, the base's and the trials'."""
    for who in ("base", "default", 0):
        found = study.statistics(who, "loss", "dev")
        assert found.signature == "masked-cross-entropy/p|mean:answer,row|draws:4|unit:nat"
        assert (found.values[:, 1] == 1).all()


def test_one_base_row_stands_beside_the_trials(study: StudyData) -> None:
    """The untrained base is evaluated once, and is no trial."""
    names = [e.name for e in study.evaluations if e.role == "baseline" and e.split == "dev"]
    assert sorted(names) == ["base", "default"]
    assert len(study.trials) == 3
