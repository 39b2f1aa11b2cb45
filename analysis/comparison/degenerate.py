"""Outputs that answer nothing, whatever their score: empty, constant, copied, or endless.

Each is a share of the examples, and only examples count where such an output cannot be right: an
empty output where the reference is not empty, a copy of the source where the reference differs from
it, a loop where the reference has none.  One answer for everything is judged by how often the
references give one answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.comparison.output_features import overlap
from study.metrics import Array
from study.metrics.rouge import words

EMPTY, ENDLESS = 0.1, 0.1  # the most of the examples that may be so by mistake
COPIED = 0.5  # a weak but honest translator leaves much as it is
CONSTANT = 0.98  # share of one answer; a classifier of rare classes comes close
BEYOND = 0.1  # by how much that must exceed the references' share
ALIKE, APART = 0.9, 0.5  # overlap of words: a copy of the source, and a reference that is none
PIECE, SHORTEST = 4, 16  # characters: of the pieces that a loop repeats, and of a text to judge
LOOP = 0.4  # by how much the share of repeated pieces must exceed the reference's
LINES = 12  # of a source: an output may copy one of its turns


@dataclass(frozen=True)
class Kind:
    """One way to answer nothing: which of N outputs do, (N,), and how many may by mistake."""

    name: str
    is_so: Array
    tolerated: float
    words: str  # with room for the share in per cent


def degenerate(
    outputs: Sequence[str], references: Sequence[str], sources: Sequence[str]
) -> tuple[Kind, ...]:
    """Return each kind with the outputs that are of it; copies only where sources are given."""
    pairs = list(zip(outputs, references, strict=True))
    empty = [not said.strip() and bool(wanted.strip()) for said, wanted in pairs]
    loops = [
        (own := loop(said)) > LOOP and own - loop(wanted) > LOOP  # most need no reference's
        for said, wanted in pairs
    ]
    answer, share = _commonest(outputs)
    usual = _commonest(references)[1]
    is_one = share >= CONSTANT and bool(answer)
    same = [is_one and _plain(said) == answer for said in outputs]
    found = [
        Kind("empty", _of(empty), EMPTY, "outputs are empty for {:.0f} % of the examples"),
        Kind("constant", _of(same), usual + BEYOND, "the answer is the same for {:.0f} % of them"),
        Kind("endless", _of(loops), ENDLESS, "{:.0f} % of the outputs repeat themselves endlessly"),
    ]
    if sources:
        copied = [copies(s, o, r) for (o, r), s in zip(pairs, sources, strict=True)]
        found.append(
            Kind("copied", _of(copied), COPIED, "{:.0f} % of the outputs are copies of the source")
        )
    return tuple(found)


def _of(flags: Sequence[bool]) -> Array:
    return np.array(flags, dtype=np.float64)


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def _commonest(texts: Sequence[str]) -> tuple[str, float]:
    """The most frequent text and its share."""
    if not texts:
        return "", 0.0
    ((text, count),) = Counter(map(_plain, texts)).most_common(1)
    return text, count / len(texts)


def loop(text: str) -> float:
    """The share of a text's pieces of a few characters that occurred in it before; any script."""
    text = _plain(text)
    if len(text) < SHORTEST:
        return 0.0
    pieces = [text[i : i + PIECE] for i in range(len(text) - PIECE + 1)]
    return 1 - len(set(pieces)) / len(pieces)


def copies(source: str, output: str, reference: str) -> bool:
    """Whether an output is nearly the source, or a line of it, and the reference is not."""
    lines = [line.partition(": ")[2] or line for line in source.splitlines()[-LINES:]]
    given = [of for text in dict.fromkeys((source, *lines)) if (of := words(text))]
    said = words(output)
    if not any(overlap(said, of) >= ALIKE for of in given):
        return False
    wanted = words(reference)
    return all(overlap(wanted, of) < APART for of in given)
