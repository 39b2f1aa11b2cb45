"""The winner at full length: as long as asked, resumable at every report, scored and exported."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from analysis import load
from study.confirming import Candidate
from study.engines.engine_choice import EngineChoice
from study.engines.schedules import learning_rate_factor
from study.errors import InputError
from study.finished.final_training import Length, Trained, train_winner, training_config
from study.runner import run_study
from study.spec.sections import StudySpec
from tests.command_line import Type
from tests.conftest import RecordingView

VALUES = {"rank": 4, "alpha": 8, "learning_rate": 1e-3, "dropout": 0.1, "target_modules": "qv"}
WEIGHTS = "adapter_model.safetensors"


@pytest.fixture(scope="module")
def spec(make_spec: Callable[..., StudySpec], parallel_text: Path) -> StudySpec:
    """Return a study with a test split that reports every second step."""
    return make_spec({"data.test": str(parallel_text / "general.tsv"), "search.trials": 1})


def train(spec: StudySpec, run: Path, steps: int = 8, **options: Any) -> Trained:
    """Train a configuration to the end."""
    values = {**VALUES, **options.pop("values", {})}
    length, view = Length(steps=steps), options.pop("view", RecordingView())
    trained = train_winner(spec, run, view, Candidate(3, values), length=length, **options)
    assert trained is not None
    return trained


def interrupted(spec: StudySpec, run: Path, at: int, steps: int = 8, **values: Any) -> None:
    """Train until the report at a step, and stop there as a person would."""
    view = RecordingView()

    def stop(config: object, step: int) -> None:
        if step == at:
            raise KeyboardInterrupt

    view.on_progress = stop
    chosen = Candidate(3, {**VALUES, **values})
    assert train_winner(spec, run, view, chosen, length=Length(steps=steps)) is None


def test_a_training_is_exported_with_its_scores(spec: StudySpec, tmp_path: Path) -> None:
    """The folder has adapter, tokenizer and scores on dev, general and test, and no state."""
    trained = train(spec, tmp_path)
    folder = tmp_path / "trained" / "trial-00003"
    assert trained.exported.folder == folder
    names = {path.name for path in folder.iterdir()}
    assert {"adapter_config.json", WEIGHTS, "tokenizer_config.json", "training.json"} <= names
    facts = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    assert (facts["trial"], facts["values"]["steps"], facts["values"]["rank"]) == (3, 8, 4)
    assert {*facts["scores"]} == {"dev", "general", "test"}
    assert trained.remarks == ()
    assert [path.name for path in (tmp_path / "trained").iterdir()] == ["trial-00003"]
    with pytest.raises(InputError, match="exists already; name a new folder"):
        train(spec, tmp_path)


def assert_equal(whole: Trained, again: Trained) -> None:
    """Hold two trainings against each other: their scores, and every weight bit for bit."""
    assert again.scores == whole.scores
    (name,) = (p.name for p in whole.exported.folder.glob("*.safetensors"))
    one, other = (load_file(done.exported.folder / name) for done in (whole, again))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize(
    "values",
    [
        {},
        pytest.param({"method": "ia3", "optimizer": "lion"}, marks=pytest.mark.whole),
        pytest.param({"method": "pissa", "optimizer": "sgd"}, marks=pytest.mark.whole),
        pytest.param({"method": "full", "optimizer": "adafactor"}, marks=pytest.mark.whole),
    ],
    ids=str,
)
def test_an_interrupted_training_goes_on_exactly(
    values: dict[str, Any], spec: StudySpec, tmp_path: Path
) -> None:
    """Weights, scores and every optimizer's moments are those of a training never interrupted."""
    whole = train(spec, tmp_path / "whole", values=values)
    interrupted(spec, tmp_path / "twice", 4, **values)
    view = RecordingView()
    again = train(spec, tmp_path / "twice", values=values, view=view)
    assert [step for _, step, _ in view.progress] == [6, 8]
    assert any(line.startswith("going on from ") for line in view.remarks)
    assert_equal(whole, again)


def killed(spec: StudySpec, run: Path, at: int) -> None:
    """Train until a report, and kill this process there as the system would."""
    view = RecordingView()

    def kill(config: object, step: int) -> None:
        if step == at:
            os.kill(os.getpid(), signal.SIGKILL)

    view.on_progress = kill
    train_winner(spec, run, view, Candidate(3, VALUES), length=Length(steps=8))


