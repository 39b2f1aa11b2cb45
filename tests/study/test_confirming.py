"""The winners are trained again on fresh seeds, once each, and no Optuna trial comes of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from analysis import StudyData, load
from analysis.comparison.confirmation import confirmation_of
from study.confirming import Candidate, chosen_trials, confirm_study
from study.engines.engine_choice import EngineChoice
from study.errors import InputError
from study.runner import run_study
from study.spec.files import stored_spec
from study.spec.sections import StudySpec
from study.store import records
from tests.conftest import RecordingView

pytestmark = pytest.mark.whole

ALONE = EngineChoice("sequential")


@pytest.fixture(scope="module")
def searched(
    make_spec: Callable[..., StudySpec],
    parallel_text: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[StudySpec, Path]:
    """Return a study with a test split, and its run folder after the search of two trials."""
    held_out = {"search.trials": 2, "data.test": str(parallel_text / "general.tsv")}
    spec, folder = make_spec(held_out, "held-out"), tmp_path_factory.mktemp("confirm") / "run"
    run_study(spec, folder, RecordingView(), choice=ALONE)
    return spec, folder


@pytest.fixture(scope="module")
def confirmed(
    searched: tuple[StudySpec, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, int]:
    """Return a copy of the run folder after the best was confirmed on two seeds; trainings."""
    folder = Path(shutil.copytree(searched[1], tmp_path_factory.mktemp("confirmed") / "run"))
    return folder, confirm(searched[0], folder, load(folder), seeds=2)


@pytest.fixture
def folder(searched: tuple[StudySpec, Path], tmp_path: Path) -> Path:
    """Return a copy of the run folder."""
    return Path(shutil.copytree(searched[1], tmp_path / "run"))


def confirm(spec: StudySpec, folder: Path, data: StudyData, seeds: int, top: int = 1) -> int:
    """Confirm the best; returns how many trainings that took."""
    view = RecordingView()
    assert confirm_study(
        spec, folder, view, chosen_trials(data.ranked(), top, ()), seeds=seeds, choice=ALONE
    )
    return len(view.outcomes)


def test_the_search_never_sees_the_test_split(searched: tuple[StudySpec, Path]) -> None:
    """What is held out is evaluated to confirm, and for nothing else."""
    assert {row.split for row in load(searched[1]).evaluations} == {"dev", "general"}


def test_each_model_is_trained_once_a_seed(
    searched: tuple[StudySpec, Path], confirmed: tuple[Path, int], tmp_path: Path
) -> None:
    """The base once, winner and default a seed each; again trains nothing, more seeds the new."""
    spec, data = searched[0], load(searched[1])
    assert confirmed[1] == 1 + 2 * 2
    folder = Path(shutil.copytree(confirmed[0], tmp_path / "run"))
    after = load(folder)
    assert len(after.frozen_trials) == len(data.frozen_trials)
    assert after.splits == data.splits
    again = RecordingView()
    chosen = chosen_trials(after.ranked(), 1, ())
    assert confirm_study(spec, folder, again, chosen, seeds=2, choice=ALONE)
    assert (again.outcomes, len(again.remarks)) == ([], 1)
    assert "done" in again.remarks[0]
    assert confirm(spec, folder, after, seeds=3) == 2
    found = confirmation_of(load(folder))
    assert found is not None
    assert found.n_examples == len(after.examples["general"].sources)
    assert [model.name for model in found.others] == ["default", "base"]
    assert len(found.winner.seeds) == 3
    assert found.luck is not None


def test_what_is_shared_is_no_cost_of_one_training(
    searched: tuple[StudySpec, Path], folder: Path
) -> None:
    """Packed, the seconds are all trainings' together; alone they are its own, and are kept."""
    spec, data = searched[0], load(folder)
    chosen = chosen_trials(data.ranked(), 1, ())
    packed, view = EngineChoice("packed", slots=2), RecordingView()
    assert confirm_study(spec, folder, view, chosen, seeds=2, choice=packed)
    assert (view.planned.total, view.planned.done, view.planned.what) == (5, 0, "trainings")
    found = confirmation_of(load(folder))
    assert found is not None
    assert set(found.winner.cost) == {"trainable_parameters"}
    check = load(folder).provenance["confirmation_self_check"]
    assert check["verdict"].startswith("packs; losses and gradients equal PEFT's within ")
    other = chosen_trials(data.ranked(), 2, ())[1:]
    assert confirm_study(spec, folder, view, other, seeds=2, choice=ALONE)
    assert (view.planned.total, view.planned.done) == (5, 3)  # base and default are trained already
    found = confirmation_of(load(folder))
    assert found is not None
    by_name = {model.name: model for model in found.others}
    assert by_name[f"trial {other[0].number}"].cost["train_seconds"] > 0


def test_a_repetition_trains_the_same_configuration(confirmed: tuple[Path, int]) -> None:
    """The stored hyperparameters are those of the trial; only the seed is another."""
    data = load(confirmed[0])
    assert data.best_trial is not None
    own = data.evaluation("best")
    confirmed = [row for row in data.evaluations if row.role == "confirm"]
    again = [row for row in confirmed if row.trial_number is not None]
    assert {tuple(sorted(row.config.items())) for row in again} == {
        tuple(sorted(own.config.items()))
    }
    assert own.seed not in {row.seed for row in again}


def test_without_held_out_examples_nothing_is_trained(
    make_spec: Callable[..., StudySpec], tmp_path: Path
) -> None:
    """One line says what is missing."""
    with pytest.raises(InputError, match=r"data\.test"):
        confirm_study(make_spec(), tmp_path, RecordingView(), [Candidate(0, {})], choice=ALONE)


def test_other_test_examples_are_refused(confirmed: tuple[Path, int], parallel_text: Path) -> None:
    """Scores on two test sets cannot be compared, so the second is not mixed in."""
    folder, _ = confirmed
    data = load(folder)
    other = stored_spec(data.spec_text, str(folder), test=parallel_text / "dev.tsv")
    with pytest.raises(InputError, match="the examples of the earlier confirmation"):
        confirm(other, folder, data, seeds=3)


def test_a_task_of_the_users_own_is_not_confirmed_as_the_named_one(
    searched: tuple[StudySpec, Path], folder: Path
) -> None:
    """The study file names a task, but another trained the study: its scores do not compare."""
    spec, data = searched[0], load(folder)
    database = create_engine(f"sqlite:///{folder / 'study.db'}")
    records.write_study(database, 1, spec.to_toml(), {**data.provenance, "own_task": "Mine"})
    with pytest.raises(InputError, match="task: was Mine, now the one named in the study file"):
        confirm(spec, folder, data, seeds=2)


def test_trials_are_chosen_by_rank_and_by_name(searched: tuple[StudySpec, Path]) -> None:
    """The best first, then those named; a trial that is not complete is refused."""
    ranked = load(searched[1]).ranked()
    assert [c.number for c in chosen_trials(ranked, 1, [ranked[1].number])] == [
        t.number for t in ranked
    ]
    with pytest.raises(InputError, match="--trial"):
        chosen_trials(ranked, 1, [99])
    with pytest.raises(InputError, match="needs a complete trial, got none"):
        chosen_trials([], 1, [])


def test_what_is_no_run_folder_is_refused(tmp_path: Path) -> None:
    """Somebody else's database says nothing of how its trials were trained."""
    with pytest.raises(InputError, match="not a run folder"):
        stored_spec(None, str(tmp_path))
