"""Parallel text from TSV or JSONL files, a hub dataset, or the embedded corpus.

Bad files are refused with the file, the line and the rule, before anything is trained.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar

from study.bases.hub import check_reachable
from study.data.embedded import Pair, instruction_corpus, petroleum_corpus
from study.errors import InputError
from study.spec.sections import SPLITS, DataSpec

MAX_LINE_CHARACTERS = 100_000
BOM = b"\xef\xbb\xbf"
HUB_SPLITS = {"train": ("train",), "dev": ("validation", "validation_matched", "dev", "test")}


E = TypeVar("E")


@dataclass(frozen=True)
class Corpus(Generic[E]):
    """The examples of every split.

    `general` may be empty where nothing measures forgetting, `test` where nothing is held out.
    """

    train: tuple[E, ...]
    dev: tuple[E, ...]
    general: tuple[E, ...] = ()
    test: tuple[E, ...] = ()
    labels: tuple[str, ...] = ()  # of a classification, in their own order
    skipped: Mapping[str, int] = field(default_factory=dict)  # why rows were left out -> how many

    def split(self, name: str) -> tuple[E, ...]:
        """Return the examples of `train`, `dev`, `general` or `test`."""
        examples: tuple[E, ...] = getattr(self, name)
        return examples

    def hashes(self) -> dict[str, str]:
        """Return what identifies the content of every split; of `test` where there is one."""
        return {name: _hash(self.split(name)) for name in SPLITS if name != "test" or self.test}


def load_corpus(data: DataSpec) -> Corpus[Pair]:
    """Read what `[data]` names; InputError with one line a problem."""
    if data.origin == "embedded":
        return _embedded(data.seed)
    read = {split: read_pairs(path, data) for split, path in data.files.items()}
    if data.origin != "files":
        read |= {s: _hub_split(data, s) for s in ("train", "dev")}
    return Corpus(read["train"], read["dev"], read.get("general", ()), read.get("test", ()))


def load_instructions(data: DataSpec) -> Corpus[Pair]:
    """Read instructions and answers: those that are embedded, or as any pairs."""
    return _embedded_instructions(data.seed) if data.origin == "embedded" else load_corpus(data)


@cache
def _embedded_instructions(seed: int) -> Corpus[Pair]:
    embedded = instruction_corpus(seed)
    train, dev, general, test = (
        tuple(Pair(row.source, row.target) for row in rows)
        for rows in (embedded.train, embedded.dev, embedded.general, embedded.test)
    )
    return Corpus(train, dev, general, test)


@cache
def _embedded(seed: int) -> Corpus[Pair]:
    """Generate it once a process: it takes a second."""
    embedded = petroleum_corpus(seed)
    return Corpus(embedded.train, embedded.dev, embedded.general, embedded.test)


def read_pairs(path: Path, data: DataSpec) -> tuple[Pair, ...]:
    """Read one TSV (with a header line) or JSONL file."""
    suffix = path.suffix.lower()
    if suffix not in (".tsv", ".jsonl"):
        raise InputError(
            f"{path}: unknown kind of file, got {path.suffix!r}; allowed: .tsv, .jsonl"
        )
    rows = _jsonl_rows(path, data) if suffix == ".jsonl" else _tsv_rows(path, data)
    pairs = tuple(_pair(source, target, where) for where, source, target in rows)
    if not pairs:
        raise InputError(f"{path}: holds no pairs; allowed: at least one line after the header")
    return pairs


def lines_of(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (where, line) without line ends and empty lines; refuse what is no text."""
    try:
        with path.open("rb") as file:
            # never a whole file of one line; UTF-8 takes four bytes a character at most
            limited = iter(lambda: file.readline(4 * MAX_LINE_CHARACTERS + 2), b"")
            for number, raw in enumerate(limited, 1):
                where = f"{path}: line {number}"
                line = _text(raw.removeprefix(BOM) if number == 1 else raw, where)
                if line:
                    yield where, line
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{path}: cannot read the file: {reason}") from None


def _text(raw: bytes, where: str) -> str:
    if b"\0" in raw:
        raise InputError(f"{where}: holds a NUL byte; not a text file")
    try:
        line = raw.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        if len(raw) <= 4 * MAX_LINE_CHARACTERS:  # a longer line is cut, maybe in a character
            raise InputError(f"{where}: not UTF-8: byte {error.start}: {error.reason}") from None
        line = raw.decode("utf-8", errors="replace")
    if len(line) > MAX_LINE_CHARACTERS:
        raise InputError(f"{where}: over {MAX_LINE_CHARACTERS:,} characters, which is the limit")
    return line


