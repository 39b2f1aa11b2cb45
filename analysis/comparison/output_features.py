"""Features of outputs besides their score: overlap, length, repetition, vocabulary.

Computed from the stored outputs and references, in words as ROUGE counts them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from study.metrics import Array
from study.metrics.rouge import words

CHUNK = 8_000_000  # words of a vocabulary × resamples at a time


@dataclass(frozen=True)
class OutputFeatures:
    """Features of one model's outputs, or of the references themselves."""

    rouge1: float  # 0 to 100, mean F over the examples
    rouge2: float
    words: float  # per output, on average
    length_ratio: float  # words of the outputs over words of the references
    repeats: float  # share of bigrams that repeat an earlier one of the same output
    vocabulary: float  # effective number of words: 1 / chance that words from two outputs are equal
    empty: int  # outputs without a word


class Texts:
    """N outputs with their counts, also on the resamples `drawn` (R, N)."""

    def __init__(self, outputs: Sequence[str], references: Sequence[str], drawn: Array) -> None:
        self._drawn = drawn
        self._words = [words(text) for text in outputs]
        wanted = [words(text) for text in references]
        pairs = list(zip(self._words, wanted, strict=True))
        said = [bigrams(of_one) for of_one in self._words]
        # (N, 6): ROUGE-1 and -2, words said and wanted, bigrams said, and of these repeats
        self.counts = np.array(
            [
                (
                    100 * overlap(own, target),
                    100 * overlap(two, bigrams(target)),
                    len(own),
                    len(target),
                    len(two),
                    len(two) - len(set(two)),
                )
                for (own, target), two in zip(pairs, said, strict=True)
            ],
            dtype=np.float64,
        ).reshape(len(pairs), 6)

    @cached_property
    def _by_word(self) -> Any:
        """How often each output has each word, (N, V), sparse."""
        from scipy.sparse import csr_array

        place = {word: i for i, word in enumerate(sorted({w for own in self._words for w in own}))}
        rows = [i for i, own in enumerate(self._words) for _ in own]
        columns = [place[word] for own in self._words for word in own]
        shape = (len(self._words), max(len(place), 1))
        return csr_array((np.ones(len(rows)), (rows, columns)), shape=shape)

    @cached_property
    def sums(self) -> Array:
        """The counts of each resample: (R, 6)."""
        return np.asarray(self._drawn @ self.counts)

    @cached_property
    def vocabularies(self) -> Array:
        """The effective number of words of each resample: (R,)."""
        return self._vocabularies(self._drawn)

    @cached_property
    def features(self) -> OutputFeatures:
        """The features of all N outputs."""
        one, two, said, wanted, pairs, repeats = self.counts.sum(axis=0).tolist()
        n = max(len(self.counts), 1)
        return OutputFeatures(
            rouge1=one / n,
            rouge2=two / n,
            words=said / n,
            length_ratio=said / max(wanted, 1),
            repeats=repeats / max(pairs, 1),
            vocabulary=float(self._vocabularies(np.ones((1, len(self.counts))))[0]),
            empty=sum(not own for own in self._words),
        )

    def _vocabularies(self, weights: Array) -> Array:
        """The effective number of words of resamples (R, N): (R,), infinite where none repeats.

        The inverse of the chance that two words from different outputs are the same (Simpson's
        index).  Copies of one output in a resample do not count as different outputs.
        """
        table = self._by_word
        own = np.asarray((table * table).sum(axis=1)).ravel()  # (N,) equal pairs within an output
        sizes = self.counts[:, 2]
        equal = np.concatenate(
            [
                ((part @ table) ** 2).sum(axis=1)
                for part in np.array_split(weights, -(-len(weights) * table.shape[1] // CHUNK))
            ]
        )
        equal -= weights**2 @ own
        pairs = (weights @ sizes) ** 2 - weights**2 @ sizes**2
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.where(equal > 0.5, pairs / equal, np.inf))


def bigrams(of_one: Sequence[str]) -> list[tuple[str, str]]:
    """The pairs of neighbouring words."""
    return list(pairwise(of_one))


def overlap(said: Sequence[Any], wanted: Sequence[Any]) -> float:
    """The F-measure of common n-grams, as ROUGE-N has it; 0 where one side has none."""
    left: dict[Any, int] = {}
    for one in wanted:
        left[one] = left.get(one, 0) + 1
    common = 0
    for one in said:
        if left.get(one, 0):
            left[one] -= 1
            common += 1
    return 2 * common / (len(said) + len(wanted)) if common else 0.0
