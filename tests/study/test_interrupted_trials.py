"""A trial that was interrupted goes on from its last report, and ends as if nothing had been."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.numpy
from optuna.trial import FrozenTrial, TrialState

from study.engines.engine_choice import EngineChoice
from study.runner import run_study
from study.spec.sections import StudySpec
from study.store.saved_states import FOLDER, SavedState, SavedStates
from study.trials import TrialConfig
from tests.conftest import RecordingView
from tests.scripted_engine import load

CHOICES = [EngineChoice("sequential"), EngineChoice(slots=2)]


@pytest.fixture
def spec(make_spec: Callable[..., StudySpec]) -> StudySpec:
    """Return two trials of five steps that report every second step."""
    return make_spec({"base.dtype": "float64", "training.steps": 5, "search.trials": 2})


def stop_at(spec: StudySpec, out: Path, number: int, step: int, choice: EngineChoice) -> None:
    """Run a study until a trial's report, and stop there as a person would."""
    view = RecordingView()

    def stop(config: TrialConfig, reached: int) -> None:
        if (config.number, reached) == (number, step):
            raise KeyboardInterrupt

    view.on_progress = stop
    run_study(spec, out, view, choice=choice)


def counted(out: Path) -> list[FrozenTrial]:
    """Return the trials of a run that count."""
    return [t for t in load(out).trials if not t.user_attrs.get("interrupted")]


def assert_same_trials(found: Path, wanted: Path) -> None:
    """Hold two runs against each other: values, reports and measurements."""
    for one, other in zip(counted(found), counted(wanted), strict=True):
        assert one.state == other.state == TrialState.COMPLETE
        assert one.params == other.params
        assert one.value == pytest.approx(other.value, rel=1e-9)
        assert one.intermediate_values == pytest.approx(other.intermediate_values, rel=1e-9)
        assert one.user_attrs["steps"] == other.user_attrs["steps"]


@pytest.fixture
def whole(spec: StudySpec, tmp_path: Path) -> Path:
    """Return a run that nothing interrupted."""
    return run_study(spec, tmp_path / "whole", choice=CHOICES[0]).folder


@pytest.mark.whole
@pytest.mark.parametrize("choice", CHOICES, ids=["one at a time", "packed"])
def test_an_interrupted_trial_goes_on_from_its_last_report(
    choice: EngineChoice, spec: StudySpec, whole: Path, tmp_path: Path, view: RecordingView
) -> None:
    """Only the steps after it are trained again, and no state is left behind."""
    out = tmp_path / "run"
    stop_at(spec, out, 1, 4, choice)
    assert (out / FOLDER / "unit-00001.safetensors").exists()
    run_study(spec, out, view, choice=choice)
    (again,) = [t.number for t in load(out).trials if t.user_attrs.get("attempt") == 2][-1:]
    assert [step for number, step, _ in view.progress if number == again] == [4, 5]
    assert_same_trials(out, whole)
    assert not (out / FOLDER).exists()


@pytest.mark.whole
@pytest.mark.parametrize("damage", ["cut", "lost", "of another study", "text"])
def test_a_lost_state_costs_only_time(
    damage: str, spec: StudySpec, whole: Path, tmp_path: Path
) -> None:
    """A state that is gone, damaged or of other settings is not used: the trial begins anew."""
    out = tmp_path / "run"
    stop_at(spec, out, 1, 4, CHOICES[0])
    file = out / FOLDER / "unit-00001.safetensors"
    state = file.read_bytes()
    if damage == "lost":
        file.unlink()
    else:
        other = state.replace(b'"identity": "\\"', b'"identity": "\\"0')
        file.write_bytes({"cut": state[:-9], "of another study": other, "text": b"no"}[damage])
    run_study(spec, out, choice=CHOICES[0])
    assert_same_trials(out, whole)


def test_nothing_is_read_through_a_link(spec: StudySpec, tmp_path: Path) -> None:
    """A state in a folder from somebody else may be a link to another file."""
    states = SavedStates(tmp_path)
    states.save("a", SavedState(safetensors.numpy.save({}), "same", {}))
    assert states.find("a", "same") is not None
    assert states.find("a", "other") is None
    (tmp_path / FOLDER / "b.safetensors").symlink_to(tmp_path / FOLDER / "a.safetensors")
    assert states.find("b", "same") is None
