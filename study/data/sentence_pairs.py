"""Read labelled texts and sentence pairs: GLUE's files, hub datasets, your own, or embedded ones.

Columns are found by the header: every published layout of MNLI and QQP is recognised, and so are
`text` or `sentence` beside `label`; the study file names others.  As in GLUE's own readers, rows
without a label or with an empty text are left out and counted; lines of too many or too few fields,
of which GLUE's file of QQP has a few, are refused like any other faulty row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

from study.data.embedded import SentencePair, pair_corpus
from study.data.labels import (
    HIDDEN,
    check_repeated,
    class_remarks,
    classes_of,
    label_text,
    number_remarks,
    number_text,
)
from study.data.origins import (
    Row,
    bad_rows,
    check_unicode,
    group_of,
    origins_of,
    place_of_columns,
    rows_of,
    spelled,
)
from study.data.readers import Corpus
from study.data.splitting import linked, split_off
from study.errors import Faults, InputError
from study.spec.base_and_data import DEV_SHARE, DataSpec

NLI = ("entailment", "neutral", "contradiction")
PARAPHRASE = ("not_duplicate", "duplicate")


@dataclass(frozen=True)
class Layout:
    """The columns of the text or of both sentences, and of the label; what its numbers mean."""

    first: str
    second: str  # empty for single texts
    label: str
    labels: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns."""
        return tuple(filter(None, (self.first, self.second, self.label)))

    def spelled(self, columns: Sequence[str]) -> Layout | None:
        """Return the layout with the columns as a file spells them; None if one is missing."""
        if (names := spelled(columns, self.columns)) is None:
            return None
        *texts, label = names
        return replace(self, first=texts[0], second="".join(texts[1:]), label=label)


LAYOUTS = (
    Layout("sentence1", "sentence2", "gold_label", NLI),  # MultiNLI's and GLUE's files
    Layout("premise", "hypothesis", "label", NLI),  # the hub's
    Layout("question1", "question2", "is_duplicate", PARAPHRASE),  # GLUE's file
    Layout("question1", "question2", "label", PARAPHRASE),  # the hub's
    Layout("sentence1", "sentence2", "label"),
    Layout("text", "", "label"),
    Layout("sentence", "", "label"),
)
NUMBERED = tuple(
    replace(layout, label=label, labels=())
    for label in ("label", "score")  # GLUE's file of STS-B has the second
    for layout in LAYOUTS
)
DEFAULT_PAIR = tuple(
    str(DataSpec.model_fields[key].default) for key in ("source_column", "target_column")
)
NO_LABEL = {"-", ""}
"""Stands for a label that is missing, or that the annotators did not agree on."""


def load_sentence_pairs(data: DataSpec) -> Corpus[SentencePair]:
    """Read what `[data]` names, with classes as labels; InputError with one line per problem."""
    if data.origin == "embedded":
        return _embedded(data.subset or "mnli", data.seed)
    skipped: Counter[str] = Counter()
    raw, split_remarks, places = _read(data, LAYOUTS, partial(_class_of, data.labels), skipped)
    labels, texts, remarks = classes_of(
        {split: [row.label for row in rows] for split, rows in raw.items()},
        data.labels,
        raw["train"][0].layout.labels,
    )
    faults, named = Faults(), dict[str, list[str]]()
    for split, rows in raw.items():
        named[split] = []
        for row, label in zip(rows, texts[split], strict=True):
            with faults.collected():
                named[split].append(_name(row, label, labels))
    faults.refuse("data")
    remarks += [*split_remarks, *class_remarks(labels, named["train"], named["dev"])]
    return replace(_corpus(raw, named, labels, remarks, skipped), places=places)


def load_scored_texts(data: DataSpec) -> Corpus[SentencePair]:
    """Read what `[data]` names, with numbers as labels; InputError with one line per problem."""
    skipped: Counter[str] = Counter()
    raw, remarks, places = _read(data, NUMBERED, _number_of, skipped)
    numbers = {split: [row.label for row in rows] for split, rows in raw.items()}
    corpus = _corpus(raw, numbers, (), [*remarks, *number_remarks(numbers)], skipped)
    return replace(corpus, places=places)


