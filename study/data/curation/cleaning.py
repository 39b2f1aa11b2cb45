"""Cleaning: remove records that are empty, too short, too long or duplicates."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from study.data.curation.instruction_records import Record

CountTokens = Callable[[Sequence[str]], list[int]]
SENTENCE_MARKS = re.compile(r"[.,;:!?…\"'«»“”‘’]+(?=\s|$)|(?:(?<=\s)|^)[\"'«»“”‘’]+")
"""Punctuation at the ends of words, which is ignored; within a number it counts."""


@dataclass(frozen=True)
class Dropped:
    """A record that was left out, and why."""

    record: Record
    reason: str


@dataclass(frozen=True)
class Lengths:
    """How long a record's texts may be."""

    min_characters: int = 1  # of the input
    max_characters: int | None = None  # of the input and of the output
    max_tokens: int | None = None  # of the input and of the output


def normalised(text: str) -> str:
    """Return a text without case, extra spacing and punctuation at the ends of words.

    Unicode is composed (NFC) and case-folded.  A text of nothing but punctuation keeps it.
    """
    folded = " ".join(unicodedata.normalize("NFC", text).casefold().split())
    return " ".join(SENTENCE_MARKS.sub(" ", folded).split()) or folded


def clean(
    records: Sequence[Record], lengths: Lengths, count_tokens: CountTokens | None
) -> tuple[list[Record], list[Dropped]]:
    """Return the records kept, and those dropped with a reason; of duplicates, the first stays."""
    reasons = [_misfit(record, lengths) for record in records]
    if lengths.max_tokens is not None and count_tokens is not None:
        _add_token_misfits(records, reasons, lengths.max_tokens, count_tokens)
    _add_duplicates(records, reasons)
    fates = list(zip(records, reasons, strict=True))
    kept = [record for record, reason in fates if not reason]
    return kept, [Dropped(record, reason) for record, reason in fates if reason]


def _misfit(record: Record, lengths: Lengths) -> str:
    if not record.source:
        return "empty input"
    if not record.target:
        return "empty output"
    if len(record.source) < lengths.min_characters:
        return f"input under {lengths.min_characters:,} characters"
    longest = max(len(record.source), len(record.target))
    if lengths.max_characters is not None and longest > lengths.max_characters:
        return f"over {lengths.max_characters:,} characters"
    return ""


def _add_token_misfits(
    records: Sequence[Record], reasons: list[str], most: int, count_tokens: CountTokens
) -> None:
    """Set the reason of records with more tokens than allowed, in place."""
    left = [i for i, reason in enumerate(reasons) if not reason]
    sources = count_tokens([records[i].source for i in left])
    targets = count_tokens([records[i].target for i in left])
    for i, source, target in zip(left, sources, targets, strict=True):
        if max(source, target) > most:
            reasons[i] = f"over {most:,} tokens"


def _add_duplicates(records: Sequence[Record], reasons: list[str]) -> None:
    """Set the reason of every record that repeats an earlier one, in place."""
    exact: set[tuple[str, str]] = set()
    near: set[tuple[str, str]] = set()
    for i, record in enumerate(records):
        if reasons[i]:
            continue
        as_is = (record.source, record.target)
        alike = (normalised(record.source), normalised(record.target))
        if as_is in exact:
            reasons[i] = "exact duplicate"
        elif alike in near:
            reasons[i] = "near duplicate"
        exact.add(as_is)
        near.add(alike)
