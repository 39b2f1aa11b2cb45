"""The corpus of a study: the examples of every split, and those whose examples are two texts.

Invalid files are refused before training, with the file, the line and the rule.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar

from study.data.embedded import CorpusRecipe, Pair, instruction_corpus, petroleum_corpus
from study.data.embedded.corpus import NO_BASE
from study.data.embedded.instruction_corpus import SIZES
from study.data.origins import (
    bad_rows,
    check_field,
    check_unicode,
    group_of,
    origins_of,
    rows_of,
    text_field,
)
from study.data.splitting import split_off
from study.errors import Faults, InputError
from study.spec.base_and_data import DEV_SHARE, SPLITS, DataSpec

E = TypeVar("E")


@dataclass(frozen=True)
class Corpus(Generic[E]):
    """The examples of every split.

    `general` is empty if forgetting is not measured, `test` if nothing is held out.
    """

    train: tuple[E, ...]
    dev: tuple[E, ...]
    general: tuple[E, ...] = ()
    test: tuple[E, ...] = ()
    labels: tuple[str, ...] = ()  # of a classification, in order
    skipped: Mapping[str, int] = field(default_factory=dict)  # reason -> rows left out
    unit: str = "pairs"  # what an example is called
    remarks: tuple[str, ...] = ()  # what a person should know about the rows, a line each
    shown: tuple[tuple[str, bool], ...] = ()  # an example as the model sees it: text, is trained
    columns: tuple[str, ...] = field(default=(), compare=False)  # of the files, those read
    places: tuple[tuple[str, str], ...] = field(default=(), compare=False)  # as `Split` has them

    def split(self, name: str) -> tuple[E, ...]:
        """Return the examples of `train`, `dev`, `general` or `test`."""
        examples: tuple[E, ...] = getattr(self, name)
        return examples

    def hashes(self) -> dict[str, str]:
        """Return a hash of every split's content; of `test` only if there is one."""
        return {name: _hash(self.split(name)) for name in SPLITS if name != "test" or self.test}


def skipped_remarks(corpus: Corpus[Any]) -> list[str]:
    """Return a line per reason for leaving rows out."""
    return [f"{reason} left out: {count:,}" for reason, count in corpus.skipped.items()]


def copy_remarks(corpus: Corpus[Any]) -> list[str]:
    """Return a line with the exact copies in each split, and one with what is answered differently.

    Copies count from the second on.
    """
    splits = {name: corpus.split(name) for name in SPLITS}
    copies = {name: len(rows) - len({*rows}) for name, rows in splits.items()}
    counted = [
        f"{count:,} of {len(splits[name]):,} {name}" for name, count in copies.items() if count
    ]
    remarks = [f"exact copies of other rows: {', '.join(counted)} {corpus.unit}"] if counted else []
    answers: dict[tuple[str, ...], dict[str, None]] = {}
    for row in dict.fromkeys(row for rows in splits.values() for row in rows):
        if found := _answered(row, corpus):
            answers.setdefault(found[0], {})[found[1]] = None
    if torn := {asked: given for asked, given in answers.items() if len(given) > 1}:
        asked, given = next(iter(torn.items()))
        names = sorted(given) if corpus.labels else [f"{answer!r:.60}" for answer in [*given][:2]]
        remarks.append(
            f"{corpus.unit} with more than one {'label' if corpus.labels else 'answer'}: "
            f"{len(torn):,}, first {asked[0 if corpus.labels else -1]!r:.60} with "
            f"{', '.join(names)}"
        )
    return remarks


def _answered(row: Any, corpus: Corpus[Any]) -> tuple[tuple[str, ...], str] | None:
    """Return what a row asks and its only right answer; None where a row may have several."""
    if isinstance(row, Pair):
        return (row.source,), row.target
    if corpus.labels and hasattr(row, "texts"):  # own tasks may have classes and other rows
        return row.texts, row.label
    return getattr(row, "answered", None)


