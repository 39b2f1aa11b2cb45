"""Read rows of examples from a file, a folder saved by `datasets`, or a hub dataset.

Each row comes with the place it was read from; every error about the row begins with it.
"""

from __future__ import annotations

import codecs
import csv
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from itertools import islice
from pathlib import Path
from typing import Any

from study.bases.hub import check_reachable
from study.errors import Faults, InputError, reason_of, refusing
from study.spec.base_and_data import DataSpec
from study.spec.files import read_text
from study.store.folders import check_all_regular, check_regular

MAX_LINE_CHARACTERS = 100_000
MAX_OBJECT_CHARACTERS = 10_000_000
"""The longest line of a JSONL file: a conversation of a million tokens would fit."""
SAVED = ("dataset_dict.json", "state.json")  # one of them is in a folder saved by `datasets`
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
"""What may separate the fields of a CSV file; spreadsheets of many languages write semicolons."""
SNIFFED_ROWS = 1000  # that another separator must split evenly
EVEN = 0.9  # of them have as many fields as the header, where the others are mistakes
FILE_TYPES = ".tsv, .csv, .jsonl, .json, .parquet, or a folder saved by datasets"
WHOLE = "all rows"  # the name of the one table of a folder without splits
BATCH_ROWS = 1000
UNPACKED, TIMES = 2**28, 200  # the most bytes that a packed file's rows may have: of any, per byte
ROW = 100  # bytes that a row takes at least
BOM = b"\xef\xbb\xbf"
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*')  # the first line of some spreadsheets
HUB_SPLITS = {"train": ("train",), "dev": ("validation", "validation_matched", "dev", "test")}
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
    key: str = "data.corpus",
    faults: Faults | None = None,
) -> tuple[str, Iterator[Row]]:
    """Return the name of a split for messages, and its rows.

    Args:
        origin: The path of a file, or the name of a dataset on the hub or in a local folder.
        split: `train` or `dev`, for a dataset.
        subset: The configuration of a dataset that has several.
        columns: What the header of a TSV or CSV file must name.
        key: The option that names the dataset, for messages.
        faults: Collects the invalid lines of a table or JSONL file and the invalid rows of a JSON
            file; without it, the first one is raised.

    Raises:
        InputError: there is no such file or dataset; while iterating, a row is invalid.
    """
    if isinstance(origin, str):
        return _of_dataset(origin, split, subset, key)
    if is_saved(origin):
        return _of_dataset(str(origin), split, subset, f"data.{split}", may_be_whole=True)
    match origin.suffix.lower():
        case ".tsv":
            records = _tsv_records(origin)
            return str(origin), _of_table(origin, records, columns, faults)
        case ".csv":
            records = _csv_records(origin)
            return str(origin), _of_table(origin, records, columns, faults)
        case ".jsonl":
            return str(origin), _of_jsonl(origin, faults)
        case ".json":
            return str(origin), _of_json(origin, faults)
        case ".parquet":
            return str(origin), _of_parquet(origin)
    if origin.is_dir():
        raise InputError(
            f"{origin}: no file, and not saved by datasets, which writes {' or '.join(SAVED)}, got "
            f"{_files_in(origin)}; allowed: {FILE_TYPES}"
        )
    raise InputError(f"{origin}: unknown file type, got {origin.suffix!r}; allowed: {FILE_TYPES}")


def _files_in(folder: Path) -> str:
    """Return the first names in a folder, for a message."""
    names = sorted(path.name for path in folder.iterdir())
    if not names:
        return "an empty folder"
    more = f" and {len(names) - 6:,} more" if len(names) > 6 else ""
    return f"a folder with {', '.join(name[:40] for name in names[:6])}{more}"


def place_of_columns(where: str, place: str) -> str:
    """Return where the columns of a file's first row are named: a table has them in its header."""
    return f"{where}: line 1" if where.lower().endswith((".tsv", ".csv")) else place


def spelled(columns: Iterable[str], wanted: Sequence[str]) -> tuple[str, ...] | None:
    """Return wanted columns as a file spells them, whatever their case; None if one is missing.

    Those of just this spelling come first; others must be unambiguous.
    """
    named: dict[str, list[str]] = {}
    for name in columns:
        named.setdefault(name.lower(), []).append(name)
    found = [(name, named.get(name.lower(), [])) for name in wanted]
    if any(name not in alike and len(alike) != 1 for name, alike in found):
        return None
    return tuple(name if name in alike else alike[0] for name, alike in found)


def check_field(row: Mapping[str, Any], name: str, where: str) -> Any:
    """Return a field, or raise InputError; a dotted name reaches into nested objects."""
    value: Any = row
    for part in [name] if name in row else name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise InputError(f"{where}: no field {name!r}, got {', '.join(map(repr, row))[:80]}")
        value = value[part]
    return value


