"""A page answers each question once: every test of two things has one p-value on it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from analysis import StudyData, load
from analysis.comparison.between_studies import compare_studies
from analysis.comparison.permutation import holm
from reports.build import page_of
from reports.page.render import render
from reports.results import Results, analyse
from reports.side_by_side.page import duels_of
from tests.synthetic import Shape, write_study

pytestmark = pytest.mark.whole


class Tables(HTMLParser):
    """The tables of a page as lists of rows of texts, headings first."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[list[list[str]]] = []
        self._in_cell = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open a table, a row or a cell."""
        if tag == "table":
            self.found.append([])
        elif tag == "tr" and self.found:
            self.found[-1].append([])
        elif tag in ("th", "td") and self.found and self.found[-1]:
            self.found[-1][-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        """Close a cell."""
        self._in_cell = self._in_cell and tag not in ("th", "td")

    def handle_data(self, data: str) -> None:
        """Add to the cell."""
        if self._in_cell:
            self.found[-1][-1][-1] = (self.found[-1][-1][-1] + data).replace("\xa0", " ").strip()


def p_values(page: str) -> Iterator[tuple[tuple[str, str, str, str], str]]:
    """Yield ((a, b, metric, split), p) of every row of every table that tells a p-value."""
    for headings, *rows in Tables(page).found:
        columns = [place for place, name in enumerate(headings) if name.split(" ")[0] == "p"]
        for row in rows if columns else ():
            cells = dict(zip(headings, row, strict=True))
            split = cells.get("examples", "dev").split()[-1]
            question = (cells["model"], cells.get("against", "base"), cells["metric"], split)
            yield from ((question, row[place]) for place in columns if row[place])


@pytest.fixture(scope="module")
def results(petroleum: StudyData) -> Results:
    """A study with two baselines, scored on two splits by three metrics."""
    return analyse(petroleum, surrogate="gp", resamples=2)


@pytest.mark.usefixtures("one_figure")
def test_each_question_has_one_p_value(results: Results) -> None:
    """The best against the base stands in two tables, with the same p-value in both."""
    assert results.data.best_trial is not None
    best = f"trial {results.data.best_trial.number}"
    found = defaultdict(list)
    for question, p in p_values(render(page_of(results))):
        found[question].append(p)
    assert len(found[best, "base", "BLEU", "dev"]) == 2
    assert {(best, "default", "BLEU", "dev"), (best, "base", "BLEU", "general")} <= set(found)
    assert {question: p for question, p in found.items() if len(set(p)) > 1} == {}


def test_each_question_has_one_verdict(results: Results) -> None:
    """Sentences, figures and tables read one and the same contrast."""
    assert results.adapters is not None
    by_question = {c.question: c for c in results.adapters.contrasts}
    shared = [c for c in results.all_comparisons if c.question in by_question]
    assert len(shared) == len(results.data.metrics)
    assert all(c is by_question[c.question] for c in shared)
    assert all(c in results.all_comparisons for c in results.comparisons)


def test_several_studies_are_one_family(petroleum: StudyData, tmp_path: Path) -> None:
    """On a page of three studies the first is tested twice, and both p-values are corrected."""
    others = [
        load(write_study(tmp_path / name, Shape(complete=4, failed=0, name=name, seed=seed)))
        for name, seed in (("one", 9), ("two", 5))
    ]
    named = {s.name: analyse(s, surrogate="gp", resamples=2) for s in (petroleum, *others)}
    duels, refusals = duels_of(named)
    assert refusals == []
    raw = [compare_studies(petroleum, other).p for other in others]
    assert [c.p for c in duels.values()] == raw
    assert [c.p_adjusted for c in duels.values()] == pytest.approx(list(holm(raw)))
