"""Parallel text is read as it stands, and refused with file, line and rule where it is none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from study.data import origins
from study.data.embedded import Pair
from study.data.origins import MAX_LINE_CHARACTERS
from study.data.readers import Corpus, load_corpus, read_pairs
from study.errors import InputError
from study.spec.base_and_data import SPLITS, DataSpec

COLUMNS = DataSpec()
NESTED = DataSpec(source_column="translation.en", target_column="translation.fr")


def write(folder: Path, content: str | bytes, name: str = "text.tsv") -> Path:
    """Write a file of text or bytes."""
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def problem(path: Path, data: DataSpec = COLUMNS) -> str:
    """The one line with which a file is refused."""
    with pytest.raises(InputError) as refused:
        read_pairs(path, data)
    (line,) = refused.value.problems
    assert line.isprintable()
    assert line.startswith(str(path))
    return line.removeprefix(f"{path}: ")


GOOD: dict[str, bytes] = {
    "plain": b"source\ttarget\nthe well\tle puits\n",
    "no last line end": b"source\ttarget\nthe well\tle puits",
    "CRLF": b"source\ttarget\r\nthe well\tle puits\r\n",
    "a byte-order mark": b"\xef\xbb\xbfsource\ttarget\nthe well\tle puits\n",
    "empty lines": b"source\ttarget\n\nthe well\tle puits\n\n\r\n",
    "UTF-16": "source\ttarget\r\nthe well\tle puits\r\n".encode("utf-16"),
    "UTF-16, the other end first": "\ufeffsource\ttarget\nthe well\tle puits".encode("utf-16-be"),
    "other columns": b"id\ttarget\tnote\tsource\n1\tle puits\t\tthe well\n",
}


@pytest.mark.parametrize("name", GOOD)
def test_what_editors_and_exports_write(tmp_path: Path, name: str) -> None:
    """Line ends, marks, empty lines and columns beside do not change the pairs."""
    assert read_pairs(write(tmp_path, GOOD[name]), COLUMNS) == (Pair("the well", "le puits"),)


def test_a_suffix_in_capitals(tmp_path: Path) -> None:
    """`.TSV` is a TSV file."""
    assert len(read_pairs(write(tmp_path, GOOD["plain"], "TEXT.TSV"), COLUMNS)) == 1


BAD: dict[str, tuple[str | bytes, str]] = {
    "an empty file": ("", "the file is empty; needed: a header line"),
    "empty lines only": ("\n\n\r\n", "the file is empty"),
    "a header only": ("source\ttarget\n", "contains no pairs"),
    "no header": ("the well\tle puits\n", "line 1: no column 'source' in the header, got 'the we"),
    "commas": ("source,target\na,b\n", "line 1: no column 'source' in the header, got 'source,ta"),
    "a missing column": ("source\tfr\na\tb\n", "line 1: no column 'target' in the header"),
    "a column twice": ("source\tsource\ttarget\n", "line 1: 2 columns are named 'source'"),
    "too few fields": ("source\ttarget\na\tb\nc\n", "line 3: 1 field; the header has 2"),
    "a line break in quotes": (
        'source\ttarget\n"a\nb"\tc\n',
        "line 2: 1 field; the header has 2; in a TSV quotes are text: name a file with",
    ),
    "too many fields": ("source\ttarget\na\tb\tc\n", "line 2: 3 fields; the header has 2"),
    "an empty source": ("source\ttarget\n\tb\n", "line 2: the source is empty"),
    "a target of spaces": ("source\ttarget\na\t  \n", "line 2: the target is empty"),
    "a NUL byte": (b"source\ttarget\na\0\tb\n", "line 2: contains a NUL byte; must be a text file"),
    "UTF-16 without a mark": ("source\t\n".encode("utf-16-le"), "line 1: contains a NUL byte"),
    "half a sign of UTF-16": (b"\xff\xfes\x00o", "not UTF-16, as its first bytes say: "),
    "Latin-1": (
        "source\ttarget\nthe bit\tle trépan\n".encode("latin-1"),
        "line 2: not UTF-8: byte 13: invalid continuation byte; convert the file, as by iconv",
    ),
    "Latin-1 at the end of a long file": (
        b"source\ttarget\n" + b"a\tb\n" * 20_000 + b"caf\xe9\tc\n",
        "line 20002: not UTF-8: byte 3: invalid continuation byte",
    ),
    "a line of a million characters": (
        "source\ttarget\n" + "é" * 1_000_000 + "\tb\n",
        f"line 2: longer than {MAX_LINE_CHARACTERS:,} characters, the limit",
    ),
    "a gzip file": (b"\x1f\x8b\x08\x00\x00", "line 1: contains a NUL byte"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_tsv_file_is_one_line(tmp_path: Path, name: str) -> None:
    """Each bad file is refused with its line and what is wrong there."""
    content, expected = BAD[name]
    assert problem(write(tmp_path, content)).startswith(expected)


BAD_LINES: dict[str, tuple[str, str]] = {
    "no JSON": ("{'source': 1}", "line 1: not JSON: "),
    "a cut line": ('{"source": "a", "targ', "line 1: not JSON: "),
    "a number": ("5", "line 1: must be a JSON object, got '5'"),
    "a list": ('["a", "b"]', 'line 1: must be a JSON object, got \'["a", '),
    "null": ("null", "line 1: must be a JSON object, got 'null'"),
    "a missing field": ('{"source": "a"}', "line 1: no field 'target', got 'source'"),
    "a number as text": ('{"source": "a", "target": 5}', "line 1: target: must be text, got 5"),
    "an object as text": ('{"source": {"x": 1}, "target": "b"}', "line 1: source: must be text"),
    "half a surrogate": (
        '{"source": "a\\ud800", "target": "b"}',
        "line 1: the source contains half a surrogate pair",
    ),
    "nested too deeply": ("[" * 50_000 + "]" * 50_000, "line 1: not JSON: "),
    "a number of 5000 digits": ('{"source": ' + "1" * 5000 + "}", "line 1: not JSON: "),
    "an empty file": ("", "contains no pairs"),
    "many fields": (json.dumps({str(i): i for i in range(5000)}), "line 1: no field 'source'"),
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_a_bad_jsonl_file_is_one_line(tmp_path: Path, name: str) -> None:
    """Each bad line is refused with its number and what is wrong there, in few words."""
    content, expected = BAD_LINES[name]
    found = problem(write(tmp_path, content, "text.jsonl"))
    assert found.startswith(expected)
    assert len(found) < 250


def test_files_that_are_none(tmp_path: Path) -> None:
    """A folder, a missing file, a loop of links and another kind of file are refused."""
    (tmp_path / "folder.tsv").mkdir()
    (tmp_path / "loop.tsv").symlink_to(tmp_path / "loop.tsv")
    assert problem(tmp_path / "folder.tsv") == "cannot read the file: Is a directory"
    assert problem(tmp_path / "none.tsv") == "cannot read the file: No such file or directory"
    assert problem(tmp_path / "loop.tsv").startswith("cannot read the file: Too many levels")
    assert problem(tmp_path / "text.txt") == (
        "unknown file type, got '.txt'; allowed: .tsv, .csv, .jsonl, .json, .parquet, or a folder "
        "saved by datasets"
    )
    with pytest.raises(InputError, match=r"cannot read the file: embedded null byte"):
        read_pairs(Path("a\0.tsv"), COLUMNS)


PAIR = {"source": 'the "well",\ndeep', "target": "le puits"}


def as_csv(path: Path) -> None:
    """Write a pair with a quoted field of two lines."""
    path.write_text('source,target\r\n"the ""well"",\ndeep",le puits\r\n', newline="")


def as_parquet(path: Path) -> None:
    """Write a pair and a column beside."""
    Dataset.from_list([{**PAIR, "id": 1}]).to_parquet(path)


OTHER_FILES: dict[str, Callable[[Path], object]] = {
    "pairs.csv": as_csv,
    "pairs.parquet": as_parquet,
    "pairs.json": lambda path: path.write_text(json.dumps([PAIR], indent=2)),
    "lines.json": lambda path: path.write_text(json.dumps(PAIR) + "\n"),
    "saved": lambda path: Dataset.from_list([PAIR]).save_to_disk(path),
}


@pytest.mark.parametrize("name", OTHER_FILES)
def test_other_kinds_of_files(tmp_path: Path, name: str) -> None:
    """CSV, Parquet, JSON and a folder saved by `datasets` give the pairs that they hold."""
    OTHER_FILES[name](tmp_path / name)
    assert read_pairs(tmp_path / name, COLUMNS) == (Pair(PAIR["source"], PAIR["target"]),)


BAD_OTHERS: dict[str, tuple[str, str, str]] = {
    "a JSON array with a number": ("a.json", "[5]", "row 1: must be a JSON object, got '5'"),
    "an array inside": (
        "l.json",
        '{"data": [{"source": "a"}]}',
        "must be an array of objects or o",
    ),
    "a cut JSON array": ("b.json", '[{"source": "a"', "not JSON: "),
    "a JSON row without a field": ("c.json", '[{"source": "a"}]', "row 1: no field 'target'"),
    "an empty JSON file": ("d.json", "", "contains no pairs"),
    "no Parquet": ("e.parquet", "source", "not a Parquet file: "),
    "an empty CSV file": ("f.csv", "", "the file is empty"),
    "a CSV row of one field": ("g.csv", "source,target\na\n", "line 2: 1 field; the header has 2"),
    "an open quote": ("h.csv", 'source,target\n"a,b\n', "line 2: not CSV: a quote that begins"),
    "an open quote beside semicolons": (
        "k.csv",
        'source;target\n"a;b\nc;d\n',
        "line 2: not CSV: a quote that begins here is never closed",
    ),
    "a CSV file in Latin-1": ("i.csv", "source,target\n\udce9,b\n", "line 2: not UTF-8: byte 0"),
}


@pytest.mark.parametrize("name", BAD_OTHERS)
def test_other_bad_files_are_one_line(tmp_path: Path, name: str) -> None:
    """Each names the row or line, and what is wrong there."""
    file, content, expected = BAD_OTHERS[name]
    path = write(tmp_path, content.encode("utf-8", "surrogateescape"), file)
    assert problem(path).startswith(expected)


@pytest.mark.parametrize("stored", ["once", "as they are"])
def test_a_bomb_in_a_parquet_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored: str
) -> None:
    """A small file whose rows would fill the memory is one line, after a part of them."""
    import pyarrow
    from pyarrow import parquet

    texts = pyarrow.DictionaryArray.from_arrays(
        pyarrow.array([0] * 20_000, pyarrow.int8()), pyarrow.array(["x" * 1000])
    )
    column = texts if stored == "once" else texts.dictionary_decode()
    path = tmp_path / "bomb.parquet"
    parquet.write_table(pyarrow.table({"source": column, "target": column}), path)
    assert path.stat().st_size < 20_000
    monkeypatch.setattr(origins, "UNPACKED", 10_000_000)
    with pytest.raises(
        InputError, match=r"bomb.parquet: .* bytes that unpack to more than 10,000,000"
    ):
        load_corpus(DataSpec(train=path, dev=path))


def test_a_missing_parquet_file(tmp_path: Path) -> None:
    """It is refused like any file that cannot be read."""
    assert problem(tmp_path / "none.parquet") == "cannot read the file: no such file"


def test_dotted_names_reach_into_objects(tmp_path: Path) -> None:
    """`translation.en` is a field of the object `translation`, or a field of that very name."""
    lines = [
        {"translation": {"en": "the well", "fr": "le puits"}},
        {"translation.en": "the mud", "translation.fr": "la boue"},
    ]
    path = write(tmp_path, "\n".join(map(json.dumps, lines)) + "\n\n", "text.jsonl")
    assert read_pairs(path, NESTED) == (Pair("the well", "le puits"), Pair("the mud", "la boue"))


# what a TSV field can hold: anything but tabs, line ends and NUL, with something to see in it
fields = st.text(
    st.characters(codec="utf-8", exclude_characters="\t\n\r\0"), min_size=1, max_size=12
).filter(lambda text: bool(text.strip()) and text == text.strip("\r\n"))
pairs_of_text = st.lists(st.tuples(fields, fields), min_size=1, max_size=6)


@pytest.mark.whole
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pairs_of_text)
def test_any_text_survives_a_tsv_file(tmp_path: Path, texts: list[tuple[str, str]]) -> None:
    """Quotes, spaces, other scripts and exotic separators come back as they were written."""
    lines = ["source\ttarget", *(f"{source}\t{target}" for source, target in texts)]
    path = write(tmp_path, "\n".join(lines) + "\n")
    assert read_pairs(path, COLUMNS) == tuple(Pair(*text) for text in texts)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pairs_of_text, st.booleans())
def test_any_text_survives_a_jsonl_file(
    tmp_path: Path, texts: list[tuple[str, str]], ascii_only: bool
) -> None:
    """Escaped or not, the text of a JSON line comes back as it was."""
    lines = [json.dumps({"source": s, "target": t}, ensure_ascii=ascii_only) for s, t in texts]
    path = write(tmp_path, "\n".join(lines), "text.jsonl")
    assert read_pairs(path, COLUMNS) == tuple(Pair(*text) for text in texts)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=80), st.sampled_from(["text.tsv", "text.jsonl"]), st.booleans())
def test_any_bytes_are_pairs_or_one_line(
    tmp_path: Path, content: bytes, name: str, with_header: bool
) -> None:
    """No file can do more than be refused."""
    path = write(tmp_path, (b"source\ttarget\n" if with_header else b"") + content, name)
    try:
        pairs, lines = read_pairs(path, COLUMNS), ()
    except InputError as refused:
        pairs, lines = (), refused.problems
    assert all(pair.source.strip() and pair.target.strip() for pair in pairs)
    assert bool(pairs) != bool(lines)
    assert all(line.isprintable() for line in lines)


# ---------------------------------------------------------------- whole corpora


def test_a_corpus_of_files(tmp_path: Path) -> None:
    """Every split is its file; `general` may be missing; equal content has equal hashes."""
    train = write(tmp_path, "source\ttarget\na\tb\nc\td\n", "train.tsv")
    dev = write(tmp_path, '{"source": "e", "target": "f"}\n', "dev.jsonl")
    corpus = load_corpus(DataSpec(train=train, dev=dev))
    assert corpus == Corpus((Pair("a", "b"), Pair("c", "d")), (Pair("e", "f"),))
    assert corpus.general == ()
    moved = write(tmp_path, "target\tsource\nb\ta\nd\tc\n", "moved.tsv")
    assert load_corpus(DataSpec(train=moved, dev=dev)).hashes() == corpus.hashes()
    other = load_corpus(DataSpec(train=dev, dev=moved)).hashes()
    assert other["train"] == corpus.hashes()["dev"]


def test_the_embedded_corpus() -> None:
    """Without files there is the embedded corpus, with general text and a test set held out."""
    corpus = load_corpus(DataSpec())
    assert all(len(corpus.split(split)) >= 50 for split in SPLITS)
    assert len(set(corpus.hashes().values())) == 4


def hub_folder(folder: Path, kind: str, splits: dict[str, list[dict[str, Any]]]) -> Path:
    """A folder in a hub dataset's layout."""
    folder.mkdir()
    for split, rows in splits.items():
        if kind == "parquet":
            import pandas as pd

            pd.DataFrame(rows).to_parquet(folder / f"{split}.parquet")
        else:
            lines = "\n".join(map(json.dumps, rows))
            (folder / f"{split}.jsonl").write_text(lines, encoding="utf-8")
    return folder


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what `datasets` prepares in the test's folder, without progress bars."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    datasets.disable_progress_bars()


