"""What a study can be asked about, and which way each number is better."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

from analysis import StudyData, answer_of, importances_of, load, surface_of, target_names
from analysis.studies.targets import direction_of, sampler_of, target_of
from study.errors import InputError
from tests.synthetic import write_foreign_study

SPACE = {"x": FloatDistribution(0, 1)}


def foreign(tmp_path: Path, **attributes: Any) -> StudyData:
    """Return a small study with user attributes on every trial."""
    study = optuna.create_study(storage=f"sqlite:///{tmp_path / 's.db'}", study_name="s")
    for number in range(6):
        trial = study.ask(SPACE)
        for name, value in attributes.items():
            trial.set_user_attr(name, value)
        study.tell(trial, float(number))
    return load(tmp_path / "s.db")


@pytest.mark.parametrize(
    ("name", "direction"),
    [
        ("bleu", "maximize"),
        ("general_chrf", "maximize"),
        ("loss", "minimize"),
        ("general_loss", "minimize"),
        ("train_seconds", "minimize"),
        ("peak_memory_bytes", "minimize"),
        ("tokens_per_second", "maximize"),
        ("eval_accuracy", "maximize"),
        ("carbon", "minimize"),
    ],
)
def test_each_number_has_its_direction(name: str, direction: str) -> None:
    """Metrics know theirs, of costs less is better."""
    assert direction_of(name) == direction


def test_objectives_metrics_and_costs_are_targets(petroleum: StudyData) -> None:
    """The objective comes first; the seed is no result."""
    names = target_names(petroleum)
    assert names[0] == "bleu"
    assert {"chrf", "general_bleu", "train_seconds", "trainable_parameters", "seconds"} <= set(
        names
    )
    assert "seed" not in names
    target = target_of(petroleum, "general_bleu")
    assert target.values[0] == petroleum.score(target.trials[0].number, "bleu", "general")
    assert target.pruned == []


def test_the_objectives_own_pruned_trials_have_their_last_report(petroleum: StudyData) -> None:
    """Three were pruned at their second report."""
    pruned = target_of(petroleum).pruned
    assert len(pruned) == 3
    for _, value in pruned:
        assert value == pytest.approx(30.0 * (60 / 120) ** 0.4)


def test_attributes_that_are_no_numbers_are_no_targets(tmp_path: Path) -> None:
    """Text, truth values and lists cannot be explained; missing values are NaN."""
    data = foreign(tmp_path, note="good", flag=True, curve=[1, 2], energy=2.5)
    assert target_names(data) == ["value", "energy", "seconds"]
    with pytest.raises(InputError, match="no number 'note'; allowed: value, energy, seconds"):
        importances_of(data, "note")


def test_a_pruned_trial_without_a_report_has_no_value(tmp_path: Path) -> None:
    """It is left out under `last` and counts under `worst`."""
    study = optuna.create_study(storage=f"sqlite:///{tmp_path / 's.db'}", study_name="s")
    study.tell(study.ask(SPACE), 1.0)
    study.tell(study.ask(SPACE), state=TrialState.PRUNED)
    ((_, value),) = target_of(load(tmp_path / "s.db")).pruned
    assert math.isnan(value)


def test_the_sampler_is_known_from_file_or_traces(petroleum: StudyData, tmp_path: Path) -> None:
    """Ours is in the study file; a grid leaves its mark; nobody knows every other."""
    assert sampler_of(petroleum) == "random"
    grid = optuna.samplers.GridSampler({"x": [0.0, 0.5, 1.0]}, seed=0)
    study = optuna.create_study(
        storage=f"sqlite:///{tmp_path / 'g.db'}", study_name="g", sampler=grid
    )
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1))
    assert sampler_of(load(tmp_path / "g.db")) == "grid"
    write_foreign_study(f"sqlite:///{tmp_path / 'f.db'}")
    assert sampler_of(load(tmp_path / "f.db")) is None


def test_what_was_enqueued_is_said(petroleum: StudyData) -> None:
    """Its point was chosen: no part of a sample."""
    found = importances_of(petroleum, surrogate="gp", resamples=0)
    assert any("1 trial was enqueued by hand" in remark for remark in found.remarks)
    assert set(found.policies) == {"drop", "last", "worst"}


def test_too_little_to_answer_from_is_one_problem(tmp_path: Path) -> None:
    """Neither a way nor a neighbourhood can be asked of trials that do not differ."""
    study = optuna.create_study(storage=f"sqlite:///{tmp_path / 's.db'}", study_name="s")
    study.tell(study.ask(SPACE), 1.0)
    data = load(tmp_path / "s.db")
    for question in ("gain", "local"):
        with pytest.raises(InputError, match="s: only one trial finished, so nothing varies"):
            answer_of(data, question)
    assert answer_of(data, "best").shares == {}
    assert surface_of(data) is None


def test_a_way_without_a_default_starts_in_the_middle(tmp_path: Path) -> None:
    """A study of somebody else has no default LoRA."""
    write_foreign_study(f"sqlite:///{tmp_path / 'f.db'}")
    answer = answer_of(load(tmp_path / "f.db"), "gain", surrogate="gp")
    assert "gains are over the middle of the search space" in answer.remarks
    lr = next(step for step in answer.steps if step.name == "lr")
    assert lr.before == pytest.approx(1e-3)
