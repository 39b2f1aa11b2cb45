"""Labelled pairs are read in the layouts they are handed on in, or refused in one line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from study.data.embedded import SentencePair, pair_corpora
from study.data.readers import Corpus
from study.data.sentence_pairs import NLI, PARAPHRASE, load_sentence_pairs
from study.errors import InputError
from study.spec.base_and_data import DataSpec

MNLI_TSV = (
    "index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\t"
    "sentence1_parse\tsentence2_parse\tsentence1\tsentence2\tlabel1\tgold_label\n"
)


def mnli_line(first: str, second: str, label: str) -> str:
    """A line of GLUE's MNLI train.tsv."""
    return "\t".join(["0", "1", "2", "fiction", *["( x )"] * 4, first, second, label, label]) + "\n"


def read(folder: Path, train: str, dev: str | None = None, suffix: str = "tsv", **data: Any) -> Any:
    """Write both splits and load them."""
    for name, text in (("train", train), ("dev", train if dev is None else dev)):
        (folder / f"{name}.{suffix}").write_text(text, encoding="utf-8")
    paths = {name: folder / f"{name}.{suffix}" for name in ("train", "dev")}
    return load_sentence_pairs(DataSpec(**paths, **data))


def problem(folder: Path, train: str, suffix: str = "tsv", **data: Any) -> str:
    """The one line with which a file is refused; dev, which is the same, has one of its own."""
    with pytest.raises(InputError) as refused:
        read(folder, train, suffix=suffix, **data)
    line, *others = refused.value.problems  # dev is the same file under another name
    assert all(other == line.replace("train", "dev") for other in others)
    assert line.isprintable()
    return line


def jsonl(rows: Sequence[Any]) -> str:
    """Rows as JSON lines."""
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_glues_mnli_as_it_is(tmp_path: Path) -> None:
    """Twelve columns, the gold label by name; the labels' order is MNLI's whatever comes first."""
    text = MNLI_TSV + mnli_line("a man", "nobody", "contradiction") + mnli_line("a", "b", "neutral")
    corpus: Corpus[SentencePair] = read(tmp_path, text)
    assert corpus.labels == NLI
    assert corpus.train[0] == SentencePair("a man", "nobody", "contradiction")


def test_glues_qqp_with_its_broken_lines(tmp_path: Path) -> None:
    """Questions and 0 or 1; broken lines are refused by number, or left out as the user says."""
    header = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n"
    good = "1\t2\t3\thow ?\twhy ?\t0\n4\t5\t6\twhen ?\tat what time ?\t1\n"
    text = header + good + "7\t8\t9\thalf a question\n10\t11\t12\t\twhat ?\t0\n"
    assert "train.tsv: line 4: 4 fields; the header has 6; correct the rows" in problem(
        tmp_path, text
    )
    corpus = read(tmp_path, text, bad_rows="drop")
    assert corpus.labels == PARAPHRASE
    assert [pair.label for pair in corpus.train] == ["not_duplicate", "duplicate"]
    assert corpus.skipped == {  # of both splits
        "faulty rows (first: line 4: 4 fields; the header has 6)": 2,
        "rows with an empty sentence": 2,
    }


@pytest.mark.parametrize(
    ("row", "labels"),
    [
        ({"sentence1": "a", "sentence2": "b", "gold_label": "neutral", "genre": "x"}, NLI),
        ({"premise": "a", "hypothesis": "b", "label": 1}, NLI),
        ({"question1": "a", "question2": "b", "label": 1}, PARAPHRASE),
        ({"question1": "a", "question2": "b", "is_duplicate": True}, PARAPHRASE),
        ({"question1": "a", "question2": "b", "is_duplicate": "1"}, PARAPHRASE),
    ],
)
def test_layouts_are_known_by_their_columns(
    tmp_path: Path, row: dict[str, Any], labels: tuple[str, ...]
) -> None:
    """Numbers mean the layout's labels, names are names."""
    corpus = read(tmp_path, jsonl([row]), suffix="jsonl")
    assert corpus.labels == labels
    assert corpus.train == (SentencePair("a", "b", labels[1]),)


