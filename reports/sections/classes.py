"""A classifier's answers, class by class; only classification studies have this section."""

from __future__ import annotations

from analysis.comparison.confusion import Classes, classes_of, is_classification
from analysis.document import Cell, Table, cell, share_cell
from analysis.studies.load import StudyData
from reports.page.parts import Beside, Section
from reports.results import Results


def classes_section(results: Results) -> Section | None:
    """Per-class scores and confusion matrices of the best trial and the baselines."""
    data = results.data
    if data.best_trial is None or not is_classification(data):
        return None
    found = _by_model(data)
    if not found:
        return None
    return Section(
        "classes",
        "Class by class",
        "Precision is the share of a class's answers that are right; recall is the share of a "
        "class's examples that were found. In a confusion matrix each row is a true class and each "
        "column an answer, so right answers lie on the diagonal. If one column holds nearly all "
        "examples, the model has collapsed.",
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
            share_cell(score.precision),
            share_cell(score.recall),
            share_cell(score.f1),
            cell(score.examples),
        )
        for score in found.scores
    )
    collapsed = ", which has collapsed to one class" if found.is_collapsed else ""
    columns = ("class", "precision", "recall", "F1", "examples")
    return Table(f"Scores of {name}{collapsed}", columns, rows)


def _confusion_table(name: str, found: Classes) -> Table:
    rows = tuple(
        (Cell(label), *(cell(int(count)) for count in row))
        for label, row in zip(found.labels, found.confusion, strict=True)
    )
    columns = ("true \\ answer", *found.labels)
    return Table(f"Confusion matrix of {name}", columns, rows)