@cache
def _embedded(subset: str, seed: int) -> Corpus[SentencePair]:
    corpus = pair_corpus(subset, seed)
    labels = NLI if subset == "mnli" else PARAPHRASE
    train, dev = ([pair.label for pair in pairs] for pairs in (corpus.train, corpus.dev))
    remarks = tuple(class_remarks(labels, train, dev))
    return Corpus(corpus.train, corpus.dev, test=corpus.test, labels=labels, remarks=remarks)


def _corpus(
    raw: Mapping[str, Sequence[_Raw]],
    labels: Mapping[str, Sequence[str]],
    classes: tuple[str, ...],
    remarks: Sequence[str],
    skipped: Mapping[str, int],
) -> Corpus[SentencePair]:
    """Return the rows with their labels as examples."""
    read = {
        split: tuple(
            SentencePair(row.first, row.second, str(label), row.group)
            for row, label in zip(rows, labels[split], strict=True)
        )
        for split, rows in raw.items()
    }
    return Corpus(
        read["train"],
        read["dev"],
        read.get("general", ()),
        read.get("test", ()),
        labels=tuple(map(str, classes)),
        skipped=dict(skipped),
        unit="pairs" if read["train"][0].second else "texts",
        remarks=tuple(remarks),
        columns=raw["train"][0].layout.columns,
    )


# ---------------------------------------------------------------- rows


@dataclass(frozen=True)
class _Raw:
    """A row whose label is not interpreted yet."""

    where: str
    first: str
    second: str
    label: str
    layout: Layout
    group: str = ""


LabelOf = Callable[[str, Layout, str], str]
"""A label as it was read, the layout, and the place -> the label, empty if it is missing."""


def _class_of(stated: Sequence[str], label: str, layout: Layout, where: str) -> str:
    """Return the label itself; GLUE's -1 is missing where the classes are known to lack it."""
    text = label.strip()
    if text in stated:
        return label
    is_missing = text in NO_LABEL or (text == HIDDEN and bool(stated or layout.labels))
    return "" if is_missing else label


def _number_of(label: str, layout: Layout, where: str) -> str:
    return "" if label.strip() in NO_LABEL else number_text(label, where, layout.label)


def _read(
    data: DataSpec, layouts: Sequence[Layout], label_of: LabelOf, skipped: Counter[str]
) -> tuple[dict[str, Sequence[_Raw]], list[str], tuple[tuple[str, str], ...]]:
    """Return the usable rows of every split, remarks, and the places of a split by `dev_share`.

    Other rows are counted by their reason.
    """
    faults, raw = Faults(), dict[str, Sequence[_Raw]]()
    for split, origin in origins_of(data).items():
        with faults.collected():
            of_split = Faults()
            where, rows = rows_of(origin, split, subset=data.subset, faults=of_split)
            raw[split] = list(_raw(where, rows, data, layouts, label_of, skipped, of_split))
    faults.refuse()
    by_class = layouts is LAYOUTS
    if by_class and not data.labels:
        check_repeated([row.label for row in raw["train"]], raw["train"][0].layout.label)
    if "dev" in raw:
        return raw, [], ()
    keys, drawn_by = _keys(raw["train"], data.group)
    split_up = split_off(
        raw["train"],
        data.dev_share or DEV_SHARE,
        data.seed,
        keys=keys,
        places=[row.where for row in raw["train"]],
        label=lambda row: row.label.strip() if by_class else None,
        called=("rows", drawn_by),
    )
    raw["train"], raw["dev"] = split_up.train, split_up.dev
    return raw, [split_up.remark], split_up.places


def _keys(rows: Sequence[_Raw], group: str | None) -> tuple[list[str], str]:
    """Return what train and dev must not share, for each row, and what it is called.

    No text, not even in another pair; but whole pairs where nearly all rows are linked by texts
    that they share, as where one question is asked of each.
    """
    if group is not None:
        return [row.group for row in rows], group
    keys = linked([(row.first, row.second or row.first) for row in rows])
    if max(Counter(keys).values()) <= len(rows) / 2:
        return keys, "text"
    return [f"{row.first}\t{row.second}" for row in rows], "pair" if rows[0].second else "text"