def load_corpus(data: DataSpec) -> Corpus[Pair]:
    """Read what `[data]` names; InputError with one line per problem."""
    if data.origin == "embedded":
        return _embedded(data.seed)
    faults, read, where = Faults(), dict[str, tuple[Pair, ...]](), list[str]()
    skipped = dict[str, int]()
    for split, origin in origins_of(data).items():
        with faults.collected():
            places = where if split == "train" else None
            read[split] = read_pairs(origin, data, split, places, skipped)
    faults.refuse()
    columns = (data.source_column, data.target_column)
    if "dev" in read:
        splits = read["train"], read["dev"], read.get("general", ()), read.get("test", ())
        return Corpus(*splits, columns=columns, skipped=skipped)
    split_up = split_off(
        read["train"],
        data.dev_share or DEV_SHARE,
        data.seed,
        keys=[pair.group or pair.source for pair in read["train"]],
        places=where,
        called=("pairs", data.group or "source"),
    )
    return Corpus(
        split_up.train,
        split_up.dev,
        read.get("general", ()),
        read.get("test", ()),
        skipped=skipped,
        remarks=(split_up.remark,),
        columns=columns,
        places=split_up.places,
    )


def load_instructions(data: DataSpec) -> Corpus[Pair]:
    """Read instructions and answers: the embedded ones, or any pairs."""
    return _embedded_instructions(data.seed) if data.origin == "embedded" else load_corpus(data)


@cache
def _embedded_instructions(seed: int) -> Corpus[Pair]:
    embedded = instruction_corpus(seed, replace(SIZES, **NO_BASE))
    train, dev, general, test = (
        tuple(Pair(row.source, row.target) for row in rows)
        for rows in (embedded.train, embedded.dev, embedded.general, embedded.test)
    )
    return Corpus(train, dev, general, test)


@cache
def _embedded(seed: int) -> Corpus[Pair]:
    """Generate once per process what a study reads; what its base has read takes two seconds."""
    embedded = petroleum_corpus(seed, CorpusRecipe(**NO_BASE))
    return Corpus(embedded.train, embedded.dev, embedded.general, embedded.test)


def read_pairs(
    origin: Path | str,
    data: DataSpec,
    split: str = "train",
    places: list[str] | None = None,
    skipped: dict[str, int] | None = None,
) -> tuple[Pair, ...]:
    """Read the pairs of a file or of a split of a dataset.

    `places` gets where each was read, `skipped` the number of rows left out by reason.

    Raises:
        InputError: a line per row at fault, and one if the columns are not there.
    """
    columns, faults = (data.source_column, data.target_column), Faults()
    where, rows = rows_of(origin, split, subset=data.subset, columns=columns, faults=faults)
    pairs = list[Pair]()
    for number, (place, row) in enumerate(rows):
        for name in columns if number == 0 else ():
            check_field(row, name, place)
        with faults.collected():
            pair = _pair(row, columns, place)
            pairs.append(replace(pair, group=group_of(row, data, place)))
            if places is not None:
                places.append(place)
    faulty = bad_rows(faults, where, data)
    if skipped is not None:
        skipped |= faulty
    if not pairs:
        raise InputError(f"{where}: contains no pairs; allowed: at least one")
    return tuple(pairs)


def _pair(row: Mapping[str, Any], columns: tuple[str, str], where: str) -> Pair:
    source, target = (text_field(row, name, where) for name in columns)
    for side, value in (("source", source), ("target", target)):
        if not value.strip():
            raise InputError(f"{where}: the {side} is empty")
        check_unicode(value, f"{where}: the {side}")
    return Pair(source, target)


def _hash(examples: Sequence[Any]) -> str:
    """Return a hash of the fields by which examples are compared; all of these are texts."""
    names = [f.name for f in fields(examples[0]) if f.compare] if examples else []
    content = "\n".join("\t".join(getattr(e, name) for name in names) for e in examples)
    return hashlib.sha256(content.encode()).hexdigest()[:16]
