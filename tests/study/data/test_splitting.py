"""A dev set out of the training rows, for tasks beside conversations."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from study.data.conversations import load_conversations
from study.data.embedded import Pair
from study.data.preferences import load_preferences
from study.data.readers import load_corpus
from study.data.sentence_pairs import load_scored_texts, load_sentence_pairs
from study.data.splitting import split_tsv
from study.errors import InputError
from study.preparing.trial_cost import data_line
from study.spec.base_and_data import DataSpec
from study.spec.sections import parse_spec


def data(folder: Path, rows: list[dict[str, Any]], share: float = 0.2) -> DataSpec:
    """Write rows, and return a `[data]` that splits them."""
    path = folder / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return DataSpec(train=path, dev_share=share)


def test_pairs_are_split_by_source(tmp_path: Path) -> None:
    """A share becomes dev, no source is on both sides, and a line says so."""
    rows = [{"source": f"s{n % 30}", "target": f"t{n}"} for n in range(60)]
    corpus = load_corpus(data(tmp_path, rows))
    assert (len(corpus.train), len(corpus.dev)) == (48, 12)
    assert not {pair.source for pair in corpus.train} & {pair.source for pair in corpus.dev}
    (remark,) = corpus.remarks
    assert remark.startswith("12 of the train pairs are the dev set (data.dev_share), drawn by sou")


def test_a_split_says_where_each_row_was(tmp_path: Path) -> None:
    """The table has every row of the file that was read, by its line, and its side."""
    rows = [{"source": f"s{n % 8}", "target": f"t{n}"} for n in range(20)]
    corpus = load_corpus(data(tmp_path, rows))
    header, *lines = split_tsv(corpus.places).splitlines()
    assert header == "line\tsplit"
    sides = dict(line.split("\t") for line in lines)
    assert [int(line) for line in sides] == list(range(1, 21))
    taken = [Pair(**rows[int(line) - 1]) for line, side in sides.items() if side == "dev"]
    assert taken == list(corpus.dev)


def test_a_split_leaves_every_class_in_train(tmp_path: Path) -> None:
    """A class of one example is not drawn: dev would have a label that train lacks."""
    rows = [{"text": f"text {n}", "label": "rare" if n % 10 == 0 else "usual"} for n in range(20)]
    rows += [{"text": "alone", "label": "once"}]
    for seed in range(5):
        corpus = load_sentence_pairs(data(tmp_path, rows, 0.5).model_copy(update={"seed": seed}))
        counts = Counter(example.label for example in corpus.train)
        assert {*counts} == {"rare", "usual", "once"}
        assert len(corpus.dev) == 10


def test_numbers_are_split_as_they_are(tmp_path: Path) -> None:
    """Each text has a number of its own, which is no class."""
    rows = [{"text": f"text {n}", "label": n / 7} for n in range(20)]
    corpus = load_scored_texts(data(tmp_path, rows))
    assert (len(corpus.train), len(corpus.dev)) == (16, 4)


def test_texts_of_labelled_pairs_stay_on_one_side(tmp_path: Path) -> None:
    """A premise or a question stands in several pairs; the second text of one begins another."""
    texts = [(f"p{n // 3}", f"h{n}" if n % 6 else f"p{n // 3 + 1}") for n in range(60)]
    rows = [
        {"sentence1": first, "sentence2": second, "label": "ab"[n % 2]}
        for n, (first, second) in enumerate(texts)
    ]
    corpus = load_sentence_pairs(data(tmp_path, rows))
    sides = [
        {text for e in split for text in (e.first, e.second)}
        for split in (corpus.train, corpus.dev)
    ]
    assert len(corpus.dev) == 12
    assert not sides[0] & sides[1]
    assert "drawn by text, so that no text is on both sides" in corpus.remarks[0]


def test_pairs_that_all_share_a_text_are_split_by_the_pair(tmp_path: Path) -> None:
    """The line then claims no more than that."""
    rows = [{"sentence1": "q", "sentence2": f"a{n}", "label": "ab"[n % 2]} for n in range(20)]
    corpus = load_sentence_pairs(data(tmp_path, rows))
    assert len(corpus.dev) == 4
    assert "drawn by pair, so that no pair is on both sides" in corpus.remarks[0]


@pytest.mark.parametrize(
    "files", [{"train": "a.tsv", "dev": "b.tsv"}, {"corpus": "embedded"}], ids=["dev", "no train"]
)
def test_a_share_that_nothing_takes_is_refused(files: dict[str, str]) -> None:
    """Beside a dev file or without a train file the key would mean nothing."""
    with pytest.raises(InputError, match=r"data\.dev_share: takes the dev set from data\.train"):
        parse_spec({"name": "x", "data": {**files, "dev_share": 0.1}}, "x.toml")


def test_a_missing_dev_set_names_both_ways_out() -> None:
    """The line about a lone train file names dev and dev_share."""
    with pytest.raises(InputError, match="or give dev_share, the share of train to take"):
        parse_spec({"name": "x", "data": {"train": "a.tsv"}}, "x.toml")


GROUPED = [{"source": f"s{n}", "target": f"t{n}", "page": n // 5} for n in range(60)]


def test_a_group_stays_on_one_side(tmp_path: Path) -> None:
    """Rows of one page are all drawn or all left, and the line says by what it was drawn."""
    given = data(tmp_path, GROUPED).model_copy(update={"group": "page"})
    corpus = load_corpus(given)
    assert len(corpus.dev) == 10
    assert not {pair.group for pair in corpus.train} & {pair.group for pair in corpus.dev}
    assert {pair.group for pair in corpus.dev} < {str(n) for n in range(12)}
    assert "drawn by page, so that no page is on both sides" in corpus.remarks[0]
    once = "what repeats or belongs together counts once"
    assert data_line(corpus) == f"data     50 train, 10 (effectively 2) dev pairs; {once}"


@pytest.mark.parametrize(
    ("load", "row"),
    [
        (load_corpus, {"source": "s", "target": "t"}),
        (load_sentence_pairs, {"text": "s", "label": "a"}),
        (load_conversations, {"prompt": "s", "completion": "t"}),
        (load_preferences, {"prompt": "s", "chosen": "t", "rejected": "u"}),
    ],
)
def test_every_reader_reads_groups(tmp_path: Path, load: Any, row: dict[str, str]) -> None:
    """An example has its group in every format, and a row without one is refused."""
    first = next(iter(row))
    rows = [{**row, first: f"text {n}", "page": f"p{n // 4}"} for n in range(20)]
    if "label" in row:
        rows = [{**r, "label": "ab"[n % 2]} for n, r in enumerate(rows)]
    corpus = load(data(tmp_path, rows).model_copy(update={"group": "page"}))
    assert {e.group for e in (*corpus.train, *corpus.dev)} == {f"p{n}" for n in range(5)}
    del rows[3]["page"]
    with pytest.raises(InputError, match=r"data\.group: page: must be text or a number, got"):
        load(data(tmp_path, rows).model_copy(update={"group": "page"}))


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"corpus": "embedded"}, "group: the embedded corpus has no columns, got 'page'"),
        ({"train": "a.tsv", "dev": "b.tsv", "source_column": "page"}, "must differ from source_c"),
    ],
)
def test_a_group_that_means_nothing_is_refused(given: dict[str, str], problem: str) -> None:
    """The embedded corpus has no columns, and a text is no group."""
    with pytest.raises(InputError, match=problem):
        parse_spec({"name": "x", "data": {**given, "group": "page"}}, "x.toml")
