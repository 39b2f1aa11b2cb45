"""Read labelled sentence pairs: GLUE's own files, hub datasets, TSV, JSONL, or embedded ones.

Columns are found by the header: every published layout of MNLI and QQP is recognised; the study
file names others.  As in GLUE's own readers, unusable rows are left out and counted: those without
a label, with an empty sentence, or from a broken line.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from study.data.embedded import SentencePair, pair_corpus
from study.data.origins import Row, origins_of, rows_of
from study.data.readers import Corpus
from study.errors import Faults, InputError
from study.spec.sections import DataSpec

NLI = ("entailment", "neutral", "contradiction")
PARAPHRASE = ("not_duplicate", "duplicate")


@dataclass(frozen=True)
class Layout:
    """The columns of both sentences and the label, and the meaning of the label's numbers."""

    first: str
    second: str
    label: str
    labels: tuple[str, ...] = ()


LAYOUTS = (
    Layout("sentence1", "sentence2", "gold_label", NLI),  # MultiNLI's and GLUE's files
    Layout("premise", "hypothesis", "label", NLI),  # the hub's
    Layout("question1", "question2", "is_duplicate", PARAPHRASE),  # GLUE's file
    Layout("question1", "question2", "label", PARAPHRASE),  # the hub's
    Layout("sentence1", "sentence2", "label"),
)
UNLABELLED = {"-", "-1", ""}
"""Stands for a label that the annotators did not agree on, or that is kept secret."""
BROKEN_SHARE = 0.01
"""The share of a file's lines that may have too many or too few fields; QQP has a few."""


def load_sentence_pairs(data: DataSpec) -> Corpus[SentencePair]:
    """Read what `[data]` names; InputError with one line per problem."""
    if data.origin == "embedded":
        return _embedded(data.subset or "mnli", data.seed)
    skipped: Counter[str] = Counter()
    faults, raw = Faults(), dict[str, list[_Raw]]()
    for split, origin in origins_of(data).items():
        with faults.collected():
            rows = rows_of(origin, split, subset=data.subset, broken_share=BROKEN_SHARE)
            raw[split] = list(_raw(*rows, data, skipped))
    faults.refuse()
    labels = data.labels or _labels([row for rows in raw.values() for row in rows])
    _check_distinct(labels)
    read = {split: tuple(_named(row, labels) for row in rows) for split, rows in raw.items()}
    return Corpus(
        read["train"],
        read["dev"],
        read.get("general", ()),
        read.get("test", ()),
        labels=labels,
        skipped=dict(skipped),
    )


@cache
def _embedded(subset: str, seed: int) -> Corpus[SentencePair]:
    corpus = pair_corpus(subset, seed)
    labels = NLI if subset == "mnli" else PARAPHRASE
    return Corpus(corpus.train, corpus.dev, test=corpus.test, labels=labels)


# ---------------------------------------------------------------- rows


@dataclass(frozen=True)
class _Raw:
    """A row whose label is not interpreted yet."""

    where: str
    first: str
    second: str
    label: str
    layout_labels: tuple[str, ...]  # the layout's labels


def _raw(where: str, rows: Iterator[Row], data: DataSpec, skipped: Counter[str]) -> Iterator[_Raw]:
    layout: Layout | None = None
    count = 0
    for place, row in rows:
        if not row:
            skipped["broken lines"] += 1
            continue
        layout = layout or _layout(list(row), data, place)
        pair = _row(row, layout, place)
        reason = _unusable(pair)
        if reason:
            skipped[reason] += 1
            continue
        count += 1
        yield pair
    if not count:
        raise InputError(f"{where}: contains no labelled pairs; allowed: at least one")


def _layout(columns: Sequence[str], data: DataSpec, where: str) -> Layout:
    """Return the layout that the study file names, or the first known layout that fits."""
    named = Layout(data.source_column, data.target_column, data.label_column or "label")
    for layout in (named, *LAYOUTS):
        if {layout.first, layout.second, layout.label} <= set(columns):
            return layout
    got = ", ".join(repr(c[:40]) for c in columns[:12])
    raise InputError(
        f"{where}: no columns of sentence pairs, got {got}; allowed: "
        + "; ".join(f"{layout.first}, {layout.second}, {layout.label}" for layout in LAYOUTS)
        + "; or set data.source_column, data.target_column and data.label_column"
    )


def _row(row: Mapping[str, Any], layout: Layout, where: str) -> _Raw:
    values = {}
    for name in (layout.first, layout.second, layout.label):
        if name not in row:
            raise InputError(f"{where}: no field {name!r}, got {', '.join(map(repr, row))[:80]}")
        values[name] = row[name]
    sides = []
    for name in (layout.first, layout.second):
        if not isinstance(values[name], str):
            raise InputError(f"{where}: {name}: must be text, got {values[name]!r:.60}")
        sides.append(values[name].strip())
    label = values[layout.label]
    if not isinstance(label, (str, int)):
        raise InputError(f"{where}: {layout.label}: must be text or a number, got {label!r:.60}")
    text = label.strip() if isinstance(label, str) else str(int(label))
    return _Raw(where, sides[0], sides[1], text, layout.labels)


def _unusable(row: _Raw) -> str:
    if row.label in UNLABELLED:
        return "rows without a label"
    return "" if row.first and row.second else "rows with an empty sentence"


# ---------------------------------------------------------------- labels


def _labels(rows: Sequence[_Raw]) -> tuple[str, ...]:
    """Return the labels in order: the layout's own order if they are its labels, else sorted."""
    labels, used = rows[0].layout_labels, {row.label for row in rows}
    if labels and used <= {*labels, *map(str, range(len(labels)))}:
        return labels
    return tuple(
        sorted(used, key=lambda label: (len(label), label) if label.isdigit() else (0, label))
    )


def normal_label(label: str) -> str:
    """Return a label as it is compared with a model's: without case, with underscores."""
    return label.strip().lower().replace("-", "_").replace(" ", "_")


def _check_distinct(labels: Sequence[str]) -> None:
    """Refuse labels that are probably one: a model's outputs could not tell them apart."""
    spelled: dict[str, list[str]] = {}
    for label in labels:
        spelled.setdefault(normal_label(label), []).append(label)
    problems = [
        f"data: labels {' and '.join(map(repr, same))} differ only in case or in spaces, hyphens "
        "and underscores; write each label in one way"
        for same in spelled.values()
        if len(same) > 1
    ]
    if problems:
        raise InputError(problems)


def _named(row: _Raw, labels: Sequence[str]) -> SentencePair:
    """Return the pair with its label by name; a number is an index into the labels."""
    if row.label in labels:
        return SentencePair(row.first, row.second, row.label)
    if row.label.isdigit() and int(row.label) < len(labels):
        return SentencePair(row.first, row.second, labels[int(row.label)])
    raise InputError(
        f"{row.where}: label {row.label[:40]!r} is not one of the study's; allowed: "
        f"{', '.join(labels)}, or their numbers from 0"
    )
