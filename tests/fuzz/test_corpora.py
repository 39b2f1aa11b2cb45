"""Corpora of one long line, of duplicates and of nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from study.data.readers import read_pairs
from study.errors import InputError
from study.spec.base_and_data import DataSpec


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
