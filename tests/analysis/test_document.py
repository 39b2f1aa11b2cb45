"""One document, four writers: what each shows, escapes and leaves out."""

from __future__ import annotations

import io
import math
from html.parser import HTMLParser

import pytest
from rich.console import Console

from analysis.document import (
    Cell,
    Document,
    Facts,
    Listing,
    Prose,
    Table,
    cell,
    columns_table,
    interval_cell,
    part_html,
    probability_cell,
    share_cell,
)

HOSTILE = "<b>[red]|`x`\x1b[31m"
TABLE = Table(
    "Scores",
    ("model", "score", "split", "against"),
    (
        (Cell("base"), cell(7.25), Cell("dev"), Cell("–")),
        (Cell("trial 3"), Cell("67.9", 67.9, True, "*"), Cell("dev"), Cell("base")),
    ),
    marked=frozenset({1}),
    details=frozenset({"split"}),
)
WHOLE = Document(
    "A title",
    (
        Prose(("One.", "Two: `run`."), "warning"),
        TABLE,
        Facts("Evidence", {"trials": "64"}),
        Listing("Remarks", ("a remark",)),
    ),
)


def on_terminal(document: Document) -> str:
    """What a terminal of 80 columns shows."""
    console = Console(file=io.StringIO(), width=80)
    console.print(document.to_rich())
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= 80
    return text


class Texts(HTMLParser):
    """The texts of some HTML, tags and style left out."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(document)

    def handle_data(self, data: str) -> None:
        """Keep a text."""
        self.found += [data] if "{" not in data else []


def test_plain_text_aligns_numbers_and_their_marks() -> None:
    """Details are left out; a mark does not shift the numbers of its column."""
    assert WHOLE.to_text().splitlines() == [
        "A title",
        "One.",
        "Two: `run`.",
        "Scores",
        "model    score  against",
        "base     7.25   –",
        "trial 3  67.9*  base",
        "Evidence",
        "trials  64",
        "- a remark",
    ]


def test_every_writer_says_the_same() -> None:
    """Every text of the document stands in each of its forms."""
    html = " ".join(Texts(WHOLE.to_html()).found)
    for text in ("A title", "One.", "base", "67.9*", "trials", "64", "a remark"):
        for shown in (WHOLE.to_text(), html, WHOLE.to_markdown(), on_terminal(WHOLE)):
            assert text in shown.replace("\\", "")


def test_a_page_shows_the_details_and_marks_rows() -> None:
    """All columns, numbers to sort by, the marked row set apart."""
    html = part_html(TABLE)
    assert '<th scope="col">split</th>' in html
    assert html.count('<tr class="marked">') == 1
    assert '<td class="number" data-key="67.9">67.9*</td>' in html


def test_markdown_tables_align_as_the_page_does() -> None:
    """A rule per column, right for numbers."""
    assert "| --- | --: | --- | --- |" in WHOLE.to_markdown()


def test_a_prompt_stops_after_the_first_table() -> None:
    """What follows it is for the whole document."""
    assert WHOLE.brief.parts == WHOLE.parts[:2]
    assert Document("", WHOLE.parts[2:]).brief.parts == WHOLE.parts[2:]


@pytest.mark.parametrize(
    "part",
    [
        Prose((HOSTILE,)),
        Table(HOSTILE, (HOSTILE,), ((Cell(HOSTILE),),), keys=(HOSTILE,)),
        Facts(HOSTILE, {HOSTILE: HOSTILE}),
        Listing(HOSTILE, (HOSTILE,)),
    ],
)
def test_no_text_becomes_markup(part: Prose | Table | Facts | Listing) -> None:
    """Neither a tag, nor a colour, nor a cell of its own, nor a control character."""
    document = Document(HOSTILE, (part,))
    assert "<b>" not in document.to_html()
    assert "[red]" in on_terminal(document)
    assert "\x1b" not in document.to_text() + document.to_html() + document.to_markdown()
    assert "|" not in document.to_markdown().replace("\\|", "").replace("| ", "").replace(" |", "")


def test_a_wide_table_of_numbers_is_written_in_blocks() -> None:
    """Each block repeats the names, and no column is lost."""
    columns = {"": ["base"], **{f"a long heading {i}": [float(i)] for i in range(9)}}
    text = on_terminal(Document("", (columns_table("wide", columns),)))
    assert text.count("base") == 3
    assert all(f"a long heading {i}" in text for i in range(9))


def test_cells_say_what_is_not_there() -> None:
    """A dash for what was not computed; a bound where resamples can give no smaller p."""
    assert interval_cell(None).text == share_cell(math.nan).text == "–"
    assert cell(None).text == ""
    assert probability_cell(0.02, is_least=True).text == "≤ 0.020"
    assert probability_cell(1e-4, is_least=True).text == "< 0.001"
