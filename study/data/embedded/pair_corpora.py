"""The embedded corpora of labelled sentence pairs, for teacher and student.

The teacher learns from many pairs, the student from few.  Both start from ordinary text, in which
connectives say how sentences are related.  No pair is in two splits.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from study.data.embedded.entailment import entailment_pairs
from study.data.embedded.paraphrase import paraphrase_pairs

LANGUAGES: Mapping[str, Callable[[random.Random], Iterator[tuple[str, str, str]]]] = {
    "mnli": entailment_pairs,
    "qqp": paraphrase_pairs,
}
CONNECTIVES: Mapping[str, str] = {
    "entailment": "therefore",
    "neutral": "moreover",
    "contradiction": "however",
    "duplicate": "likewise",
    "not_duplicate": "besides",
}


@dataclass(frozen=True)
class SentencePair:
    """Two sentences, or one text if the second is empty, and the name of their label."""

    first: str
    second: str
    label: str
    group: str = field(default="", compare=False)  # what it belongs to, such as a document

    @property
    def texts(self) -> tuple[str, ...]:
        """What a tokenizer is given: one text or two."""
        return (self.first, self.second) if self.second else (self.first,)


@dataclass(frozen=True)
class EmbeddedPairs:
    """The splits: `train`, `dev` and `test` for the study, the others for its models."""

    train: tuple[SentencePair, ...]
    dev: tuple[SentencePair, ...]
    teacher: tuple[SentencePair, ...]
    text: tuple[SentencePair, ...]  # its labels appear only as connectives
    test: tuple[SentencePair, ...]


SIZES = {"dev": 800, "train": 1_000, "teacher": 12_000, "text": 3_000, "test": 800}
"""In the order in which they are drawn: a size does not change earlier splits."""


def pair_corpus(
    language: str, seed: int = 0, sizes: Mapping[str, int] | None = None
) -> EmbeddedPairs:
    """Return the corpus of a language (mnli or qqp) and a seed, the same on every machine.

    `sizes` replaces the number of pairs of some splits.
    """
    seen: set[tuple[str, str]] = set()
    drawn = {
        split: tuple(_new(LANGUAGES[language], f"{seed}/{language}/{split}", size, seen))
        for split, size in {**SIZES, **(sizes or {})}.items()
    }
    return EmbeddedPairs(**drawn)


def _new(
    language: Callable[[random.Random], Iterator[tuple[str, str, str]]],
    seed: str,
    size: int,
    seen: set[tuple[str, str]],
) -> Iterator[SentencePair]:
    """Yield `size` pairs that are not in a split yet."""
    left = size
    for first, second, label in language(random.Random(seed)):
        if not left:
            return
        if first != second and (first, second) not in seen:
            seen.add((first, second))
            left -= 1
            yield SentencePair(first, second, label)
