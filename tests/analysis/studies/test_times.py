"""Times of trials where the clocks are set back, and on machines in other time zones."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState, create_trial

from analysis import load
from analysis.plots.trade_offs import is_shared
from analysis.studies.trial_values import first_start, last_end, seconds_of
from study.store.storage import sqlite_url

SET_BACK = [
    ("2025-10-26 00:10:00.000000", "2025-10-26 00:50:00.000000"),  # 02:10 to 02:50 in Berlin
    ("2025-10-26 00:50:10.000000", "2025-10-26 01:05:00.000000"),  # 02:50 to 02:05
    ("2025-10-26 01:05:10.000000", "2025-10-26 01:10:00.000000"),  # 02:05 to 02:10
]
"""Three trials one after the other in UTC, around the hour that comes twice."""
SECONDS = [2400.0, 890.0, 290.0]


@pytest.fixture
def in_zone(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that moves this machine to a time zone, until the test ends."""

    def move(zone: str) -> None:
        monkeypatch.setenv("TZ", zone)
        time.tzset()

    return move


@pytest.fixture(autouse=True)
def back() -> object:
    """Let the zone of the machine hold again after each test."""
    yield
    time.tzset()


def write_study(path: Path) -> Path:
    """Write a study of three trials with these times, as Optuna stores them."""
    study = optuna.create_study(storage=sqlite_url(path), study_name="night")
    study.add_trials([create_trial(value=float(n), state=TrialState.COMPLETE) for n in range(3)])
    with closing(sqlite3.connect(path)) as connection:
        for number, times in enumerate(SET_BACK):
            connection.execute(
                "UPDATE trials SET datetime_start = ?, datetime_complete = ? WHERE number = ?",
                (*times, number),
            )
        connection.commit()
    return path


@pytest.mark.parametrize("zone", ["Europe/Berlin", "UTC", "Asia/Kolkata", "America/New_York"])
def test_seconds_are_those_of_utc(
    zone: str, in_zone: Callable[[str], None], tmp_path: Path
) -> None:
    """Neither the zone of the reader nor an hour that comes twice changes how long a trial took."""
    path = write_study(tmp_path / "study.db")
    in_zone(zone)
    data = load(path)
    assert [seconds_of(trial) for trial in data.frozen_trials] == SECONDS
    assert list(data.trials["seconds"]) == SECONDS
    first, last = data.frozen_trials[0], data.frozen_trials[2]
    assert first_start(data.frozen_trials) == first.datetime_start
    assert last_end(data.frozen_trials) == last.datetime_complete
    assert not is_shared(data, "seconds"), "no two trials ran at one time"


def test_seconds_of_a_journal_are_those_of_utc(
    in_zone: Callable[[str], None], tmp_path: Path
) -> None:
    """The journal of a machine in another zone, read here when the clocks were set back."""
    in_zone("America/New_York")
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "study.log")))
    study = optuna.create_study(storage=storage, study_name="night")
    study.add_trials([create_trial(value=0.0, state=TrialState.COMPLETE)])
    log = (tmp_path / "study.log").read_text().splitlines()
    for name, moment in zip(("datetime_start", "datetime_complete"), SET_BACK[1], strict=True):
        written = f'"{name}": "{moment.replace(" ", "T")}+00:00"'
        log[-1], count = re.subn(rf'"{name}": ?"[^"]*"', written, log[-1])
        assert count == 1
    (tmp_path / "study.log").write_text("\n".join(log) + "\n")
    in_zone("Europe/Berlin")
    assert [seconds_of(t) for t in load(tmp_path / "study.log").frozen_trials] == [SECONDS[1]]


def test_a_trial_that_ended_before_it_started_took_an_unknown_time(tmp_path: Path) -> None:
    """Older versions of Optuna stored what the clock showed: no negative cost is drawn from it."""
    trial = create_trial(value=0.0, state=TrialState.COMPLETE)
    trial.datetime_start, trial.datetime_complete = datetime(2025, 1, 1, 3), datetime(2025, 1, 1, 2)
    assert seconds_of(trial) is None