def _tsv_rows(path: Path, data: DataSpec) -> Iterator[tuple[str, str, str]]:
    lines = lines_of(path)
    _, header = next(lines, ("", ""))
    if not header:
        raise InputError(f"{path}: the file is empty; needed: a header line, then a pair a line")
    columns = header.split("\t")
    positions = [_column(columns, name, path) for name in (data.source_column, data.target_column)]
    for where, line in lines:
        fields = line.split("\t")
        if len(fields) != len(columns):
            raise InputError(f"{where}: {len(fields)} fields; the header has {len(columns)}")
        yield where, fields[positions[0]], fields[positions[1]]


def _column(columns: list[str], name: str, path: Path) -> int:
    if name not in columns:
        got = ", ".join(repr(c[:40]) for c in columns[:8])
        raise InputError(
            f"{path}: line 1: no column {name!r} in the header, got {got}; "
            "set data.source_column and data.target_column, or add a header line"
        )
    if columns.count(name) > 1:
        raise InputError(f"{path}: line 1: {columns.count(name)} columns are named {name!r}")
    return columns.index(name)


def _jsonl_rows(path: Path, data: DataSpec) -> Iterator[tuple[str, str, str]]:
    for where, line in lines_of(path):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where}: not JSON: {error}") from None
        yield where, *_sides(row, data, where)


def _sides(row: Any, data: DataSpec, where: str) -> tuple[str, str]:
    return text_field(row, data.source_column, where), text_field(row, data.target_column, where)


def text_field(row: Any, name: str, where: str) -> str:
    """Return a text by its name; a dotted name reaches into nested objects.  InputError if none."""
    value = row
    for part in [name] if isinstance(row, Mapping) and name in row else name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            got = ", ".join(map(repr, row)) if isinstance(row, Mapping) else repr(row)
            raise InputError(f"{where}: no field {name!r}, got {got[:80]}")
        value = value[part]
    if not isinstance(value, str):
        raise InputError(f"{where}: {name}: must be text, got {value!r:.60}")
    return value


def _pair(source: str, target: str, where: str) -> Pair:
    for side, value in (("source", source), ("target", target)):
        if not value.strip():
            raise InputError(f"{where}: the {side} is empty")
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise InputError(f"{where}: the {side} holds half a surrogate pair; not Unicode text")
    return Pair(source, target)


def _hub_split(data: DataSpec, split: str) -> tuple[Pair, ...]:
    _, rows = hub_rows(data, split)
    return tuple(_pair(*_sides(row, data, place), place) for place, row in rows)


def hub_rows(data: DataSpec, split: str) -> tuple[str, Iterator[tuple[str, Mapping[str, Any]]]]:
    """Return what one split of a hub dataset is called, and its rows, each with where it stands.

    A local folder in a hub dataset's layout serves too.  Classes come by name.
    """
    from datasets import ClassLabel, get_dataset_split_names, load_dataset

    assert data.corpus is not None
    if not Path(data.corpus).is_dir():
        check_reachable(data.corpus, "dataset", "data.corpus")
    try:
        available = get_dataset_split_names(data.corpus, data.subset)
        name = next((s for s in HUB_SPLITS[split] if s in available), None)
        rows = None if name is None else load_dataset(data.corpus, data.subset, split=name)
    except Exception as error:
        message = " ".join(str(error).split())[:200]
        raise InputError(f"data.corpus: cannot load {data.corpus!r}: {message}") from None
    if rows is None:
        raise InputError(
            f"data.corpus: {data.corpus!r} has no split for {split}; looked for "
            f"{', '.join(HUB_SPLITS[split])}, got {', '.join(available)}"
        )
    where = f"{data.corpus}: {name}"
    if not len(rows):
        raise InputError(f"{where}: holds no pairs")
    classes = {n: f.names for n, f in rows.features.items() if isinstance(f, ClassLabel)}
    return where, (
        (f"{where}: row {number}", row | {n: _class(row[n], c) for n, c in classes.items()})
        for number, row in enumerate(rows)
    )


def _class(value: Any, names: Sequence[str]) -> Any:
    """Return a class by its name; -1 is none."""
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else value


def _hash(examples: Sequence[Any]) -> str:
    content = "\n".join("\t".join(astuple(example)) for example in examples)
    return hashlib.sha256(content.encode()).hexdigest()[:16]
