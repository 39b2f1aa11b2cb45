"""Trials read by plain queries are Optuna's own, and of large studies a fair part is read."""

from __future__ import annotations

import math
import shutil
import sqlite3
from pathlib import Path

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

import analysis.studies.load
from analysis import load
from study.errors import InputError
from study.store.storage import (
    close_after_writing,
    database_of,
    open_for_writing,
    open_read_only,
    sqlite_url,
)
from study.store.trial_reading import best_ids, counts_by_state, read_trials, trial_ids
from tests.synthetic import write_foreign_study

pytestmark = pytest.mark.whole


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a database with two studies of every kind of trial that Optuna stores."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = tmp_path_factory.mktemp("every-kind") / "study.db"
    for name in ("other", "x"):
        study = optuna.create_study(storage=sqlite_url(path), study_name=name)
        study.enqueue_trial({"x": 0.5}, user_attrs={"note": "é", "list": [1, {"a": None}]})
        for value in (1.5, math.inf, -math.inf, 0.25):
            trial = study.ask()
            trial.suggest_float("x", 0, 1)
            trial.suggest_int("n", 2, 64, log=True)
            trial.suggest_categorical("c", ["a", None, 3, True])
            trial.suggest_float("s", 0, 1, step=0.25)
            for step, report in ((5, math.nan), (2, math.inf), (9, 0.1)):
                trial.report(report, step)
            study.tell(trial, value)
        study.tell(study.ask(), state=TrialState.FAIL)
        lost = study.ask()
        lost.set_user_attr("interrupted", True)
        study.tell(lost, state=TrialState.FAIL)
        pruned = study.ask()
        pruned.report(3.0, 1)
        study.tell(pruned, state=TrialState.PRUNED)
        study.ask()
        study.enqueue_trial({"x": 0.1})
        study.add_trial(create_trial(state=TrialState.COMPLETE, value=7.0, constraints={"c": 1.0}))
    return path


def as_text(trials: list[FrozenTrial]) -> list[str]:
    """Everything that a trial holds; NaN is like itself in text only."""
    return [repr(trial) for trial in trials]


def test_the_trials_are_optunas(path: Path) -> None:
    """State, times, values, parameters with their order, attributes and reports: all the same."""
    storage = open_read_only(str(path))
    database = database_of(storage)
    assert database is not None
    for study in storage.get_all_studies():
        found = read_trials(database, trial_ids(database, study._study_id))
        assert as_text(found) == as_text(storage.get_all_trials(study._study_id))
        assert [list(t.params) for t in found[:4]] == [["x", "n", "c", "s"]] * 4
    assert counts_by_state(database, 2) == {
        "complete": 5,
        "fail": 1,
        "pruned": 1,
        "running": 1,
        "waiting": 1,
        "interrupted": 1,
    }


def test_the_best_are_finite_and_of_this_study(path: Path) -> None:
    """An infinite value is no best, and another study's trials are not asked."""
    database = database_of(open_read_only(str(path)))
    assert database is not None
    ids = trial_ids(database, 2)
    assert best_ids(database, 2, 2, 0, maximize=True) == [ids[-1], ids[0]]
    assert best_ids(database, 2, 9, 0, maximize=False) == [ids[3], ids[0], ids[-1]]


def test_trials_that_tests_add_at_once_are_as_optuna_adds_them(tmp_path: Path) -> None:
    """Every state, condition, value and report, in the order of their numbers."""
    write_foreign_study(f"sqlite:///{tmp_path / 'x.db'}")
    found = optuna.load_study(study_name=None, storage=f"sqlite:///{tmp_path / 'x.db'}").trials
    assert {trial.state for trial in found} == set(TrialState)
    directions = ["minimize", "maximize"]
    added = optuna.create_study(storage=f"sqlite:///{tmp_path / 'y.db'}", directions=directions)
    added.add_trials(found)
    assert added.trials == found


@pytest.fixture(scope="module")
def sixty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a study of 60 trials, the last of which still runs."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = tmp_path_factory.mktemp("sixty") / "study.db"
    drawn = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn.optimize(lambda t: t.suggest_float("a", 0, 1) ** 2 + t.suggest_float("b", 0, 1), 59)
    storage = open_for_writing(sqlite_url(path))
    study = optuna.create_study(storage=storage)
    study.add_trials(drawn.trials)
    study.ask()
    close_after_writing(storage)
    return path


@pytest.fixture
def large(sixty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of it, where more than 40 trials are too many and 20 are a sample."""
    for name, count in (("MOST_TRIALS", 40), ("SAMPLED_TRIALS", 20), ("BEST_TRIALS", 3)):
        monkeypatch.setattr(analysis.studies.load, name, count)
    return shutil.copy(sixty, tmp_path / "study.db")


def test_of_a_large_study_a_sample_is_read(large: Path) -> None:
    """The counts and the best are those of all trials, the rest is drawn, the same every time."""
    data = load(large)
    assert data.sampled == "read 20 random trials and the best 3 of 60"
    assert len(data.frozen_trials) == 20
    assert data.counts == {"complete": 59, "running": 1}
    whole = optuna.load_study(study_name=None, storage=sqlite_url(large))
    best = sorted(t.value for t in whole.trials if t.value is not None)[:3]
    assert [t.value for t in data.ranked()[:3]] == best
    assert data.best_trial is not None
    assert data.best_trial.number == whole.best_trial.number
    assert len({t.number for t in data.ranked()}) == len(data.ranked())
    assert [t.number for t in load(large).frozen_trials] == [t.number for t in data.frozen_trials]


def test_the_answer_says_that_it_is_from_a_sample(large: Path) -> None:
    """Importances count all trials, use the sampled ones only, and say so."""
    from analysis.importance.answers import importances_of

    found = importances_of(load(large), surrogate="forest", resamples=2)
    assert found.trials["complete"] == 59
    assert found.trials["used"] <= 20
    assert "read 20 random trials and the best 3 of 60" in found.remarks


def test_a_smaller_study_is_read_whole(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the limit nothing is left out, and nothing is said."""
    monkeypatch.setattr(analysis.studies.load, "MOST_TRIALS", 60)
    data = load(large)
    assert data.sampled is None
    assert len(data.frozen_trials) == 60


def test_a_damaged_value_is_refused_in_one_line(large: Path) -> None:
    """What Optuna could not have written ends in one line for the command line."""
    with sqlite3.connect(large) as connection:
        connection.execute("UPDATE trials SET state = 'LOST'")
    with pytest.raises(InputError, match="cannot read the study"):
        load(large)
