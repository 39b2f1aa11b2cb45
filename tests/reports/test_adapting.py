"""The report adapts to its task: what applies is there, what does not is not shown empty."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

import pytest
from rich.console import Console

from analysis import StudyData
from analysis.comparison.confusion import classes_of
from analysis.comparison.distillation import distillation_of
from analysis.document import Prose, Table
from reports.build import page_of
from reports.page.parts import Beside, Figures, Page, PagePart, Section
from reports.page.render import render
from reports.results import analyse
from reports.sections.distillation import verdict
from reports.study_document import study_document
from tests.analysis.comparison.test_sweeps import as_sweep


@pytest.fixture(scope="module")
def page(pairs: StudyData) -> Page:
    """The page of a classification study with a teacher."""
    return page_of(analyse(pairs, surrogate="gp", resamples=2))


def section(page: Page, identifier: str) -> Section:
    """A section by its name."""
    return next(s for s in page.sections if s.identifier == identifier)


def tables(parts: tuple[PagePart, ...]) -> Iterator[Table]:
    """Every table, also those beside something."""
    for part in parts:
        if isinstance(part, Table):
            yield part
        elif isinstance(part, Beside):
            yield from tables(part.left + part.right)


@pytest.mark.whole
def test_classes_have_their_scores_and_confusions(page: Page, pairs: StudyData) -> None:
    """The best trial's counts stand in the matrix, a row a true class."""
    found = list(tables(section(page, "classes").parts))
    assert pairs.best_trial is not None
    best = f"trial {pairs.best_trial.number}"
    matrix = next(t for t in found if t.caption == f"Confusion matrix of {best}")
    counts = [[int(cell.text) for cell in row[1:]] for row in matrix.rows]
    assert counts == classes_of(pairs).confusion.tolist()
    assert [row[0].text for row in matrix.rows] == list(matrix.columns[1:])
    assert any(t.caption.startswith(f"Scores of {best}") for t in found)


def test_a_collapsed_model_is_called_so(page: Page, pairs: StudyData) -> None:
    """Exactly the models that say one class are said to have collapsed."""
    captions = [t.caption for t in tables(section(page, "classes").parts)]
    for who in pairs.baselines:
        told = any(f"Scores of {who}, which has collapsed" in c for c in captions)
        assert told == classes_of(pairs, who).is_collapsed


def test_whether_the_teacher_helped(page: Page, pairs: StudyData) -> None:
    """The page opens with the paired difference, and a section shows the trials by weight."""
    found = distillation_of(pairs)
    assert found is not None
    assert found.against_plain is not None
    said = verdict(found)
    assert said in page.answer
    assert f"{found.against_plain.n} examples" in said
    clear = found.against_plain.clear
    assert ("Distillation" in said) == clear
    assert ("no clear difference" in said) != clear
    assert section(page, "distillation").title == "Did the teacher help?"


@pytest.mark.whole
def test_what_does_not_apply_is_not_there(page: Page, petroleum: StudyData) -> None:
    """No violins of right and wrong in a classification; no classes in a translation."""
    figures = [
        figure.identifier
        for part in section(page, "baselines").parts
        if isinstance(part, Figures)
        for figure in part.figures
    ]
    assert figures == ["baselines"]
    (notes,) = (p for p in section(page, "baselines").parts if isinstance(p, Prose))
    assert re.match(
        r"always \w+ \(most frequent class\): accuracy 0\.\d+, macro F1", notes.paragraphs[0]
    )
    translation = page_of(analyse(petroleum, surrogate="gp", resamples=2))
    shown = {s.identifier for s in translation.sections}
    assert not shown & {"classes", "distillation", "sweep"}
    assert "sweep" not in {s.identifier for s in page.sections}


def test_samples_of_labels_are_not_scored_word_by_word(page: Page) -> None:
    """An answer is right or marked wrong."""
    found = section(page, "samples")
    assert found.title == "Sample answers"
    (samples,) = found.parts
    for sample in samples.examples:  # type: ignore[union-attr]
        for _, words, score in sample.outputs:
            assert score == ""
            assert [piece.differs for piece in words] == [words[0].text != sample.target]


def test_training_losses_are_drawn(page: Page) -> None:
    """Every trial's training loss over its steps stands beside what it reported."""
    figures = [
        figure.identifier
        for part in section(page, "history").parts
        if isinstance(part, Figures)
        for figure in part.figures
    ]
    assert "losses" in figures


def test_a_sweep_is_one_table(pairs: StudyData) -> None:
    """A row for the base and one a level, on the page and in the terminal."""
    sweep = as_sweep(pairs)
    page = page_of(analyse(sweep, surrogate="gp", resamples=2))
    (table,) = tables(section(page, "sweep").parts)
    assert table.columns[:2] == ("learning rate", "accuracy")
    assert len(table.rows) == 4
    assert table.rows[0][0].text == "untrained base"
    assert "mostly answers" in table.columns
    console = Console(file=io.StringIO(), width=80)
    console.print(study_document(sweep).to_rich())
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "Scores by learning rate" in text
    assert "macro F1" in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.whole
def test_the_page_is_whole(page: Page) -> None:
    """It renders, with its matrices, and every section stands under its own heading."""
    document = render(page)
    assert "Confusion matrix of" in document
    assert all(f'<section id="{s.identifier}"' in document for s in page.sections)
