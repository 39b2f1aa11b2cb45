"""Texts with classes or numbers of one's own are read as they are meant, or refused in one line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.data.conversations import FORMATS, conversation_of
from study.data.embedded import Pair, SentencePair
from study.data.labels import whole_percent
from study.data.readers import Corpus, copy_remarks
from study.data.sentence_pairs import NLI, load_scored_texts, load_sentence_pairs
from study.errors import InputError
from study.spec.base_and_data import DataSpec
from study.spec.sections import parse_spec

Rows = Sequence[dict[str, Any]]


def spec_of(folder: Path, train: Rows, dev: Rows | None = None, **data: Any) -> DataSpec:
    """Write both splits as JSONL; dev is train unless it is given."""
    for name, rows in (("train", train), ("dev", train if dev is None else dev)):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")
    return DataSpec(train=folder / "train.jsonl", dev=folder / "dev.jsonl", **data)


def labelled(labels: Sequence[Any]) -> Rows:
    """Rows with a text of their own and these labels."""
    return [{"text": f"text {i}", "label": label} for i, label in enumerate(labels)]


def read(folder: Path, train: Sequence[Any], dev: Sequence[Any] | None = None, **data: Any) -> Any:
    """Load rows with these labels."""
    rows = None if dev is None else labelled(dev)
    return load_sentence_pairs(spec_of(folder, labelled(train), rows, **data))


def problems(folder: Path, *labels: Any, **data: Any) -> list[str]:
    """The lines with which labels are refused, without the repetition for dev."""
    with pytest.raises(InputError) as refused:
        read(folder, *labels, **data)
    assert all(line.isprintable() for line in refused.value.problems)
    return [line for line in refused.value.problems if not line.startswith("data.dev: every")]


# ---------------------------------------------------------------- columns


@pytest.mark.parametrize("column", ["text", "sentence"])
def test_single_texts_are_known_by_their_columns(column: str, tmp_path: Path) -> None:
    """`text` or `sentence` beside `label` need no names; further columns do not matter."""
    rows = [{"id": 1, column: " a ", "label": "x"}, {"id": 2, column: "b", "label": "y"}]
    corpus: Corpus[SentencePair] = load_sentence_pairs(spec_of(tmp_path, rows))
    assert corpus.train == (SentencePair("a", "", "x"), SentencePair("b", "", "y"))
    assert corpus.train[0].texts == ("a",)
    assert (corpus.unit, corpus.labels) == ("texts", ("x", "y"))


def test_columns_in_capitals_are_known_as_well(tmp_path: Path) -> None:
    """`Text` and `LABEL` are read as they are; of two spellings neither is taken."""
    rows = [{"Text": "a", "LABEL": "x"}, {"Text": "b", "LABEL": "y"}]
    assert load_sentence_pairs(spec_of(tmp_path, rows)).columns == ("Text", "LABEL")
    with pytest.raises(InputError, match="no columns of texts and labels recognised"):
        load_sentence_pairs(spec_of(tmp_path, [{**row, "TEXT": "c"} for row in rows]))


def test_columns_that_the_study_file_names(tmp_path: Path) -> None:
    """Any columns can be named, for one text or two, and are read before known ones."""
    rows = [
        {"text": "no", "label": "no", "q": "a", "a": "b", "kind": "x"},
        {"text": "no", "label": "no", "q": "c", "a": "d", "kind": "y"},
    ]
    one = load_sentence_pairs(spec_of(tmp_path, rows, text_column="q", label_column="kind"))
    assert one.train[0] == SentencePair("a", "", "x")
    pair = {"text_column": "q", "second_text_column": "a", "label_column": "kind"}
    two = load_sentence_pairs(spec_of(tmp_path, rows, **pair))
    assert two.train[1] == SentencePair("c", "d", "y")
    assert two.unit == "pairs"
    known = load_sentence_pairs(spec_of(tmp_path, rows, label_column="kind"))
    assert known.train[0] == SentencePair("no", "", "x")


def test_columns_that_are_not_clear_are_refused(tmp_path: Path) -> None:
    """A missing column, an unknown file, and two possible texts are one line with the columns."""
    row = {"text": "a", "sentence": "b", "label": "x"}
    for data, line in (
        ({"text_column": "body"}, "no column 'body', got 'text', 'sentence', 'label'"),
        ({"label_column": "kind"}, "no column 'kind', got 'text', 'sentence', 'label'"),
        ({"source_column": "text"}, "no column 'target', got 'text', 'sentence', 'label'"),
        ({}, "'text' and 'sentence' could both be the text; set data.text_column"),
    ):
        with pytest.raises(InputError, match=line):
            load_sentence_pairs(spec_of(tmp_path, [row], **data))


def test_the_label_is_never_a_text(tmp_path: Path) -> None:
    """A study file that puts the label's column into the input is refused."""
    study = {"task": "classification", "search": {"parameters": {"rank": {"choices": [1, 2]}}}}
    for key, data in (
        ("target_column", {"source_column": "text", "target_column": "label"}),
        ("text_column", {"text_column": "kind", "label_column": "kind"}),
        ("second_text_column", {"text_column": "a", "second_text_column": "label"}),
    ):
        with pytest.raises(InputError, match=f"data.{key}: '.*' is the column of the labels"):
            parse_spec({**study, "data": data}, "x.toml")
    with pytest.raises(
        InputError, match=r"data.text_column: works only with classification, regression"
    ):
        parse_spec({**study, "task": "translation", "data": {"text_column": "a"}}, "x.toml")