def text_field(row: Mapping[str, Any], name: str, where: str) -> str:
    """Return a text field, or raise InputError; a dotted name reaches into nested objects."""
    value = check_field(row, name, where)
    if not isinstance(value, str):
        raise InputError(f"{where}: {name}: must be text, got {value!r:.60}")
    return value


HALF_A_PAIR = re.compile("[\ud800-\udfff]")


def check_unicode(text: str, what: str) -> str:
    """Return a text; raise InputError, which begins with `what`, if UTF-8 cannot write it."""
    if HALF_A_PAIR.search(text):
        raise InputError(f"{what} contains half a surrogate pair; must be Unicode text")
    return text


def bad_rows(faults: Faults, where: str, data: DataSpec) -> dict[str, int]:
    """Return the number of faulty rows to leave out, by reason; none if there are none.

    Raises:
        InputError: with the faults and what to do, unless `data.bad_rows` leaves such rows out.
    """
    if data.bad_rows == "drop":
        first = "".join(faults.problems[:1]).removeprefix(f"{where}: ")
        return {f"faulty rows (first: {first})": len(faults.problems)} if faults.problems else {}
    try:
        faults.refuse(where)
    except InputError as error:
        *others, last = error.problems
        drop = "data.bad_rows = 'drop' (init: --drop-bad-rows)"
        cure = f"{last}; correct the rows, or leave them out with {drop}"
        raise InputError([*others, cure]) from None
    return {}


def group_of(row: Mapping[str, Any], data: DataSpec, where: str) -> str:
    """Return what a row belongs to: the value in `data.group`, empty if the study names none.

    Raises:
        InputError: the row has no such field, or neither text nor a number in it.
    """
    if data.group is None:
        return ""
    value = row.get(data.group)
    if isinstance(value, bool) or not isinstance(value, (str, int, float)) or value in ("", None):
        got = f"got {value!r:.60}" if data.group in row else f"got {', '.join(map(repr, row))[:80]}"
        raise InputError(f"{where}: data.group: {data.group}: must be text or a number, {got}")
    return str(value)


# ---------------------------------------------------------------- files


def _lines_of(path: Path, most: int = MAX_LINE_CHARACTERS) -> Iterator[tuple[str, str]]:
    """Yield (where, line) of lines that are not empty; refuse binary files and longer lines."""
    for where, line in _whole_lines(path, most):
        if stripped := line.rstrip("\r\n"):
            yield where, stripped


def _whole_lines(path: Path, most: int) -> Iterator[tuple[str, str]]:
    """Yield (where, line) with line ends, of UTF-8 or of UTF-16 with its mark."""
    check_regular(path)
    # ValueError: a NUL in the path
    with (
        refusing(f"{path}: cannot read the file", OSError, ValueError),
        path.open("rb") as file,
    ):
        if file.read(2) in UTF_16:
            yield from _utf_16_lines(path, most)
            return
        file.seek(0)
        # never read a whole file as one line; UTF-8 takes at most four bytes per character
        limited = iter(lambda: file.readline(4 * most + 2), b"")
        for number, raw in enumerate(limited, 1):
            where = f"{path}: line {number}"
            yield where, _text(raw.removeprefix(BOM) if number == 1 else raw, where, most)


def _utf_16_lines(path: Path, most: int) -> Iterator[tuple[str, str]]:
    with (
        refusing(f"{path}: not UTF-16, as its first bytes say", UnicodeError),
        path.open(encoding="utf-16", newline="\n") as file,
    ):
        for number, line in enumerate(iter(lambda: file.readline(most + 2), ""), 1):
            where = f"{path}: line {number}"
            yield where, _not_too_long(line, where, most)


def _text(raw: bytes, where: str, most: int) -> str:
    if b"\0" in raw:
        raise InputError(f"{where}: contains a NUL byte; must be a text file")
    is_cut = len(raw) > 4 * most  # perhaps within a character
    with refusing(f"{where}: not UTF-8", UnicodeDecodeError, reason=_with_iconv):
        line = raw.decode("utf-8", errors="replace" if is_cut else "strict")
    return _not_too_long(line, where, most)


def _with_iconv(error: Exception) -> str:
    return f"{reason_of(error)}; convert the file, as by iconv -f cp1252 -t utf-8 OLD > NEW"


def _not_too_long(line: str, where: str, most: int) -> str:
    if len(line.rstrip("\r\n")) > most:
        raise InputError(f"{where}: longer than {most:,} characters, the limit")
    return line


