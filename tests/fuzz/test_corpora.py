"""Corpora as people and their programs write them: pairs that can be trained on, or one line."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from study.data.readers import load_corpus, read_pairs
from study.data.sentence_pairs import load_sentence_pairs
from study.errors import InputError
from study.spec.sections import DataSpec
from tests.fuzz.command import in_time, is_problem

TEXTS = (
    "the well",
    "le puits",
    "",
    " ",
    "\u00a0\u200b",
    '"',
    "a\tb",
    "\x00",
    "\ufeff",
    "\ud800",
    "\\ud83d",
    "\U0001f600",
    "x" * 100_001,
    "1e999",
    "null",
    "-1",
    "\x1b[2J",
    "\u2028",
    "=cmd|' /C calc'!A0",
)
VALUES = (*TEXTS, None, True, 0, -1, 10**400, 1e308, float("nan"), [], ["a"], {}, {"en": "a"})
ENCODINGS = ("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-be", "latin-1", "cp1252")
COLUMNS = ("source", "target", "sentence1", "sentence2", "gold_label", "label", "", "source ")


def tsv(rng: random.Random) -> str:
    """Return a TSV file of any columns and any cells, its rows as long as they happen to be."""
    columns = rng.choice([("source", "target"), rng.choices(COLUMNS, k=rng.randrange(5))])
    texts, odd = rng.choice([(TEXTS[:2], (0,)), (TEXTS, ODD)])
    rows = [columns] + [
        rng.choices(texts, k=max(len(columns) + rng.choice(odd), 0))
        for _ in range(rng.randrange(6))
    ]
    return rng.choice(ENDS).join("\t".join(row) for row in rows)


ODD, ENDS = (0, 0, 0, 0, 1, -1), ("\n", "\n", "\r\n", "\r", "\n\n")


def jsonl(rng: random.Random) -> str:
    """Return a JSONL file of any objects, or of what is none."""
    lines = []
    values, kinds = rng.choice([(VALUES[:2], 1), (VALUES, 2)])
    for _ in range(rng.randrange(6)):
        keys = rng.choice([("source", "target"), rng.choices(COLUMNS, k=rng.randrange(5))][:kinds])
        line = json.dumps(
            {key: rng.choice(values) for key in keys}, ensure_ascii=rng.random() < 0.7
        )
        lines.append(rng.choice([line] * 9 + [line[:-1], f"[{line}]", "[" * 9999, "NaN", line * 2]))
    return rng.choice(ENDS).join(lines)


def corpus(number: int) -> tuple[str, bytes]:
    """Return the suffix and the content of a corpus that follows from its number alone."""
    rng = random.Random(f"corpus/{number}")
    suffix = rng.choice([".tsv", ".jsonl"])
    text = tsv(rng) if suffix == ".tsv" else jsonl(rng)
    encoding = rng.choice(ENCODINGS)
    keep = "surrogatepass" if encoding.startswith("utf") else "replace"
    content = bytearray(text.encode(encoding, keep))
    if content and rng.random() < 0.2:
        content[rng.randrange(len(content))] = rng.randrange(256)
    return suffix, bytes(content)


def could_read(read: Callable[[DataSpec], Any], data: DataSpec, path: Path) -> bool:
    """Read a corpus; False where it is refused in lines that begin with the file."""
    try:
        examples = read(data).train
    except InputError as refused:
        lines = refused.problems
        assert all(is_problem(line) for line in lines)
        assert lines[0].startswith(str(path))
        return False
    assert examples
    for example in examples:
        str(example).encode("utf-8")
    return True


def read_all(folder: Path, numbers: range) -> int:
    """Read corpora as parallel text and as labelled pairs; returns how many could be read."""
    found = 0
    for number in numbers:
        suffix, content = corpus(number)
        path = folder / f"corpus{suffix}"
        path.write_bytes(content)
        data = DataSpec(train=path, dev=path)
        for read in (load_corpus, load_sentence_pairs):
            try:
                with in_time():
                    found += could_read(read, data, path)
            except Exception as error:
                error.add_note(f"corpus number {number}")
                raise
    return found


def test_many_corpora(tmp_path: Path) -> None:
    """Read or refused in a line that begins with the file."""
    assert 5 < read_all(tmp_path, range(150)) < 150


@pytest.mark.slow
def test_thousands_of_corpora(tmp_path: Path) -> None:
    """The same for five thousand."""
    assert 100 < read_all(tmp_path, range(5000)) < 5000


def test_a_line_of_a_million_characters_is_refused(tmp_path: Path) -> None:
    """It is refused by its number, and never held in memory as a whole."""
    path = tmp_path / "long.tsv"
    path.write_text("source\ttarget\na\tb\n" + "x" * 1_000_000 + "\ty\n")
    with pytest.raises(InputError) as refused:
        read_pairs(path, DataSpec())
    assert refused.value.problems == (f"{path}: line 3: longer than 100,000 characters, the limit",)


def test_a_corpus_of_duplicates_is_a_corpus(tmp_path: Path) -> None:
    """The same pair again and again can be trained on; nothing divides by its variety."""
    path = tmp_path / "same.tsv"
    path.write_text("source\ttarget\n" + "a\tb\n" * 9)
    assert len(read_pairs(path, DataSpec())) == 9


@pytest.mark.parametrize(
    "content", ["", "\n", " \n\t\n", "source\ttarget", "source\ttarget\n \t \n"]
)
def test_a_corpus_of_nothing_is_refused(tmp_path: Path, content: str) -> None:
    """An empty file, a header alone and white space are one line each."""
    path = tmp_path / "none.tsv"
    path.write_text(content)
    with pytest.raises(InputError) as refused:
        read_pairs(path, DataSpec())
    assert len(refused.value.problems) == 1
