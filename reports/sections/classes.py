"""What a classifier says, class by class; a study of anything else has no such section."""

from __future__ import annotations

import math

from analysis.comparison.confusion import Classes, classes_of, is_classification
from analysis.studies.load import StudyData
from reports.page.model import Beside, Cell, Section, Table
from reports.page.tables import cell, share_cell
from reports.results import Results


def classes_section(results: Results) -> Section | None:
    """Per-class scores and confusion matrices of the best trial and what it is compared with."""
    data = results.data
    if data.best_trial is None or not is_classification(data):
        return None
    found = _by_model(data)
    if not found:
        return None
    return Section(
        "classes",
        "Class by class",
        "Precision: of what was said, how much is right. Recall: of what is true, how much was "
        "found. In a confusion matrix a row is a true class and a column a said one, so the "
        "diagonal is right; a column that holds nearly everything is a model that has collapsed.",
        tuple(
            Beside((_score_table(name, one),), (_confusion_table(name, one),))
            for name, one in found.items()
        ),
    )


def _by_model(data: StudyData) -> dict[str, Classes]:
    assert data.best_trial is not None
    wanted = {f"trial {data.best_trial.number}": "best"} | {n: n for n in data.baselines[::-1]}
    found = {}
    for name, who in wanted.items():
        try:
            found[name] = classes_of(data, who)
        except LookupError:
            continue
    return found


def _score_table(name: str, found: Classes) -> Table:
    rows = tuple(
        (
            Cell(score.name),
            _share(score.precision),
            _share(score.recall),
            _share(score.f1),
            cell(score.examples),
        )
        for score in found.scores
    )
    collapsed = ", which has collapsed to one class" if found.is_collapsed else ""
    columns = ("class", "precision", "recall", "F1", "examples")
    return Table(f"Scores of {name}{collapsed}", columns, rows)


def _share(value: float) -> Cell:
    return Cell("–") if math.isnan(value) else share_cell(value)


def _confusion_table(name: str, found: Classes) -> Table:
    rows = tuple(
        (Cell(label), *(cell(int(count)) for count in row))
        for label, row in zip(found.labels, found.confusion, strict=True)
    )
    columns = ("true \\ said", *found.labels)
    return Table(f"Confusion matrix of {name}", columns, rows)