@pytest.mark.slow  # two processes that import torch
def test_a_killed_training_goes_on_exactly(spec: StudySpec, tmp_path: Path) -> None:
    """After two SIGKILLs the weights are those of an undisturbed training, bit for bit."""
    whole, often = train(spec, tmp_path / "whole"), tmp_path / "often"
    for at in (4, 6):
        process = multiprocessing.get_context("spawn").Process(
            target=killed, args=(spec, often, at)
        )
        process.start()
        process.join(300)
        assert process.exitcode == -signal.SIGKILL
    view = RecordingView()
    again = train(spec, often, view=view)
    assert [step for _, step, _ in view.progress] == [8]
    assert_equal(whole, again)


@pytest.mark.whole
def test_a_state_is_of_one_training(spec: StudySpec, tmp_path: Path) -> None:
    """Other settings and a damaged file are refused with what to do."""
    interrupted(spec, tmp_path, 4)
    with pytest.raises(InputError, match="training with other settings or data; remove it"):
        train(spec, tmp_path, steps=10)
    (state,) = (tmp_path / "trained").glob(".*/state.safetensors")
    save_file({"x": torch.zeros(1)}, state)
    with pytest.raises(InputError, match="not the state of a training; remove it to begin again"):
        train(spec, tmp_path)
    state.unlink()
    train(spec, tmp_path)


def test_the_schedule_covers_the_new_length(spec: StudySpec) -> None:
    """Half-way through the new length half of the peak is left, whatever the search trained."""
    config = training_config(spec, Candidate(3, VALUES), Length(steps=1000), 40)
    assert config.training.steps == 1000
    assert learning_rate_factor(525, config.training) == pytest.approx(0.5)
    epochs = training_config(spec, Candidate(3, VALUES), Length(epochs=3), 40)
    assert epochs.training.steps == 30  # 40 examples in batches of 4
    same = training_config(spec, Candidate(3, VALUES), Length(), 40)
    assert same.training.steps == spec.training.steps


@pytest.mark.whole
def test_training_on_dev_leaves_no_score_of_it(
    spec: StudySpec, make_spec: Callable[..., StudySpec], tmp_path: Path
) -> None:
    """With `all` an epoch is longer, dev has no score, and without a test set nothing is honest."""
    trained = train(spec, tmp_path / "a", with_dev=True)
    assert {*trained.scores} == {"general", "test"}
    assert "only the score on test is honest" in trained.remarks[0]
    untested = train(make_spec(), tmp_path / "b", steps=2, with_dev=True)
    assert {*untested.scores} == {"general"}
    assert "no honest score is left" in untested.remarks[0]


@pytest.mark.whole
def test_the_command_trains_the_best_of_a_study(
    spec: StudySpec, type_: Type, tmp_path: Path
) -> None:
    """It needs a complete trial, trains its values, and prints scores and folder."""
    run_study(spec, tmp_path / "run", choice=EngineChoice("sequential"))
    best = load(tmp_path / "run").best_trial
    assert best is not None
    ran = type_("train", "run", "--epochs", "0.5", "--data", "all")
    assert ran.status == 0, ran.err
    printed = dict(line.split(maxsplit=1) for line in ran.out.splitlines())
    assert (printed["trial"], printed["steps"]) == (str(best.number), "7")  # 52 examples by 4
    assert printed["test"].startswith("BLEU ")
    assert "dev" not in printed
    values = json.loads(
        (tmp_path / "run" / "trained" / f"trial-{best.number:05d}" / "training.json").read_text()
    )["values"]
    assert {key: values[key] for key in best.params} == best.params
    default = type_("train", "run", "--trial", "default", "--steps", "2")
    assert default.status == 0, default.err
    facts = json.loads((tmp_path / "run" / "trained" / "default" / "training.json").read_text())
    assert (facts["trial"], facts["values"]["alpha"]) == ("default", 8)
    exported = type_("export", "run", "--trial", "default")
    assert exported.status == 0, exported.err
    weights = "adapter_model.safetensors"
    stored = (tmp_path / "run" / "adapters" / "default" / weights).read_bytes()
    assert (tmp_path / "run" / "export" / "default" / weights).read_bytes() == stored


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--epochs", "1", "--steps", "2"), "--epochs: give epochs or steps, not both"),
        (("--epochs", "0"), "--epochs: must be above 0 and at most 1,000,000, got 0.0"),
        (("--trial", "99"), "--trial: no complete trial has the number 99"),
        (("--trial", "base"), "--trial: got 'base'; allowed: a number, or default"),
    ],
)
def test_a_mistake_is_one_line(
    options: tuple[str, ...], says: str, type_: Type, finished: Path
) -> None:
    """What cannot be trained is refused before anything is loaded."""
    ran = type_("train", finished, *options)
    assert (ran.status, ran.problems) == (2, [says])
