"""The page shows who came to which rung, with which score, and what became of it."""

from __future__ import annotations

from typing import Any

from optuna.trial import create_trial

from analysis.document import cell
from analysis.studies.load import StudyData
from reports.page.trial_tables import rung_table


def study_with(*attributes: Any, objectives: tuple[str, ...] = ("bleu",)) -> StudyData:
    """Return a study whose trials have these `rungs`; None leaves the attribute out."""
    values = [0.5] * len(objectives)
    trials = [
        create_trial(values=values, user_attrs={} if rungs is None else {"rungs": rungs})
        for rungs in attributes
    ]
    for number, trial in enumerate(trials):
        trial.number = number
    return StudyData("x", "x", objectives, ("maximize",) * len(objectives), tuple(trials))


def entry(step: int, goes_on: bool | None, **more: Any) -> dict[str, Any]:
    """Return a rung as the runner records it."""
    return {
        "level": 0,
        "step": step,
        "score": 50.0 + step,
        "clear": True,
        "goes_on": goes_on,
        **more,
    }


def test_every_rung_of_every_trial_has_a_row() -> None:
    """Gone on, put aside, come back, kept by the gate, waiting: each in words."""
    table = rung_table(
        study_with(
            [entry(20, True, gate="open"), entry(60, False, gate="open")],
            [entry(20, True, gate="open", came_back=True)],
            [entry(20, True, gate="closed")],
            [{**entry(20, None), "score": None}],
            None,
        )
    )
    assert table is not None
    rows = [[one.text for one in row] for row in table.rows]
    assert [row[:2] for row in rows] == [
        ["0", "20"],
        ["0", "60"],
        ["1", "20"],
        ["2", "20"],
        ["3", "20"],
    ]
    assert [row[3] for row in rows] == [
        "went on",
        "put aside",
        "put aside, later went on",
        "went on with all, since none was clearly better than the untrained base",
        "waits for the others",
    ]


def test_every_objective_has_a_column() -> None:
    """Values stand in the objectives' order; a trial that was not measured has empty cells."""
    found = {**entry(20, True, gate="open"), "further": {"loss": 2.5, "train_seconds": 7.0}}
    empty = {**entry(20, False), "score": None, "further": {"loss": None, "train_seconds": None}}
    table = rung_table(study_with([found], [empty], objectives=("bleu", "loss", "train_seconds")))
    assert table is not None
    assert table.columns == ("trial", "step", "BLEU", "loss", "train_seconds", "then")
    first, second = table.rows
    assert [one.key for one in first[2:5]] == [70.0, 2.5, 7.0]
    assert [one.text for one in second[2:5]] == [cell(None).text] * 3


def test_another_programs_attribute_is_no_rung() -> None:
    """A study of another program may use the name for anything."""
    assert rung_table(study_with("high", 3, [1, {"step": 2}], None)) is None
    assert rung_table(study_with([{**entry(20, True), "further": 3}])) is None
    assert rung_table(study_with([{**entry(20, True), "further": {"x": 1.0}}])) is None
