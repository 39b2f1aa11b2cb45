"""The folder that a curation writes: complete, or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from study.data.curation.instruction_records import Record
from study.data.curation.selection import Curation
from study.data.curation.tokens import ChatTokens, conversation
from study.errors import InputError, writing
from study.store.folders import appearing_whole, sha256


def check_free(folder: Path) -> None:
    """Raise InputError if `folder` exists and is not empty: nothing is overwritten."""
    if folder.resolve() == Path.cwd():
        raise InputError(f"--out: {folder} is the working folder; name a new or empty folder")
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if folder.exists() or folder.is_symlink():
        raise InputError(f"--out: {folder} exists already; name a new or empty folder")


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Yield an unfinished folder, which becomes `folder` if nothing fails.

    Raises:
        InputError: it cannot be written.
    """
    with writing(f"--out: {folder}"), appearing_whole(folder) as unfinished:
        yield unfinished
        check_free(folder)
        if folder.is_dir():
            folder.rmdir()


def write_splits(folder: Path, curation: Curation, system: str) -> None:
    """Write the splits for a study and as ShareGPT conversations, and the dropped records."""
    (folder / "sharegpt").mkdir()
    for name, part in curation.splits.items():
        write_jsonl(folder / f"{name}.jsonl", (_row(record, curation) for record in part))
        turns = (conversation(record, system) for record in part)
        write_jsonl(folder / "sharegpt" / f"{name}.jsonl", turns)
    ordered = sorted(curation.dropped, key=lambda dropped: dropped.record.number)
    reasons = ({"record": d.record.number, "reason": d.reason} | _texts(d.record) for d in ordered)
    write_jsonl(folder / "dropped.jsonl", reasons)


def write_tokens(
    folder: Path, name: str, records: Iterable[Record], tokens: ChatTokens
) -> list[int]:
    """Write one split's tokens as Parquet, for `datasets`; return their lengths."""
    import pyarrow as pa  # type: ignore[import-untyped]
    from pyarrow import parquet

    columns = pa.schema([(side, pa.list_(pa.int32())) for side in ("input_ids", "labels")])
    rows = list(tokens.rows(tuple(records)))
    (folder / "tokens").mkdir(exist_ok=True)
    table = pa.Table.from_pylist(rows, schema=columns)
    parquet.write_table(table, folder / "tokens" / f"{name}.parquet")
    return [len(row["input_ids"]) for row in rows]


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one object per line."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file: path in the folder -> digest."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256(path) for path in paths}


def _row(record: Record, curation: Curation) -> dict[str, Any]:
    cluster = curation.cluster_of[record.number] + 1
    return _texts(record) | {"cluster": cluster, "record": record.number}


def _texts(record: Record) -> dict[str, str]:
    sides = {"source": record.source, "target": record.target}
    return sides | {"template_name": record.template}