def test_rows_without_a_gold_label_are_left_out(tmp_path: Path) -> None:
    """MultiNLI writes - where its annotators did not agree, GLUE -1 where it does not tell."""
    rows = [{"premise": "a", "hypothesis": "b", "label": label} for label in ("-", -1, "neutral")]
    corpus = read(tmp_path, jsonl(rows), suffix="jsonl")
    assert len(corpus.train) == 1
    assert corpus.skipped == {"rows without a label": 4}


def test_columns_and_labels_of_ones_own(tmp_path: Path) -> None:
    """Any columns can be named, and labels put in an order; numbers count from there."""
    rows = [{"x": "a", "y": "b", "z": label} for label in ("bad", "good", 0)]
    corpus = read(
        tmp_path,
        jsonl(rows),
        suffix="jsonl",
        source_column="x",
        target_column="y",
        label_column="z",
        labels=("good", "bad"),
    )
    assert [pair.label for pair in corpus.train] == ["bad", "good", "good"]
    assert corpus.labels == ("good", "bad")


def test_unknown_labels_are_sorted(tmp_path: Path) -> None:
    """Labels that no layout knows stand in their own order, numbers as numbers."""
    rows = [{"sentence1": "a", "sentence2": "b", "label": label} for label in (10, 9, 2)]
    assert read(tmp_path, jsonl(rows), suffix="jsonl").labels == ("2", "9", "10")


def test_what_cannot_be_read(tmp_path: Path) -> None:
    """Every mistake is one line with the file and the rule."""
    row = {"premise": "a", "hypothesis": "b", "label": "neutral"}
    unknown = problem(tmp_path, "text\tclass\na\tb\n")
    assert "no columns of texts and labels recognised, got 'text', 'class'" in unknown
    assert "set data.text_column, data.label_column and, for pairs, data.second_" in unknown
    line = problem(tmp_path, jsonl([row, {**row, "label": "maybe"}]), "jsonl", labels=NLI)
    assert "line 2: label 'maybe' is not one of the study's; allowed: entailment, neutral" in line
    assert "must be text, got 5" in problem(tmp_path, jsonl([{**row, "premise": 5}]), "jsonl")
    missing = problem(tmp_path, jsonl([row, {"premise": "a"}]), "jsonl")
    assert "line 2: no field 'hypothesis', got 'premise'" in missing
    assert "must be a JSON object" in problem(tmp_path, "[1]\n", "jsonl")
    assert "not JSON" in problem(tmp_path, "{\n", "jsonl")
    assert "contains no labelled pairs" in problem(
        tmp_path, jsonl([{**row, "label": "-"}]), "jsonl"
    )
    assert "unknown file type, got '.txt'" in problem(tmp_path, "", "txt")


def test_a_hub_dataset_in_a_folder(tmp_path: Path) -> None:
    """Classes by their names, GLUE's own split names, and the numbers of a saved dataset."""
    from datasets import ClassLabel, Dataset, Features, Value

    features = Features(
        {
            "premise": Value("string"),
            "hypothesis": Value("string"),
            "label": ClassLabel(names=["contradiction", "entailment", "neutral"]),
        }
    )
    rows = {"premise": ["a", "c"], "hypothesis": ["b", "d"], "label": [1, 0]}
    for split in ("train", "validation"):
        Dataset.from_dict(rows, features).to_parquet(tmp_path / "hub" / f"{split}.parquet")
    corpus = load_sentence_pairs(DataSpec(corpus=str(tmp_path / "hub")))
    assert [pair.label for pair in corpus.dev] == ["entailment", "contradiction"]
    assert corpus.labels == NLI


def test_the_embedded_corpora_are_mnli_and_qqp(monkeypatch: pytest.MonkeyPatch) -> None:
    """The subset chooses the language, and the labels are that set's."""
    sizes = {**pair_corpora.SIZES, "teacher": 0, "text": 0}  # which take seconds to generate
    monkeypatch.setattr(pair_corpora, "SIZES", sizes)
    assert load_sentence_pairs(DataSpec()).labels == NLI
    qqp = load_sentence_pairs(DataSpec(corpus="embedded", subset="qqp"))
    assert qqp.labels == PARAPHRASE
    assert {pair.label for pair in qqp.dev} == set(PARAPHRASE)