# ---------------------------------------------------------------- classes


def test_classes_are_sorted_and_numbers_by_their_size(tmp_path: Path) -> None:
    """The order does not depend on the rows."""
    assert read(tmp_path, ["b", "c", "a"]).labels == ("a", "b", "c")
    assert read(tmp_path, [10, 9, "2"]).labels == ("2", "9", "10")


def test_a_hub_datasets_own_order_of_classes(tmp_path: Path) -> None:
    """A ClassLabel's order is kept, though it is not sorted; -1 is no class."""
    from datasets import ClassLabel, Dataset, Features, Value

    names = ["negative", "neutral", "excellent"]
    features = Features({"text": Value("string"), "label": ClassLabel(names=names)})
    rows = {"text": ["a", "b", "c", "d"], "label": [2, 0, 1, -1]}
    for split in ("train", "validation"):
        Dataset.from_dict(rows, features).to_parquet(tmp_path / "hub" / f"{split}.parquet")
    corpus = load_sentence_pairs(DataSpec(corpus=str(tmp_path / "hub")))
    assert corpus.labels == tuple(names)
    assert [type(label) for label in corpus.labels] == [str] * 3
    assert [pair.label for pair in corpus.dev] == ["excellent", "negative", "neutral"]
    assert corpus.skipped == {"rows without a label": 2}


def test_whole_numbers_written_as_decimals(tmp_path: Path) -> None:
    """1.0 and "2.0" are the classes 1 and 2, and a remark says so."""
    corpus = read(tmp_path, [1.0, "2.0", 2.0])
    assert corpus.labels == ("1", "2")
    assert [pair.label for pair in corpus.train] == ["1", "2", "2"]
    assert "labels 1.0, 2.0 are whole numbers, read as 1, 2" in corpus.remarks
    assert read(tmp_path, ["1.0", "2.0"], labels=("2.0", "1.0")).labels == ("2.0", "1.0")


def test_rows_without_a_label_are_counted(tmp_path: Path) -> None:
    """null and NaN are no labels, as an empty field is none."""
    corpus = read(tmp_path, ["x", "y", None, float("nan"), " "])
    assert len(corpus.train) == 2
    assert corpus.skipped == {"rows without a label": 6}


