"""Instruction records are read as they stand, and refused with file, line and rule."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from study.data.curation import Columns, Record, read_records, records_of
from study.data.origins import MAX_OBJECT_CHARACTERS
from study.errors import InputError

ALPACA = Columns(("instruction", "input"), "output")


def write(folder: Path, *rows: Any, name: str = "records.jsonl") -> str:
    """Write a file: bytes as they are, all else as a line of JSON."""
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    (folder / name).write_bytes(b"\n".join(lines))
    return str(folder / name)


def test_records_are_read_with_their_templates(tmp_path: Path) -> None:
    """Texts lose the spaces around them; other fields do not matter; a template may lack."""
    origin = write(
        tmp_path,
        {"input": " Why? ", "output": "So.", "template_name": "ask", "id": 7},
        {"input": "Who?", "output": "", "template_name": None},
        {"input": "When?", "output": "Now.", "template_name": 3},
        {"input": "", "output": "Here."},
    )
    assert read_records(origin) == (
        Record(1, "Why?", "So.", "ask"),
        Record(2, "Who?", "", "(none)"),
        Record(3, "When?", "Now.", "3"),
        Record(4, "", "Here.", "(none)"),
    )


def test_instruction_and_context_are_joined() -> None:
    """Several input columns make one input, empty ones leave nothing behind."""
    rows = [
        ("row 1", {"instruction": "Sum up.", "input": "A text.", "output": "It."}),
        ("row 2", {"instruction": "Greet.", "input": "", "output": "Hello."}),
    ]
    found = [(r.source, r.target) for r in records_of(rows, ALPACA)]
    assert found == [("Sum up.\n\nA text.", "It."), ("Greet.", "Hello.")]


def test_nested_columns() -> None:
    """A dotted name reaches into objects."""
    rows = [("row 1", {"qa": {"q": "Why?", "a": "So."}})]
    assert records_of(rows, Columns(("qa.q",), "qa.a"))[0].source == "Why?"


def test_a_folder_in_a_hub_datasets_layout(tmp_path: Path) -> None:
    """Its training split is read by `datasets`."""
    rows = [{"input": f"Question {n}", "output": str(n), "template_name": "t"} for n in range(3)]
    (tmp_path / "data").mkdir()
    write(tmp_path / "data", *rows, b"", name="train.jsonl")
    assert [r.source for r in read_records(str(tmp_path / "data"))] == [r["input"] for r in rows]


GOOD = {"input": "Why?", "output": "So."}
BAD: dict[str, tuple[list[Any], str]] = {
    "an empty file": ([b""], "contains no records; allowed: at least two"),
    "empty lines": ([b"", b"\r", b""], "contains no records"),
    "no JSON": ([GOOD, b"{"], "line 2: not JSON:"),
    "a list": ([b"[1]"], "line 1: must be a JSON object, got '[1]'"),
    "a missing column": (
        [{"prompt": "a", "output": "b"}],
        "line 1: no field 'input', got 'prompt', 'output'",
    ),
    "a column that one row lacks": ([GOOD, {"input": "a"}], "line 2: no field 'output'"),
    "a number": ([{"input": "a", "output": 1}], "line 1: output: must be text, got 1"),
    "nothing": ([{"input": None, "output": "a"}], "line 1: input: must be text, got None"),
    "a template of many": (
        [{**GOOD, "template_name": ["a"]}],
        "line 1: template_name: must be text, got ['a']",
    ),
    "a NUL byte": ([b'{"input": "a\0"}'], "line 1: contains a NUL byte; must be a text file"),
    "Latin-1": ([GOOD, '{"input": "trépan"}'.encode("latin-1")], "line 2: not UTF-8: byte 13:"),
    "half a surrogate pair": (
        [b'{"input": "\\ud83d", "output": "b"}'],
        "line 1: contains half a surrogate pair; must be Unicode text",
    ),
    "a line without end": (
        [GOOD, {"input": "a" * MAX_OBJECT_CHARACTERS, "output": "b"}],
        f"line 2: longer than {MAX_OBJECT_CHARACTERS:,} characters, the limit",
    ),
    "nested too deeply": ([b"[" * 99_000], "line 1: not JSON:"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused(tmp_path: Path, name: str) -> None:
    """One line names file, line, rule and what was found."""
    rows, expected = BAD[name]
    origin = write(tmp_path, *rows)
    with pytest.raises(InputError) as refused:
        read_records(origin)
    (line,) = refused.value.problems
    assert line.removeprefix(f"{origin}: ").startswith(expected)
    assert len(line) < 300


def test_other_mistakes_about_the_records(tmp_path: Path) -> None:
    """A file that is missing or of another kind, a template column nobody has, a file's subset."""
    origin = write(tmp_path, GOOD)
    table = write(tmp_path, GOOD, name="records.csv")
    (tmp_path / "empty").mkdir()
    wrong = {
        (str(tmp_path / "none.jsonl"), "template_name", None): "cannot read the file: No such",
        (table, "template_name", None): "unknown file type, got '.csv'; allowed: .jsonl",
        (origin, "templat", None): "no record has a template column 'templat'",
        (origin, "template_name", "x"): "applies only to a hub dataset, got 'x' for the file",
        (str(tmp_path / "empty"), "template_name", None): "must be a dataset in a folder",
    }
    for (place, template, subset), expected in wrong.items():
        with pytest.raises(InputError) as refused:
            read_records(place, Columns(template=template), subset)
        (line,) = refused.value.problems
        assert expected in line
        assert "data.corpus" not in line
