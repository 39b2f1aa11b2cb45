"""Separators of CSV files, and the columns that a study leaves out."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from study.data.columns import file_remarks, second_text
from study.data.origins import rows_of, separator_of
from study.data.readers import load_corpus
from study.errors import InputError
from study.spec.base_and_data import DataSpec

TICKETS = [
    {"id": str(n), "subject": f"Order {n}", "body": f"Where, please, is order {n};?", "queue": q}
    for n, q in enumerate(["billing", "shipping", "login"] * 10)
]


def table(path: Path, separator: str = ",", rows: list[dict[str, str]] = TICKETS) -> Path:
    """Write rows as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=separator)
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.mark.parametrize(("separator", "name"), [(";", "semicolons"), ("\t", "tabs"), ("|", "ver")])
def test_other_separators_are_read_and_said(tmp_path: Path, separator: str, name: str) -> None:
    """A spreadsheet's CSV gives the rows of one with commas, and a line says what it has."""
    path = table(tmp_path / "tickets.csv", separator)
    assert [row for _, row in rows_of(path)[1]] == TICKETS
    (said,) = file_remarks(DataSpec(train=path, dev=path), [], one_text=False)
    assert said.startswith(f"tickets.csv: fields separated by {name}")


def test_a_spreadsheets_own_first_line_says_the_separator(tmp_path: Path) -> None:
    """`sep=;` is no header; a row of several lines has the place of its first one."""
    path = tmp_path / "tickets.csv"
    path.write_text('sep=;\ntext;label\n"a,\nb";x\nc;y\n', encoding="utf-8")
    assert [*rows_of(path)[1]] == [
        (f"{path}: line 3", {"text": "a,\nb", "label": "x"}),
        (f"{path}: line 5", {"text": "c", "label": "y"}),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "text\na; b\nc, d\n",  # one column
        "text;label\na;b;c\nd;e\n",  # no even split
        "id,text\n1,a; b\n",
        "text;label\n",  # a header alone is even
        "",
    ],
)
def test_a_comma_is_left_only_for_an_even_split(tmp_path: Path, text: str) -> None:
    """One column stays one column, and rows of different length are not split."""
    path = tmp_path / "texts.csv"
    path.write_text(text, encoding="utf-8")
    assert separator_of(path) == (";" if text == "text;label\n" else ",")


def test_one_row_with_too_many_fields_hides_no_separator(tmp_path: Path) -> None:
    """An unquoted semicolon in one of many rows is named with its line; the header stays split."""
    path = tmp_path / "tickets.csv"
    rows = [f"ticket {n};billing" for n in range(20)]
    path.write_text("\n".join(["text;label", *rows, "a; b;billing"]), encoding="utf-8")
    assert separator_of(path) == ";"
    with pytest.raises(InputError, match="line 22: 3 fields; the header has 2"):
        list(rows_of(path)[1])


def test_columns_that_are_left_out_are_named(tmp_path: Path) -> None:
    """All of them; another column of texts gets a hint where one text is classified."""
    data = DataSpec(train=table(tmp_path / "tickets.csv"), dev=tmp_path / "dev.jsonl")
    named = "columns of tickets.csv that are not read: 'id', 'subject'"
    hint = (
        "'subject' holds texts too; to read both, set data.text_column = 'body' and "
        "data.second_text_column = 'subject'"
    )
    assert file_remarks(data, ("body", "queue"), one_text=True) == [named, hint]
    assert file_remarks(data, ("body", "queue"), one_text=False) == [named]
    assert file_remarks(data, tuple(TICKETS[0]), one_text=True) == []


@pytest.mark.parametrize(
    ("values", "is_second"),
    [
        ([f"T{n}" for n in range(30)], False),  # numbers of tickets
        (["Technical Support", "Billing"] * 15, False),  # names of classes
        (["I was charged twice", "My box is late", "Where is it now"] * 10, True),
        ([f"Order {n}" for n in range(30)], True),
        ([f"订单在哪里{n}" for n in range(30)], True),
        (["the same words everywhere"] * 30, False),
        ([str(n) for n in range(30)], False),
    ],
)
def test_a_second_text_has_several_words(values: list[str], is_second: bool) -> None:
    """Neither what identifies a row nor the name of a class is a text to read."""
    rows = [{"x": value} for value in values]
    assert second_text(rows, ["x"]) == ("x" if is_second else None)


def test_a_column_in_capitals_counts_as_read(tmp_path: Path) -> None:
    """It is read whatever its case, so it is not among those left out."""
    path = table(tmp_path / "t.csv", rows=[{"Body": "Hello", "Queue": "a", "id": "1"}])
    (said,) = file_remarks(DataSpec(train=path, dev=path), ["body", "queue"], one_text=False)
    assert said == "columns of t.csv that are not read: 'id'"


def test_a_nested_column_counts_as_read(tmp_path: Path) -> None:
    """`translation.en` reads the column `translation`."""
    path = tmp_path / "train.jsonl"
    path.write_text('{"id": 1, "translation": {"en": "a", "fr": "b"}}\n', encoding="utf-8")
    (line,) = file_remarks(DataSpec(train=path, dev=path), ("translation.en",), one_text=False)
    assert line == "columns of train.jsonl that are not read: 'id'"


def test_a_tsv_that_was_quoted_like_csv_is_named(tmp_path: Path) -> None:
    """Its quotes would be trained as text; under the name of a CSV file they are none."""
    text = 'source\ttarget\nLe puits\t"The ""dry"" well"\n"Bien"\tGood\n'
    (tmp_path / "a.tsv").write_text(text, encoding="utf-8")
    data = DataSpec(train=tmp_path / "a.tsv", dev=tmp_path / "a.tsv")
    (line,) = file_remarks(data, ("source", "target"), one_text=False)
    assert line.startswith('a.tsv: quotes are read as text, as in "The ""dry"" well"; if they')
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    data = DataSpec(train=tmp_path / "a.csv", dev=tmp_path / "a.csv")
    assert load_corpus(data).train[0].target == 'The "dry" well'
    (tmp_path / "a.tsv").write_text('source\ttarget\n"Bien"\tGood\n', encoding="utf-8")
    data = DataSpec(train=tmp_path / "a.tsv", dev=tmp_path / "a.tsv")
    assert file_remarks(data, ("source", "target"), one_text=False) == []
    cut = 'source\ttarget\n"Le puits\nest là"\t"It is\nthere"\n'  # leaves a pair in the middle
    (tmp_path / "a.tsv").write_text(cut, encoding="utf-8")
    (line,) = file_remarks(data, ("source", "target"), one_text=False)
    assert line.startswith('a.tsv: quotes are read as text, as in "It is; if they')
