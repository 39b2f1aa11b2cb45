"""Names and choices that look like something else: a column, None, nan, a blank, a number."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import create_trial

from analysis.document import Cell, Table
from analysis.plots.marks import tick
from analysis.studies.load import StudyData, load
from analysis.studies.results_csv import load_csv
from analysis.wording import choice, setting
from reports.page.files import save_tables
from reports.page.parts import Page, Section
from reports.page.trial_tables import trial_table, trials_of_all
from reports.study_document import study_document

ALIKE = (None, "None", "nan", float("nan"), "", " ", "8", 8, "True", True, "a", "'a'")


def test_no_two_choices_are_written_alike() -> None:
    """Whatever the choices are, a cell, a sentence and a tick say which of them was taken."""
    for write in (choice, setting, tick):
        written = [str(write(value)) for value in ALIKE]
        assert len(set(written)) == len(ALIKE), write
        assert "" not in written
    assert choice("cosine") == "cosine"
    assert choice(8) == 8


def _study(name: str, distributions: dict[str, Any], points: list[dict[str, Any]]) -> StudyData:
    trials = [
        create_trial(
            params=point, distributions={n: distributions[n] for n in point}, value=0.5 + i
        )
        for i, point in enumerate(points)
    ]
    for number, trial in enumerate(trials):
        trial.number = number
    return StudyData(name, name, ("loss",), ("minimize",), tuple(trials))


def test_a_parameter_called_like_a_column_has_its_own() -> None:
    """No parameter takes the place of the trial's number, its state, its value or its study."""
    taken = ("trial", "state", "loss", "study")
    space = dict.fromkeys(taken, FloatDistribution(0, 1))
    data = _study("one", space, [dict.fromkeys(taken, 0.25), dict.fromkeys(taken, 0.5)])
    table = trial_table(data)
    assert table is not None
    first = {name: cell.key for name, cell in zip(table.columns, table.rows[0], strict=True)}
    assert first == {
        "trial": 0,
        "state": "complete",
        "loss": 0.5,
        "study": 0.25,
        **dict.fromkeys(("params_trial", "params_state", "params_loss"), 0.25),
    }
    both = trials_of_all({"one": data, "two": data})
    assert both is not None
    assert len(set(both.columns)) == len(both.columns) == 8
    assert list(study_document(data).parts[1].columns) == [  # type: ignore[union-attr]
        *("trial", "loss", "params_trial", "state", "params_loss", "study")
    ]


def test_only_what_was_not_active_is_an_empty_cell(tmp_path: Path) -> None:
    """A chosen None or blank differs from a parameter that was not active, in table, frame, CSV."""
    space = {"schedule": CategoricalDistribution([None, "None", "", 2])}
    chosen = [{"schedule": value} for value in space["schedule"].choices]
    data = _study("s", space, [*chosen, {}])
    table = trial_table(data)
    assert table is not None
    cells = [row[table.columns.index("schedule")].text for row in table.rows]
    assert cells == ["None", "'None'", "''", "2", ""]
    frame = data.trials["schedule"]
    assert frame.isna().tolist() == [False, False, False, False, True]
    assert frame.nunique() == 4
    path = tmp_path / "again.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["loss", "schedule"], *([i, c] for i, c in enumerate(cells))])
    again = load_csv(path, space, "loss", "minimize", None)
    assert [t.params for t in again.frozen_trials] == [*chosen, {}]


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_study_whose_choices_changed_has_a_page(tmp_path: Path) -> None:
    """A study that dropped a choice on its way shows all of them, whatever the storage."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    storage = JournalStorage(JournalFileBackend(str(tmp_path / "study.log")))
    study = optuna.create_study(storage=storage, study_name="merged")
    for choices in (["adam", "sgd", "lion"], ["adam", "sgd"]):
        given = {"optimizer": CategoricalDistribution(choices)}
        study.add_trials(
            [create_trial(params={"optimizer": c}, distributions=given, value=1.0) for c in choices]
        )
    merged = load(tmp_path / "study.log")
    assert merged.distributions["optimizer"] == CategoricalDistribution(["adam", "sgd", "lion"])


def test_lone_surrogates_reach_no_frame_and_no_file(tmp_path: Path) -> None:
    """Half a character in a stored attribute, as JSON can hold, is replaced where it is written."""
    trial = create_trial(
        params={}, distributions={}, value=1.0, user_attrs={"note\ud800": "x\ud800", "loss": 1.0}
    )
    data = StudyData("s", "s", ("value",), ("maximize",), (trial,))
    assert data.trials["note\ufffd"].tolist() == ["x\ufffd"]
    table = Table("t\ud800", ("a\ud800",), ((Cell("b\ud800"),),))
    page = Page("", "", (), (), (), (Section("s", "s", "", (table,)),), "")
    (path,) = save_tables(page, tmp_path)
    assert path.read_text(encoding="utf-8").split() == ["a\ufffd", "b\ufffd"]
