"""Tables of a version that is not known are read through Optuna, with the same answers."""

from __future__ import annotations

import math
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial
from sqlalchemy import Engine

from analysis import load
from study.engines.engine_choice import EngineChoice
from study.runner import run_study
from study.spec.sections import StudySpec
from study.store import other_versions, run_queries, trial_reading
from study.store.other_versions import KNOWN_VERSIONS, is_known
from study.store.storage import database_of, open_for_writing, open_read_only, sqlite_url
from study.views.base import View

pytestmark = pytest.mark.whole


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a database with trials of every state, claims and odd values."""
    path = tmp_path_factory.mktemp("versions") / "study.db"
    for name in ("other", "x"):
        study = optuna.create_study(storage=sqlite_url(path), study_name=name)
        for value in (1.5, math.inf, 0.25, 1.5):
            trial = study.ask()
            trial.suggest_float("x", 0, 1)
            trial.suggest_categorical("c", ["a", None, 3])
            trial.report(math.nan, 2)
            study.tell(trial, value)
        lost = study.ask()
        lost.set_user_attr("interrupted", True)
        study.tell(lost, state=TrialState.FAIL)
        claimed = create_trial(state=TrialState.RUNNING, system_attrs={run_queries.CLAIM: (3, 1)})
        study.add_trial(claimed)
        study.ask()
        study.enqueue_trial({"x": 0.1})
        study.enqueue_trial({"x": 0.2})
    optuna.create_study(storage=sqlite_url(path), study_name="empty")
    return path


@pytest.fixture
def other_version(path: Path, tmp_path: Path) -> Path:
    """Return a copy whose version row says that another Optuna has changed the tables."""
    copy = tmp_path / "copy.db"
    shutil.copy(path, copy)
    connection = sqlite3.connect(copy)
    connection.execute("UPDATE version_info SET schema_version = 13")
    connection.commit()
    connection.close()
    return copy


def database(path: Path) -> Engine:
    """Open a file as readers do."""
    found = database_of(open_read_only(str(path)))
    assert found is not None
    return found


def test_the_version_that_is_read_directly_is_the_installed_optunas(path: Path) -> None:
    """Else every study would be read slowly without anybody noticing."""
    assert is_known(database(path))


def answers(database: Engine) -> dict[str, Any]:
    """Ask everything of the second study."""
    ids = trial_reading.trial_ids(database, 2)
    return {
        "running": run_queries.running(database, 2),
        "waiting": run_queries.waiting(database, 2),
        "trial_of": [run_queries.trial_of(database, 2, (3, attempt)) for attempt in (1, 2)],
        "has_trials": [run_queries.has_trials(database, study) for study in (2, 3)],
        "lowest": run_queries.best(database, 2, 2, maximize=False),
        "highest": run_queries.best(database, 2, 9, maximize=True),
        "finished": run_queries.finished_among(database, 2, [0, 4, 5, 7]),
        "ids": ids,
        "counts": trial_reading.counts_by_state(database, 2),
        "best_ids": trial_reading.best_ids(database, 2, 2, 0, True),
        "trials": list(map(repr, trial_reading.read_trials(database, ids[::-1]))),
    }


def test_optuna_gives_the_same_answers(
    path: Path, other_version: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every question has the answer that the tables give, and no table is asked."""
    expected = answers(database(path))
    assert len(expected["running"]) == 2
    assert expected["trial_of"][1] is None

    def refused(*arguments: object) -> None:
        pytest.fail("a table was read")

    monkeypatch.setattr(run_queries, "_all", refused)
    monkeypatch.setattr(trial_reading, "_read_chunk", refused)
    other = database(other_version)
    assert not is_known(other)
    assert answers(other) == expected


def test_a_study_of_another_version_loads_the_same(path: Path, other_version: Path) -> None:
    """Frame, ranking and counts do not depend on how they were read; the file is not changed."""
    before = other_version.read_bytes()
    one, other = load(path, "x"), load(other_version, "x")
    assert one.trials.equals(other.trials)
    assert [t.number for t in one.ranked()] == [t.number for t in other.ranked()]
    assert one.counts == other.counts
    assert other_version.read_bytes() == before


def test_a_run_with_another_version_gives_the_same_study(
    make_spec: Callable[..., StudySpec],
    view: View,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Claims, recovery and kept adapters work through Optuna too."""
    spec, choice = make_spec({"search.trials": 2}), EngineChoice("sequential")
    run_study(spec, tmp_path / "one", view, choice=choice)
    monkeypatch.setattr(other_versions, "KNOWN_VERSIONS", set[tuple[int, str]]())
    run_study(spec, tmp_path / "other", view, choice=choice)
    one, other = load(tmp_path / "one"), load(tmp_path / "other")
    assert [t.params for t in other.frozen_trials] == [t.params for t in one.frozen_trials]
    assert [t.values for t in other.frozen_trials] == [t.values for t in one.frozen_trials]
    kept = [{p.name for p in (tmp_path / n / "adapters").iterdir()} for n in ("one", "other")]
    assert kept[0] == kept[1]


def test_a_server_that_was_not_upgraded_is_left_to_optuna(path: Path, tmp_path: Path) -> None:
    """The revision of the tables counts as well as their version."""
    copy = tmp_path / "copy.db"
    shutil.copy(path, copy)
    storage = open_for_writing(sqlite_url(copy))
    with storage.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'v3.0.0.d'")
    assert not is_known(storage.engine)
    assert (12, "v3.2.0.a") in KNOWN_VERSIONS
    storage.engine.dispose()