@pytest.mark.parametrize(
    ("labels", "line"),
    [
        (["yes", "Yes", "no"], "labels 'yes' (2) and 'Yes' (2) differ only in case"),
        (["yes", " yes", "no"], "labels 'yes' (2) and ' yes' (2) differ only in case or in spaces"),
        ([0, 1, -1], "data.train: 1 label is -1, which stands for a hidden label in GLUE"),
        (["x", "y", "nan"], "data.train: 1 label is 'nan', a missing value"),
        ([1.5, 2.0], 'must be names or whole numbers, got 1.5, 2.0; allowed: task = "regression"'),
        (["x", "x"], "data: all labels are 'x'; needed: at least two classes"),
    ],
)
def test_labels_that_are_probably_mistakes(labels: list[Any], line: str, tmp_path: Path) -> None:
    """Each fault is a line, and the study file's own names settle what is meant."""
    assert any(line in problem for problem in problems(tmp_path, labels))


@pytest.mark.parametrize(("text", "label"), [("\ud800", "a"), ("a", "\udfff")])
def test_half_a_surrogate_pair_is_a_faulty_row(tmp_path: Path, text: str, label: str) -> None:
    """JSON can hold one; no hash and no tokenizer reads it."""
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps({"text": text, "label": label}) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"line 1: .* contains half a surrogate"):
        load_sentence_pairs(DataSpec(train=path, dev=path))


def test_hidden_labels_of_a_whole_split(tmp_path: Path) -> None:
    """GLUE's test split has no labels: no study can use it."""
    with pytest.raises(InputError, match=r"data\.dev: every label is -1") as refused:
        read(tmp_path, [0, 1], [-1, -1])
    assert len(refused.value.problems) == 2  # dev also has a label that train lacks
    signed = read(tmp_path, [0, 1, -1], labels=("-1", "0", "1"))
    assert signed.labels == ("-1", "0", "1")
    assert len(signed.train) == 3


def test_labels_that_train_lacks(tmp_path: Path) -> None:
    """They are refused if the data define the classes, and remarked on if the file does."""
    (line,) = problems(tmp_path, ["x", "y"], ["x", "z"])
    assert line.startswith("data.dev: labels that train lacks: z; ")
    corpus = read(tmp_path, ["x", "y"], ["x", "z"], labels=("x", "y", "z"))
    assert "train has no example of z" in corpus.remarks


def test_the_shares_of_the_classes_are_said(tmp_path: Path) -> None:
    """One line has the share of each class, and others the classes that dev hardly has."""
    train = ["negative"] * 41 + ["neutral"] * 20 + ["positive"] * 39
    corpus = read(tmp_path, train, ["negative"] * 10 + ["neutral"] * 9)
    assert corpus.remarks == (
        "train: 3 classes: negative 41 %, neutral 20 %, positive 39 %",
        "dev has no example of positive",
        "dev has fewer than 10 examples of a class: neutral 9",
    )
    rare = read(tmp_path, ["a"] * 999 + ["b"])
    assert rare.remarks[0] == "train: 2 classes: a 100 %, b < 1 %"
    many = read(tmp_path, list(range(30)) * 2)
    assert many.remarks[0].endswith("'11' 3 % and 18 more")
    rows = [{"premise": "a", "hypothesis": "b", "label": n} for n in (0, 1, 2, 2)]
    assert load_sentence_pairs(spec_of(tmp_path, rows)).remarks[0] == (
        f"train: 3 classes: {NLI[0]} 25 %, {NLI[1]} 25 %, {NLI[2]} 50 %"
    )


def test_copies_and_contradictions_are_counted(tmp_path: Path) -> None:
    """Copies count from the second on, and a text in two classes is shown with both."""
    rows = [{"text": t, "label": c} for t, c in ("ax", "ax", "ax", "by", "bx", "cy")]
    corpus = load_sentence_pairs(spec_of(tmp_path, rows, rows[-1:]))
    copies, torn = copy_remarks(corpus)
    assert copies == "exact copies of other rows: 2 of 6 train texts"
    assert torn == "texts with more than one label: 1, first 'b' with x, y"
    assert copy_remarks(read(tmp_path, ["x", "y"])) == []