def _raw(
    where: str,
    rows: Iterator[Row],
    data: DataSpec,
    layouts: Sequence[Layout],
    label_of: LabelOf,
    skipped: Counter[str],
    faults: Faults,
) -> Iterator[_Raw]:
    """Yield the usable rows; raise InputError with all faults of the others at the end."""
    layout: Layout | None = None
    count = 0
    for place, row in rows:
        layout = layout or _layout(list(row), data, layouts, place_of_columns(where, place))
        with faults.collected():
            read = _row(row, layout, place, label_of)
            if not read.label:
                skipped["rows without a label"] += 1
            elif not read.first or (not read.second and layout.second):
                skipped[f"rows with an empty {'sentence' if layout.second else 'text'}"] += 1
            else:
                count += 1
                yield replace(read, group=group_of(row, data, place))
    skipped.update(bad_rows(faults, where, data))
    if not count:
        unit = "pairs" if layout is None or layout.second else "texts"
        raise InputError(f"{where}: contains no labelled {unit}; allowed: at least one")


def _layout(columns: Sequence[str], data: DataSpec, known: Sequence[Layout], where: str) -> Layout:
    """Return the layout that the study file names, or the first known layout that fits.

    Raises:
        InputError: a column that the study file names is missing, no layout fits, or two do that
            differ in the text.
    """
    label = data.label_column
    pair = (data.source_column, data.target_column)
    text = data.text_column and (data.text_column, data.second_text_column or "")
    named = text or (pair if pair != DEFAULT_PAIR or {*pair} <= {*columns} else None)
    labels = (label,) if label else tuple(dict.fromkeys(["label", *(of.label for of in known)]))
    if named:
        layouts = [Layout(*named, name) for name in labels]
    else:
        layouts = [
            of if label in (None, of.label) else replace(of, label=label, labels=()) for of in known
        ]
    fitting = [layout for layout in layouts if {*layout.columns} <= {*columns}]
    fitting = fitting or [of for layout in layouts if (of := layout.spelled(columns))]
    if not fitting:
        raise InputError(_no_layout(columns, layouts if named else (), label, where))
    first = fitting[0]
    others = [of.first for of in fitting if not of.second and of.first != first.first]
    if not first.second and others:
        raise InputError(
            f"{where}: {first.first!r} and {others[0]!r} could both be the text; "
            "set data.text_column to one of them"
        )
    return first


def _no_layout(
    columns: Sequence[str], named: Sequence[Layout], label: str | None, where: str
) -> str:
    got = ", ".join(repr(c[:40]) for c in columns[:12])
    wanted = named[0].columns if named else filter(None, [label])
    missing = " and ".join(repr(name[:40]) for name in wanted if name not in columns)
    rule = f"no column {missing}" if missing else "no columns of texts and labels recognised"
    return (
        f"{where}: {rule}, got {got}; set data.text_column, data.label_column and, for pairs, "
        "data.second_text_column"
    )


def _row(row: Mapping[str, Any], layout: Layout, where: str, label_of: LabelOf) -> _Raw:
    for name in layout.columns:
        if name not in row:
            raise InputError(f"{where}: no field {name!r}, got {', '.join(map(repr, row))[:80]}")
    sides = []
    for name in layout.columns[:-1]:
        if not isinstance(row[name], str):
            raise InputError(f"{where}: {name}: must be text, got {row[name]!r:.60}")
        sides.append(check_unicode(row[name], f"{where}: {name}:").strip())
    label = label_text(row[layout.label])
    if label is None:
        got = f"got {row[layout.label]!r:.60}"
        raise InputError(f"{where}: {layout.label}: must be text or a number, {got}")
    check_unicode(label, f"{where}: {layout.label}:")
    first, second = (*sides, "")[:2]
    return _Raw(where, first, second, label_of(label, layout, where), layout)


def _name(row: _Raw, label: str, labels: Sequence[str]) -> str:
    """Return a label by its name; a number is an index into the labels."""
    if label in labels:
        return label
    if label.isdigit() and int(label) < len(labels):
        return labels[int(label)]
    raise InputError(
        f"{row.where}: label {label[:40]!r} is not one of the study's; allowed: "
        f"{', '.join(labels)}, or their numbers from 0"
    )
