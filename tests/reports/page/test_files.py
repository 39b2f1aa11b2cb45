"""Figures and tables as files, several studies on one page, and marks that know their trial."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from analysis import load
from analysis.document import Cell, Table
from analysis.plots import study_figures
from reports.page.figures import drawn, save, svg
from reports.page.files import save_figures, save_tables
from reports.page.parts import Figure, Figures, Page, Section
from reports.page.render import render
from reports.side_by_side.page import page_of_studies
from study.errors import InputError
from tests.synthetic import Shape, write_foreign_study, write_study


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """The page of two studies of one name on the same examples."""
    folder = tmp_path_factory.mktemp("studies")
    shapes = {"before": Shape(complete=16), "after": Shape(complete=12, seed=5)}
    studies = [load(write_study(folder / name, shape)) for name, shape in shapes.items()]
    return page_of_studies(studies, surrogate="gp", resamples=2)


def _table(page: Page, caption: str) -> Table:
    return next(t for _, t in page.tables() if t.caption.startswith(caption))


@pytest.mark.whole
def test_the_answer_tests_best_against_best_and_share_against_share(page: Page) -> None:
    """One sentence per study, the paired difference, and what mattered in each."""
    first, second, duel, *_ = page.answer
    assert first.startswith("petroleum (before): Trial ")
    assert second.startswith("petroleum (after): Trial ")
    assert "is the best of 16 finished trials" in first
    assert "is the best of 12 finished trials" in second
    assert duel.startswith("On the same 72 examples, the best of petroleum")
    assert [s.identifier for s in page.sections] == [
        "best",
        "importances",
        "curves",
        "search",
        "differences",
        "trials",
        "provenance",
    ]
    assert len(_table(page, "The best of petroleum (before) against").rows) == 1
    best = _table(page, "The best of each study")
    over = best.columns.index("against base")
    assert best.columns[over + 1] == "against default"
    assert all(re.fullmatch(r"[+−].+ \([+−].+ to [+−].+\)", row[over].text) for row in best.rows)


@pytest.mark.whole
def test_studies_that_cannot_be_tested_say_why(tmp_path: Path) -> None:
    """A foreign study has no scores, another objective and other parameters: still one page."""
    ours = write_study(tmp_path / "r", Shape(complete=8, failed=0, examples=4))
    write_foreign_study(f"sqlite:///{tmp_path / 'x.db'}")
    studies = [load(ours), load(tmp_path / "x.db")]
    page = page_of_studies(studies, surrogate="gp", resamples=2)
    assert "both must store" in page.caution[0]
    spaces = _table(page, "Search spaces")
    assert [cell.text for cell in spaces.rows[0]][2] == "–"
    assert [s.identifier for s in page.sections] == [
        "best",
        "importances",
        "differences",
        "trials",
        "provenance",
    ]
    assert "<svg" in render(page)


@pytest.mark.whole
def test_every_table_is_a_file_with_its_numbers_in_full(page: Page, tmp_path: Path) -> None:
    """As many files as tables; the header is the table's."""
    made = save_tables(page, tmp_path / "csv")
    assert len(set(made)) == len(made) == len(list(page.tables()))
    duel = next(p for p in made if "against-the-others" in p.name)
    heading, row = csv.reader(duel.read_text(encoding="utf-8").splitlines())
    assert heading[:2] == ["metric", "examples"]
    shown = _table(page, "The best of petroleum (before) against").rows[0]
    assert float(row[6]) == shown[6].key != shown[6].text


def test_equal_captions_do_not_overwrite_each_other(tmp_path: Path) -> None:
    """The second of a name is numbered."""
    table = Table("Same", ("a",), ((Cell("1", 1.0, True),),))
    section = Section("s", "S", "", (table, table))
    page = Page("t", "", (), (), (), (section,), "")
    assert [p.name for p in save_tables(page, tmp_path)] == ["s-same.csv", "s-same~2.csv"]


def test_a_full_disk_leaves_no_part_of_a_file(page: Page, small_disk: Path) -> None:
    """One line, and no half of a table or a figure."""
    (small_disk / "full").write_bytes(bytes(2**20 - 2**13))
    for write in (save_tables, save_figures):
        with pytest.raises(InputError, match=r"cannot write: No space left on device$"):
            write(page, small_disk / "out")
    left = list((small_disk / "out").glob("*"))
    assert all(path.suffix == ".csv" and path.stat().st_size for path in left)


@pytest.mark.parametrize(("suffix", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_a_figure_is_saved_as_asked(page: Page, tmp_path: Path, suffix: str, start: bytes) -> None:
    """Of the kind that its name says."""
    figure = next(page.figures())
    path = save(figure, tmp_path / "new" / f"a.{suffix}")
    assert path.read_bytes().startswith(start)


def test_a_saved_svg_keeps_its_text_and_leads_nowhere(page: Page, tmp_path: Path) -> None:
    """Text as text, fixed colours, no link to a trial; the same at every call."""
    progress = next(f for f in page.figures() if f.identifier == "progress")
    text = save(progress, tmp_path / "a.svg").read_text(encoding="utf-8")
    assert "finished trials</text>" in text
    assert "var(--" not in text
    assert "trial:" not in text
    assert save(progress, tmp_path / "b.svg").read_text(encoding="utf-8") == text


def test_a_format_that_is_not_written_is_one_problem(page: Page, tmp_path: Path) -> None:
    """Before anything is written."""
    with pytest.raises(InputError, match="--format: must be one of png, svg, pdf, got 'gif'"):
        save_figures(page, tmp_path / "f", "gif")
    assert not (tmp_path / "f").exists()


def test_every_mark_of_a_trial_knows_it(petroleum_run: Path) -> None:
    """One mark a trial in its order, their style said once, and no link that leads nowhere."""
    data = load(petroleum_run)
    figure = Figure("h", lambda ax: study_figures.plot_history(data, ax), "The history of a study")
    drawing = svg(figure)
    marked = {int(n) for n in re.findall(r'data-trial="(\d+)"', drawing)}
    assert marked == {t.number for t in data.frozen_trials if t.state.name != "FAIL"}
    assert "<a " not in drawing
    uses = re.findall(r"<use [^>]*data-trial[^>]*>", drawing)
    assert not any("style=" in use for use in uses)


def test_pages_yield_what_stands_beside(page: Page) -> None:
    """Figures of the opening too, each once."""
    names = [f.identifier for f in page.figures()]
    assert names[:2] == ["to-use-0", "to-use-1"]
    assert len(names) == len(set(names))
    inside = [f for _, part in page.parts() if isinstance(part, Figures) for f in part.figures]
    assert len(names) == len(inside) + 2


@pytest.mark.whole
def test_marks_of_several_studies_are_rows_of_their_table(page: Page) -> None:
    """What a mark is called names one row: a finished trial of the right study."""
    (table,) = (table for section, table in page.tables() if section == "trials")
    rows = dict(zip(table.keys, table.rows, strict=True))
    assert len(rows) == len(table.rows)
    figures = drawn(list(page.figures()))
    for name in ("progress", "scores"):
        marked = [rows[key] for key in re.findall(r'data-trial="([^"]+)"', figures[name])]
        assert {row[0].text for row in marked} == {"petroleum (before)", "petroleum (after)"}
        assert all(row[2].text.startswith("complete") for row in marked)
    assert len(re.findall("data-trial", figures["scores"])) == 28