def translations(texts: str) -> list[dict[str, Any]]:
    """Rows as the hub's translation datasets have them."""
    return [{"id": i, "translation": {"en": t, "fr": t.upper()}} for i, t in enumerate(texts)]


@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_a_hub_dataset_in_a_folder(tmp_path: Path, kind: str) -> None:
    """`train` and `validation` of a folder in the hub's layout are train and dev."""
    splits = {"train": translations("abc"), "validation": translations("de")}
    folder = hub_folder(tmp_path / "set", kind, splits)
    corpus = load_corpus(NESTED.model_copy(update={"corpus": str(folder)}))
    assert corpus.train == (Pair("a", "A"), Pair("b", "B"), Pair("c", "C"))
    assert corpus.dev == (Pair("d", "D"), Pair("e", "E"))


@pytest.mark.usefixtures("own_cache")
def test_hub_datasets_that_will_not_do(tmp_path: Path) -> None:
    """A missing split, a missing column and an empty text are one line each."""
    cases = {
        "one": (
            {"train": translations("ab")},
            "has no split for dev; looked for validation, validation_matched, dev",
        ),
        "two": (
            {"train": [{"en": "a"}], "validation": [{"en": "b"}]},
            "train: row 0: no field 'translation.en', got 'en'",
        ),
        "three": (
            {"train": translations("a "), "validation": translations("b")},
            "train: row 1: the source is empty",
        ),
    }
    for name, (splits, expected) in cases.items():
        folder = hub_folder(tmp_path / name, "jsonl", splits)
        with pytest.raises(InputError) as refused:
            load_corpus(NESTED.model_copy(update={"corpus": str(folder)}))
        line, *of_others = refused.value.problems
        assert expected in line
        assert not any("train" in other for other in of_others)


