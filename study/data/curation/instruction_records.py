"""Instruction records: an input, an output, and the template that wrote the input."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.data.origins import Row, check_unicode, rows_of, text_field
from study.errors import InputError

NO_TEMPLATE = "(none)"
"""The stratum of records that name no template."""


@dataclass(frozen=True)
class Record:
    """One instruction and its answer."""

    number: int  # counted from 1 in the order read
    source: str
    target: str
    template: str = NO_TEMPLATE


@dataclass(frozen=True)
class Columns:
    """The columns to read; a dotted name reaches into nested objects."""

    inputs: tuple[str, ...] = ("input",)  # joined by an empty line, as instruction and context
    output: str = "output"
    template: str = "template_name"


def read_records(
    origin: str, columns: Columns = Columns(), subset: str | None = None
) -> tuple[Record, ...]:
    """Read a JSONL file, or the training split of a dataset on the hub or in a folder.

    Raises:
        InputError: with the file, the line and the rule.
    """
    path = Path(origin)
    is_file = path.suffix.lower() == ".jsonl" or path.is_file()
    if is_file and subset is not None:
        raise InputError(
            f"subset: applies only to a hub dataset, got {subset!r} for the file {path}"
        )
    if path.is_file() and path.suffix.lower() != ".jsonl":
        raise InputError(
            f"{path}: unknown file type, got {path.suffix!r}; allowed: .jsonl, a hub dataset"
        )
    _, rows = rows_of(path if is_file else origin, subset=subset, key="records")
    return records_of(rows, columns, origin)


def records_of(
    rows: Iterable[Row], columns: Columns, origin: str = "records"
) -> tuple[Record, ...]:
    """Return rows, each with its place, as records.

    Raises:
        InputError: a row lacks a column or has no text in it, or there are no rows.
    """
    records = tuple(
        _record(number, row, columns, where) for number, (where, row) in enumerate(rows, 1)
    )
    if not records:
        raise InputError(f"{origin}: contains no records; allowed: at least two")
    is_named = columns.template != Columns.template
    if is_named and all(record.template == NO_TEMPLATE for record in records):
        raise InputError(f"{origin}: no record has a template column {columns.template!r}")
    return records


def fingerprint(records: Sequence[Record]) -> str:
    """Return the SHA-256 of the records' content, in the order read."""
    digest = hashlib.sha256()
    for record in records:
        digest.update("\0".join((record.source, record.target, record.template, "")).encode())
    return digest.hexdigest()


def _record(number: int, row: Mapping[str, Any], columns: Columns, where: str) -> Record:
    parts = [text_field(row, name, where).strip() for name in columns.inputs]
    target = text_field(row, columns.output, where).strip()
    template = row.get(columns.template)
    if not isinstance(template, (str, int, type(None))):
        raise InputError(f"{where}: {columns.template}: must be text, got {template!r:.60}")
    name = NO_TEMPLATE if template is None else str(template).strip() or NO_TEMPLATE
    record = Record(number, "\n\n".join(part for part in parts if part), target, name)
    check_unicode(record.source + record.target + record.template, f"{where}:")
    return record
