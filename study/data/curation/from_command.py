"""What `optuna-study curate` does: read, select, and write a folder with a study file."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tomli_w

from study.bases.safe_weights import holds_weights
from study.data.curation.embedding import Encoder, tfidf
from study.data.curation.folder import (
    check_free,
    hashes,
    whole_folder,
    write_splits,
    write_tokens,
)
from study.data.curation.instruction_records import Columns, Record, fingerprint, read_records
from study.data.curation.report_page import page
from study.data.curation.selection import Choices, Curation, StageCallback, curate
from study.data.curation.summary import summary
from study.data.curation.tokens import ChatTokens
from study.errors import InputError
from study.store.folders import sha256

LIBRARIES = ("optuna-study", "scikit-learn", "numpy")
WITH_A_MODEL = ("transformers", "tokenizers", "torch")
STUDY_FILE = "study.toml"
STAND_IN = "# the embedded model is a placeholder: name yours, or use curate --tokenizer\n"
BLOCK = 16
"""Tokens that masked diffusion generates at a time; answer lengths are multiples of it."""
STUDY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class CurationOrder:
    """What the command line asks for."""

    records: str  # a JSONL file, or a hub dataset's name
    out: Path
    columns: Columns = field(default_factory=Columns)
    subset: str | None = None  # of a hub dataset
    system: str = ""
    tokenizer: str | None = None
    encoder: str | None = None
    choices: Choices = field(default_factory=Choices)

    def __post_init__(self) -> None:
        """Refuse text that a report cannot contain: bytes from a terminal that are not UTF-8."""
        for name in ("records", "out", "system", "tokenizer", "encoder"):
            given = str(getattr(self, name))
            if not given.isascii() and given != given.encode(errors="replace").decode():
                raise InputError(f"{name}: must be Unicode text, got {given!r:.60}")


def curate_to_folder(order: CurationOrder, progress: StageCallback) -> dict[str, Any]:
    """Curate into a new folder; return the content of its report.json.

    Raises:
        InputError: the records, a model or the folder cannot be used.
    """
    check_free(order.out)
    progress("reading", 0, 0)
    records = read_records(order.records, order.columns, order.subset)
    tokens = ChatTokens(order.tokenizer, order.system) if order.tokenizer else None
    curation = curate(
        records,
        order.choices,
        embed=Encoder(order.encoder) if order.encoder else tfidf,
        count_tokens=tokens.count if tokens else None,
        progress=progress,
    )
    with whole_folder(order.out) as folder:
        write_splits(folder, curation, order.system)
        measured = _write_tokens(folder, curation, tokens, progress)
        study_file = _study_file(order, tokens, measured)
        (folder / STUDY_FILE).write_text(study_file, encoding="utf-8")
        report = _report(order, records, curation, measured) | {"files": hashes(folder)}
        as_json = json.dumps(report, indent=1, ensure_ascii=False)
        (folder / "report.json").write_text(as_json + "\n", encoding="utf-8")
        (folder / "REPORT.md").write_text(page(report), encoding="utf-8")
    return report


def _write_tokens(
    folder: Path, curation: Curation, tokens: ChatTokens | None, progress: StageCallback
) -> dict[str, int]:
    """Write every split's tokens; return statistics of their lengths."""
    if tokens is None:
        return {}
    lengths: list[int] = []
    for name, part in curation.splits.items():
        progress("tokenising", len(lengths), curation.selected)
        lengths += write_tokens(folder, name, part, tokens)
    selected = [record for part in curation.splits.values() for record in part]
    return {
        "tokens": sum(lengths),
        "longest_dialogue": max(lengths),
        "longest_input": max(tokens.count([record.source for record in selected])),
        "longest_output": max(tokens.count([record.target for record in selected])),
    }


def _report(
    order: CurationOrder,
    records: tuple[Record, ...],
    curation: Curation,
    measured: Mapping[str, int],
) -> dict[str, Any]:
    path = Path(order.records)
    libraries = LIBRARIES + (WITH_A_MODEL if order.tokenizer or order.encoder else ())
    return {
        "records": order.records,
        "input_sha256": sha256(path) if path.is_file() else fingerprint(records),
        **summary(records, curation),
        "encoder": order.encoder or "TF-IDF",
        "system": order.system,
        "tokenizer": order.tokenizer,
        "tokens": dict(measured),
        "versions": {"python": platform.python_version()} | {n: version(n) for n in libraries},
    }


def _study_file(
    order: CurationOrder, tokens: ChatTokens | None, measured: Mapping[str, int]
) -> str:
    """Return a study file for the curated data, with the tokenizer's model if there is one."""
    files = {name: f"{name}.jsonl" for name in ("train", *order.choices.shares)}
    document: dict[str, Any] = {
        "name": order.out.name if STUDY_NAME.fullmatch(order.out.name) else "curated",
        "task": "causal_translation",
        "base": {"model": _model_of(order.tokenizer)},
        "data": {**files, "instruction": order.system},
        "evaluation": {"objective": "chrf"},
    }
    if tokens is None:
        return STAND_IN + tomli_w.dumps(document)
    _widen(document, tokens, measured)
    return tomli_w.dumps(document)


def _widen(document: dict[str, Any], tokens: ChatTokens, measured: Mapping[str, int]) -> None:
    """Raise a study's limits in place so that no text is cut."""
    longest = measured["longest_output"]
    document["data"]["max_tokens"] = max(4, longest, measured["longest_input"])
    if tokens.is_masked:
        length = BLOCK * (longest // BLOCK + 1)
        document["task"] = "masked_diffusion"
        document["diffusion"] = {"length": length, "steps": length, "block_length": BLOCK}
    else:
        document["data"]["stop_token"] = tokens.stop
        document["evaluation"]["max_new_tokens"] = longest + 1


def _model_of(tokenizer: str | None) -> str:
    """Return the model that a tokenizer belongs to; a folder by its absolute path."""
    if tokenizer is None or not Path(tokenizer).is_dir():
        return tokenizer or "embedded"
    folder = Path(tokenizer).resolve()
    return str(folder) if holds_weights(folder) else "embedded"