def test_prompts_with_two_answers_are_counted() -> None:
    """Pairs and conversations that ask the same and answer otherwise are one line."""
    pairs = Pair("a", "x"), Pair("a", "y"), Pair("b", "x")
    assert copy_remarks(Corpus(pairs, pairs[2:])) == [
        "pairs with more than one answer: 1, first 'a' with 'x', 'y'"
    ]
    rows = [{"prompt": q, "completion": a} for q, a in ("ax", "ay", "bx", "bx")]
    chats = tuple(conversation_of(row, FORMATS[2], "", "row") for row in rows)
    assert copy_remarks(Corpus(chats[:3], chats[3:], unit="conversations")) == [
        "conversations with more than one answer: 1, first 'a' with 'x', 'y'"
    ]


@pytest.mark.parametrize("has_dev", [True, False])
def test_a_column_of_identifiers_is_refused(tmp_path: Path, has_dev: bool) -> None:
    """Labels that are nearly all different are no classes, with a dev file and without."""
    rows = labelled([f"T{n}" for n in range(30)])
    data = spec_of(tmp_path, rows)
    with pytest.raises(InputError) as refused:
        load_sentence_pairs(data if has_dev else DataSpec(train=data.train, dev_share=0.1))
    (line,) = refused.value.problems
    assert line.startswith("data.train: label: 30 of 30 labels are different, so they are no class")
    half = labelled([f"T{n}" for n in range(30)] * 2)
    assert len(load_sentence_pairs(spec_of(tmp_path, half)).labels) == 30


def test_classes_of_one_example_are_said(tmp_path: Path) -> None:
    """Where most classes have one example, the column is probably another one."""
    corpus = read(tmp_path, [f"T{n}" for n in range(30)] + ["T0"] * 20)
    assert "29 classes have one example in train: are these labels?" in corpus.remarks


# ---------------------------------------------------------------- numbers


def test_numbers_are_read_as_numbers(tmp_path: Path) -> None:
    """Numbers in any notation become one, from `label` or `score`; -1 is one of them."""
    rows = [
        {"sentence1": "a", "sentence2": "b", "score": score}
        for score in (1, "2.50", -1.0, "1e-3", None)
    ]
    corpus = load_scored_texts(spec_of(tmp_path, rows))
    assert [pair.label for pair in corpus.train] == ["1.0", "2.5", "-1.0", "0.001"]
    assert corpus.labels == ()
    assert corpus.remarks == ("train: numbers from -1 to 2.5: mean 0.625, standard deviation 1.29",)
    large = load_scored_texts(spec_of(tmp_path, labelled([0, 100])))
    assert "large for a new head" in large.remarks[1]


@pytest.mark.parametrize(
    ("labels", "line"),
    [
        ([1, "1,5"], "line 2: label: must be a number such as 3.5, got '1,5'; write a point"),
        ([1, "4 stars"], "line 2: label: must be a number such as 3.5, got '4 stars'"),
        ([1, "1e999"], "line 2: label: must be a number such as 3.5, got '1e999'"),
        ([3, 3.0], "data.train: all labels are 3; needed: different numbers"),
        ([-1, -1], "data.train: every label is -1"),
    ],
)
def test_labels_that_are_no_numbers(labels: list[Any], line: str, tmp_path: Path) -> None:
    """Each fault is a line that says what was found."""
    with pytest.raises(InputError) as refused:
        load_scored_texts(spec_of(tmp_path, labelled(labels)))
    assert any(line in problem for problem in refused.value.problems)


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=30))
def test_shares_of_a_whole_sum_to_the_whole(counts: list[int]) -> None:
    """By largest remainders, in whole per cent; below 1 counts as 0, and none as 0."""
    shares = whole_percent(counts)
    numbers = [0 if share == "< 1 %" else int(share.removesuffix(" %")) for share in shares]
    assert sum(numbers) == (100 if any(counts) else 0)
    for number, share, count in zip(numbers, shares, counts, strict=True):
        assert abs(number - 100 * count / max(sum(counts), 1)) < 1
        assert (share == "0 %") == (count == 0)


def test_thirds_are_a_hundred_per_cent() -> None:
    """Rounded one by one they would sum to 99."""
    assert whole_percent([1, 1, 1]) == ["34 %", "33 %", "33 %"]
