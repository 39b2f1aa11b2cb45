"""Studies of an earlier version, points that others enqueue, and trials that nobody holds."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
import sqlalchemy
from optuna.trial import TrialState
from sqlalchemy import text

from benchmarks.storage_runs import cheap_spec, run_cheaply
from study.store import records, schema
from study.store.claims import Claims
from study.store.ledger import open_ledger
from study.store.storage import close_after_writing, open_for_writing, sqlite_url
from study.trials import TrialResult, search_config
from tests.cheap_runs import assert_whole, look

pytestmark = pytest.mark.whole


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """Return the folder of a study as version 1 left it: killed in trial 4, with a retry to come.

    Trial 0 is enqueued, 2 was interrupted and put up again as 3.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = open_for_writing(sqlite_url(tmp_path / "study.db"))
    schema.create_tables(storage.engine)
    study = optuna.create_study(storage=storage, study_name="cheap")
    study.enqueue_trial({"alpha": 8.0}, user_attrs={"enqueued": True})
    for number in range(3):
        trial = study.ask()
        for name, low, high in (("learning_rate", 1e-5, 1e-1), ("alpha", 1, 256)):
            trial.suggest_float(name, low, high, log=True)
        if number < 2:
            study.tell(trial, float(number))
    study.enqueue_trial(trial.params, user_attrs={"retry_of": 2, "attempt": 2})
    trial.set_user_attr("interrupted", True)
    study.tell(trial, state=TrialState.FAIL)
    storage.create_new_trial(study._study_id)  # killed before it had a point
    spec = cheap_spec(8, enqueue=[{"alpha": 8.0}])
    records.write_study(storage.engine, study._study_id, spec.to_toml(), {})
    with storage.engine.begin() as connection:
        connection.execute(text("DROP TABLE run_claims"))
        connection.execute(text("DROP TABLE run_parents"))
        connection.execute(text("UPDATE run_schema SET version = 1"))
    close_after_writing(storage)
    return tmp_path


def test_a_study_of_version_1_is_continued(earlier: Path) -> None:
    """Its trials become claims: told ones stay, the retry comes, and the total is exact."""
    spec = cheap_spec(8, enqueue=[{"alpha": 8.0}])
    assert not run_cheaply(spec, earlier, None, 0.0)
    found = look(str(earlier))
    claims = {claim: (state, attempt) for claim, state, attempt in found.claims if claim >= 0}
    assert claims == {n: ("done", 2 if n in (2, 3) else 1) for n in range(8)}
    assert all(t.state.is_finished() for t in found.trials)
    assert sum(t.state == TrialState.COMPLETE for t in found.trials) == 8
    assert found.trials[3].params == found.trials[2].params
    assert found.trials[3].state == TrialState.COMPLETE
    assert [t.number for t in found.trials if "enqueued" in t.user_attrs] == [0]
    lost = [t.number for t in found.trials if t.user_attrs.get("interrupted")]
    assert lost == [2, 4]
    again = next(t for t in found.trials if t.user_attrs.get("retry_of") == 4)
    assert again.user_attrs["attempt"] == 2


def test_a_study_of_version_1_is_read_as_it_is(earlier: Path) -> None:
    """A reader neither needs nor makes the new tables."""
    from analysis import load

    before = (earlier / "study.db").read_bytes()
    assert load(earlier).counts == {"complete": 2, "running": 1, "waiting": 1, "interrupted": 1}
    assert (earlier / "study.db").read_bytes() == before


def test_a_finished_study_of_version_1_trains_nothing(earlier: Path) -> None:
    """With the total reached nothing is added, only what was left running is told."""
    spec = cheap_spec(2, enqueue=[{"alpha": 8.0}])
    run_cheaply(spec, earlier, None, 0.0)
    found = look(str(earlier))
    assert sum(t.state == TrialState.COMPLETE for t in found.trials) == 2
    assert TrialState.RUNNING not in [t.state for t in found.trials]


def test_a_point_that_somebody_put_into_optunas_queue_is_tried(tmp_path: Path) -> None:
    """The dashboard, or a notebook, may add points to a study: each is one of the total, once."""
    run_cheaply(cheap_spec(2), tmp_path, None, 0.0)
    study = optuna.load_study(study_name="cheap", storage=sqlite_url(tmp_path / "study.db"))
    study.enqueue_trial({"alpha": 32.0, "learning_rate": 0.01})
    study.enqueue_trial({"alpha": 64.0})
    assert not run_cheaply(cheap_spec(5), tmp_path, None, 0.0)
    found = look(str(tmp_path))
    assert_whole(found, 5)
    given = [t for t in found.trials if "enqueued" in t.user_attrs]
    assert [t.number for t in given] == [2, 3]
    assert given[0].params == {"learning_rate": 0.01, "alpha": 32.0}
    assert given[1].params["alpha"] == 64.0


def test_a_trial_that_nobody_holds_is_no_longer_running(tmp_path: Path) -> None:
    """Somebody asked Optuna for a trial and never told it: the next run fails it."""
    run_cheaply(cheap_spec(1), tmp_path, None, 0.0)
    url = sqlite_url(tmp_path / "study.db")
    optuna.load_study(study_name="cheap", storage=url).ask()
    run_cheaply(cheap_spec(2), tmp_path, None, 0.0)
    found = look(str(tmp_path))
    assert [t.state for t in found.trials] == [
        TrialState.COMPLETE,
        TrialState.FAIL,
        TrialState.COMPLETE,
    ]
    assert found.trials[1].user_attrs["interrupted"] is True


def test_tables_of_a_later_version_are_refused_by_a_run(tmp_path: Path) -> None:
    """A run neither writes nor turns back what a later program made."""
    from study.errors import InputError

    run_cheaply(cheap_spec(1), tmp_path, None, 0.0)
    database = sqlalchemy.create_engine(sqlite_url(tmp_path / "study.db"))
    with database.begin() as connection:
        connection.execute(text("UPDATE run_schema SET version = 4"))
    database.dispose()
    with pytest.raises(InputError, match="schema version 4; this program reads and writes"):
        run_cheaply(cheap_spec(2), tmp_path, None, 0.0)
    with database.connect() as connection:
        assert connection.execute(text("SELECT version FROM run_schema")).scalar() == 4
    database.dispose()


def test_a_pruned_trial_that_another_run_finished_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taken over after this run had looked whether it is still its own: it is told nothing."""
    spec = cheap_spec(2)
    with open_ledger(sqlite_url(tmp_path / "study.db"), spec, tmp_path, print) as ledger:
        ledger.begin({})
        claim = next(c for c in iter(ledger.take, None) if not c.is_baseline)
        trial = ledger.ask(claim)
        config = search_config(spec, trial.number, {}, claim.number)
        ledger.study.tell(trial, state=TrialState.FAIL)
        monkeypatch.setattr(Claims, "is_mine", lambda *_: True)
        stopped = TrialResult(details={"train_seconds": 1.0})
        assert not ledger.tell_pruned(trial, claim, config, stopped)