def _tsv_records(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield (where, fields) of a file without quoting."""
    for where, line in _lines_of(path):
        yield where, line.split("\t")


def separator_of(path: Path) -> str:
    """Return what separates the fields of a CSV file.

    It is what a first line such as `sep=;` says.  Otherwise it is the comma, unless the header then
    has one column and another sign splits it, and nearly all of the first rows alike: the others
    are mistakes, which the reader names.
    """
    if stated := _stated_separator(path):
        return stated
    if len(next(_separated(path, ","), ("", []))[1]) != 1:
        return ","
    for sign in [*SEPARATORS][1:]:
        counts = []
        with suppress(InputError):  # such as a quote that is never closed, which the reader names
            for _, fields in islice(_separated(path, sign), SNIFFED_ROWS):
                counts.append(len(fields))
        if counts and counts[0] > 1 and counts.count(counts[0]) >= EVEN * len(counts):
            return sign
    return ","


def _stated_separator(path: Path) -> str:
    """Return what a first line such as `sep=;` says, else an empty text."""
    _, first = next(_whole_lines(path, MAX_OBJECT_CHARACTERS), ("", ""))
    found = SEPARATOR_LINE.fullmatch(first)
    return found[1] if found else ""


def _csv_records(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield (where, fields) of a file in the separators that it has."""
    records = _separated(path, separator_of(path))
    yield from islice(records, 1 if _stated_separator(path) else 0, None)


def _separated(path: Path, sign: str) -> Iterator[tuple[str, list[str]]]:
    """Yield (where, fields): the first line of a record, whose quoted fields may have several."""
    lines = (line for _, line in _whole_lines(path, MAX_OBJECT_CHARACTERS))
    records = csv.reader(lines, strict=True, delimiter=sign)
    while True:
        where = f"{path}: line {records.line_num + 1}"
        with refusing(f"{where}: not CSV", csv.Error, reason=_csv_reason):
            fields = next(records, None)
        if fields is None:
            return
        if fields:
            yield where, fields


def _csv_reason(error: Exception) -> str:
    is_open = "unexpected end of data" in str(error)
    return "a quote that begins here is never closed" if is_open else str(error)


def _of_table(
    path: Path,
    records: Iterator[tuple[str, list[str]]],
    needed: Sequence[str],
    faults: Faults | None,
) -> Iterator[Row]:
    _, columns = next(records, ("", []))
    if not columns:
        raise InputError(f"{path}: the file is empty; needed: a header line, then the examples")
    for name in needed:
        _check_column(columns, name, path)
    for where, fields in records:
        with faults.collected() if faults else nullcontext():
            if len(fields) != len(columns):
                count = "1 field" if len(fields) == 1 else f"{len(fields)} fields"
                hint = "; in a TSV quotes are text: name a file with quoted line breaks .csv"
                opened = path.suffix.lower() == ".tsv" and any(f[:1] == '"' for f in fields)
                raise InputError(
                    f"{where}: {count}; the header has {len(columns)}{hint if opened else ''}"
                )
            yield where, dict(zip(columns, fields, strict=True))


def _check_column(columns: Sequence[str], name: str, path: Path) -> None:
    if name not in columns:
        got = ", ".join(repr(c[:40]) for c in columns[:8])
        raise InputError(
            f"{path}: line 1: no column {name!r} in the header, got {got}; "
            "set data.source_column and data.target_column, or add a header line"
        )
    if columns.count(name) > 1:
        raise InputError(f"{path}: line 1: {columns.count(name)} columns are named {name!r}")


def _of_jsonl(path: Path, faults: Faults | None) -> Iterator[Row]:
    for where, line in _lines_of(path, MAX_OBJECT_CHARACTERS):
        with faults.collected() if faults else nullcontext():
            with refusing(f"{where}: not JSON", ValueError, RecursionError):
                row = json.loads(line)
            yield where, _object(row, where, line)


def _refuse_rows_inside(content: str, path: Path) -> None:
    """Refuse one object whose array holds the rows, as in `{"data": [...]}`."""
    with suppress(ValueError, RecursionError):
        whole = json.loads(content)  # of JSONL with several rows it is none
        for name, rows in whole.items() if isinstance(whole, dict) else ():
            is_rows = isinstance(rows, list) and len(rows) > 0 and isinstance(rows[0], dict)
            if is_rows and not {"role", "from"} & {*rows[0]}:
                raise InputError(
                    f"{path}: must be an array of objects or one object per line, got one object "
                    f"with an array in {name[:40]!r}; save that array alone"
                )


def _of_json(path: Path, faults: Faults | None) -> Iterator[Row]:
    """Yield the rows of an array of objects; a file that begins with an object is JSONL."""
    content = read_text(path)
    if content.lstrip()[:1] != "[":
        _refuse_rows_inside(content, path)
        yield from _of_jsonl(path, faults)
        return
    with refusing(f"{path}: not JSON", ValueError, RecursionError):
        rows = json.loads(content)
    for number, row in enumerate(rows, 1):
        where = f"{path}: row {number}"
        with faults.collected() if faults else nullcontext():
            yield where, _object(row, where, json.dumps(row))


def _object(row: Any, where: str, text: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise InputError(f"{where}: must be a JSON object, got {text[:40]!r}")
    return row


def _of_parquet(path: Path) -> Iterator[Row]:
    check_regular(path)
    if not path.is_file():
        raise InputError(f"{path}: cannot read the file: no such file")
    from pyarrow import parquet  # type: ignore[import-untyped]

    with refusing(f"{path}: not a Parquet file"):
        number, unpacked, most = 0, 0, max(UNPACKED, TIMES * path.stat().st_size)
        with parquet.ParquetFile(path) as file:
            declared = file.metadata
            groups = (declared.row_group(i) for i in range(declared.num_row_groups))
            _check_unpacked(path, sum(group.total_byte_size for group in groups), most)
            for batch in file.iter_batches(BATCH_ROWS):
                unpacked += sum(map(_unpacked, batch.columns)) + ROW * batch.num_rows
                _check_unpacked(path, unpacked, most)
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path}: row {number}", row


def _unpacked(column: Any) -> int:
    """Return the bytes of a column's values, where texts that repeat may be stored once."""
    from pyarrow import compute, types

    if not (types.is_dictionary(column.type) and types.is_string(column.type.value_type)):
        return int(column.nbytes)
    lengths = compute.binary_length(column.dictionary)
    return compute.sum(compute.cast(lengths.take(column.indices), "int64")).as_py() or 0


def _check_unpacked(path: Path, size: int, most: int) -> None:
    if size > most:
        own = path.stat().st_size
        raise InputError(f"{path}: {own:,} bytes that unpack to more than {most:,}, the limit")


# ---------------------------------------------------------------- datasets


def is_saved(folder: Path) -> bool:
    """Return whether a folder was saved by `datasets`."""
    return any(os.path.isfile(folder / name) for name in SAVED)


def has_dev(corpus: str, subset: str | None, key: str = "data.corpus") -> bool:
    """Return whether a dataset has a split for dev."""
    return any(name in HUB_SPLITS["dev"] for name in _splits_of(corpus, subset, key)[0])


def _splits_of(
    corpus: str, subset: str | None, key: str
) -> tuple[Sequence[str], Callable[[str], Any]]:
    """Return the names of a dataset's splits, and what loads one of them."""
    from datasets import Dataset, get_dataset_split_names, load_dataset, load_from_disk

    if not Path(corpus).is_dir():
        check_reachable(corpus, "dataset", key)
    else:
        check_all_regular(Path(corpus), f"{key}: {corpus}")
    is_unsaved = Path(corpus).is_dir() and not is_saved(Path(corpus))
    with (
        refusing(f"{key}: cannot load {corpus!r}"),
        _explained(key, Path(corpus)) if is_unsaved else nullcontext(),
    ):
        if is_saved(Path(corpus)):
            saved = load_from_disk(corpus)
            splits = {WHOLE: saved} if isinstance(saved, Dataset) else dict(saved)
            return list(splits), splits.__getitem__
        names = get_dataset_split_names(corpus, subset)
        return names, lambda name: load_dataset(corpus, subset, split=name)


@contextmanager
def _explained(key: str, folder: Path) -> Iterator[None]:
    """Say what a folder must be, in place of how a library failed to find data in it."""
    try:
        yield
    except FileNotFoundError:  # DataFilesNotFoundError and EmptyDatasetError of datasets are some
        raise InputError(
            f"{key}: {folder}: must be a dataset in a folder, such as files named train.jsonl and "
            f"validation.jsonl, or a folder saved by datasets, got {_files_in(folder)}; or name "
            "one file"
        ) from None


def _of_dataset(
    corpus: str, split: str, subset: str | None, key: str, *, may_be_whole: bool = False
) -> tuple[str, Iterator[Row]]:
    """Return a split's name and rows, with classes by name.

    A folder that holds one table without splits is `train`, or any split if it `may_be_whole`.
    """
    from datasets import ClassLabel

    available, load = _splits_of(corpus, subset, key)
    looked_for = HUB_SPLITS.get(split, (split,))
    if may_be_whole or split == "train":
        looked_for = (*looked_for, WHOLE)
    name = next((s for s in looked_for if s in available), None)
    if name is None:
        raise InputError(
            f"{key}: {corpus!r} has no split for {split}; looked for "
            f"{', '.join(s for s in looked_for if s != WHOLE)}, got {', '.join(available)}"
        )
    with refusing(f"{key}: cannot load {corpus!r}"):
        rows = load(name)
    classes = {n: f.names for n, f in rows.features.items() if isinstance(f, ClassLabel)}
    where = corpus if name == WHOLE else f"{corpus}: {name}"
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