@pytest.mark.usefixtures("own_cache")
def test_a_folder_without_data(tmp_path: Path) -> None:
    """A folder that is no dataset is one line: what it must be, and what is in it."""
    (tmp_path / "empty").mkdir()
    rule = r"^data\.corpus: .*empty: must be a dataset in a folder, .*got an empty folder; or name"
    with pytest.raises(InputError, match=rule):
        load_corpus(DataSpec(corpus=str(tmp_path / "empty")))
    write(tmp_path, "not data", "notes.md")
    rule = "no file, and not saved by datasets, .* got a folder with empty, notes.md; allowed"
    with pytest.raises(InputError, match=rule):
        read_pairs(tmp_path, COLUMNS)


def test_every_faulty_row_is_said(tmp_path: Path) -> None:
    """A line that is no JSON or has too many fields does not hide what is wrong with others."""
    good = '{"source": "a", "target": "b"}'
    jsonl = write(
        tmp_path, f'{good}\n{{"source": \n{good}\n{{"source": "", "target": "b"}}\n', "a.jsonl"
    )
    tsv = write(tmp_path, "source\ttarget\na\tb\tc\n\tb\na\tb\n")
    for path, rules in ((jsonl, ("2: not JSON", "4: the source")), (tsv, ("2: 3 f", "3: the sou"))):
        with pytest.raises(InputError) as refused:
            read_pairs(path, COLUMNS)
        for line, rule in zip(refused.value.problems, rules, strict=True):
            assert line.startswith(f"{path}: line {rule}")


def test_a_hub_dataset_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dataset that cannot be reached is said so at once, not after half a minute of retries."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=r"^data\.corpus: 'nobody/nothing' .* cannot be reached"):
        load_corpus(DataSpec(corpus="nobody/nothing"))
