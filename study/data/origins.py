"""Read rows of examples from a TSV or JSONL file, or from a hub dataset.

Each row comes with the place it was read from; every error about the row begins with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from study.bases.hub import check_reachable
from study.errors import InputError, refusing
from study.spec.sections import DataSpec
from study.store.folders import check_all_regular, check_regular

MAX_LINE_CHARACTERS = 100_000
BOM = b"\xef\xbb\xbf"
HUB_SPLITS = {"train": ("train",), "dev": ("validation", "validation_matched", "dev", "test")}
FEWEST_LINES = 1000  # the share of broken lines refers to at least this many
Row = tuple[str, Mapping[str, Any]]
"""The place of a row, and its values by column."""


def origins_of(data: DataSpec) -> dict[str, Path | str]:
    """Return where each split comes from: its file, or the name of the hub dataset."""
    if data.origin == "files":
        return dict(data.files)
    return {**data.files, "train": data.origin, "dev": data.origin}


def rows_of(
    origin: Path | str,
    split: str = "train",
    *,
    subset: str | None = None,
    columns: Sequence[str] = (),
    broken_share: float = 0.0,
    key: str = "data.corpus",
) -> tuple[str, Iterator[Row]]:
    """Return the name of a split for messages, and its rows.

    Args:
        origin: The path of a file, or the name of a dataset on the hub or in a local folder.
        split: `train` or `dev`, for a dataset.
        subset: The configuration of a dataset that has several.
        columns: What the header of a TSV file must name.
        broken_share: This share of a TSV file's lines may have too many or too few fields; such a
            line becomes an empty row.
        key: The option that names the dataset, for messages.

    Raises:
        InputError: there is no such file or dataset; while iterating, a row is invalid.
    """
    if isinstance(origin, str):
        return _of_dataset(origin, split, subset, key)
    match origin.suffix.lower():
        case ".tsv":
            return str(origin), _of_tsv(origin, columns, broken_share)
        case ".jsonl":
            return str(origin), _of_jsonl(origin)
    raise InputError(f"{origin}: unknown file type, got {origin.suffix!r}; allowed: .tsv, .jsonl")


def text_field(row: Mapping[str, Any], name: str, where: str) -> str:
    """Return a text field, or raise InputError; a dotted name reaches into nested objects."""
    value: Any = row
    for part in [name] if name in row else name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise InputError(f"{where}: no field {name!r}, got {', '.join(map(repr, row))[:80]}")
        value = value[part]
    if not isinstance(value, str):
        raise InputError(f"{where}: {name}: must be text, got {value!r:.60}")
    return value


# ---------------------------------------------------------------- files


def _lines_of(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (where, line) without line ends and empty lines; refuse binary files."""
    check_regular(path)
    # ValueError: a NUL in the path
    with (
        refusing(f"{path}: cannot read the file", OSError, ValueError),
        path.open("rb") as file,
    ):
        # never read a whole file as one line; UTF-8 takes at most four bytes per character
        limited = iter(lambda: file.readline(4 * MAX_LINE_CHARACTERS + 2), b"")
        for number, raw in enumerate(limited, 1):
            where = f"{path}: line {number}"
            line = _text(raw.removeprefix(BOM) if number == 1 else raw, where)
            if line:
                yield where, line


def _text(raw: bytes, where: str) -> str:
    if b"\0" in raw:
        raise InputError(f"{where}: contains a NUL byte; must be a text file")
    is_cut = len(raw) > 4 * MAX_LINE_CHARACTERS  # perhaps within a character
    with refusing(f"{where}: not UTF-8", UnicodeDecodeError):
        line = raw.decode("utf-8", errors="replace" if is_cut else "strict").rstrip("\r\n")
    if len(line) > MAX_LINE_CHARACTERS:
        raise InputError(f"{where}: longer than {MAX_LINE_CHARACTERS:,} characters, the limit")
    return line


def _of_tsv(path: Path, needed: Sequence[str], broken_share: float) -> Iterator[Row]:
    lines = _lines_of(path)
    _, header = next(lines, ("", ""))
    if not header:
        raise InputError(f"{path}: the file is empty; needed: a header line, then the examples")
    columns, broken = header.split("\t"), 0
    for name in needed:
        _check_column(columns, name, path)
    for rows, (where, line) in enumerate(lines, 1):
        fields = line.split("\t")
        if len(fields) == len(columns):
            yield where, dict(zip(columns, fields, strict=True))
            continue
        broken += 1
        if not broken_share:
            raise InputError(f"{where}: {len(fields)} fields; the header has {len(columns)}")
        if broken > max(1, broken_share * max(rows, FEWEST_LINES)):
            raise InputError(
                f"{where}: {len(fields)} fields; the header has {len(columns)}, and {broken} of "
                f"{rows} lines differ from it"
            )
        yield where, {}


def _check_column(columns: Sequence[str], name: str, path: Path) -> None:
    if name not in columns:
        got = ", ".join(repr(c[:40]) for c in columns[:8])
        raise InputError(
            f"{path}: line 1: no column {name!r} in the header, got {got}; "
            "set data.source_column and data.target_column, or add a header line"
        )
    if columns.count(name) > 1:
        raise InputError(f"{path}: line 1: {columns.count(name)} columns are named {name!r}")


def _of_jsonl(path: Path) -> Iterator[Row]:
    for where, line in _lines_of(path):
        with refusing(f"{where}: not JSON", ValueError, RecursionError):
            row = json.loads(line)
        if not isinstance(row, dict):
            raise InputError(f"{where}: must be a JSON object, got {line[:40]!r}")
        yield where, row


# ---------------------------------------------------------------- datasets


def _of_dataset(corpus: str, split: str, subset: str | None, key: str) -> tuple[str, Iterator[Row]]:
    """Return a split's name and rows, with classes by name."""
    from datasets import ClassLabel, get_dataset_split_names, load_dataset

    if not Path(corpus).is_dir():
        check_reachable(corpus, "dataset", key)
    else:
        check_all_regular(Path(corpus), f"{key}: {corpus}")
    with refusing(f"{key}: cannot load {corpus!r}"):
        available = get_dataset_split_names(corpus, subset)
        name = next((s for s in HUB_SPLITS[split] if s in available), None)
        rows = None if name is None else load_dataset(corpus, subset, split=name)
    if rows is None:
        raise InputError(
            f"{key}: {corpus!r} has no split for {split}; looked for "
            f"{', '.join(HUB_SPLITS[split])}, got {', '.join(available)}"
        )
    classes = {n: f.names for n, f in rows.features.items() if isinstance(f, ClassLabel)}
    where = f"{corpus}: {name}"
    return where, (
        (f"{where}: row {number}", row | {n: _class(row[n], c) for n, c in classes.items()})
        for number, row in enumerate(rows)
    )


class ClassName(str):
    """The name of a class of a hub dataset, which knows all names in the dataset's order."""

    names: tuple[str, ...]


def _class(value: Any, names: Sequence[str]) -> Any:
    """Return the name of a class; none for -1, which means no class."""
    if not isinstance(value, int) or not 0 <= value < len(names):
        return None if value == -1 else value
    name = ClassName(names[value])
    name.names = tuple(names)
    return name
