"""What a metric is: per-example statistics (N, S), and how their sum becomes a corpus score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from study.kinds.tasks import Outputs

Array: TypeAlias = NDArray[np.float64]


NO_SYNONYMS = "none"


@dataclass(frozen=True)
class TextOptions:
    """How texts are compared, according to the study file."""

    encoder: str | None = None  # a sentence-transformers model: folder or hub name
    synonyms: str = NO_SYNONYMS  # for METEOR; or wordnet


FromText: TypeAlias = Callable[
    [Sequence[str], Sequence[str], TextOptions], tuple[Array, str]
]  # N outputs, N references -> statistics (N, S) and signature


PLAIN = TextOptions()


@dataclass(frozen=True)
class Metric:
    """A metric: which direction is better, what it scores, and how statistics become a score."""

    name: str
    label: str
    aggregate: Callable[[Array], Array]  # summed statistics (..., S) -> corpus scores (...)
    from_text: FromText | None = None
    direction: str = "maximize"  # or "minimize"
    extra: str = ""  # the extra in pyproject.toml that must be installed
    aggregate_one: Callable[[Array], Array] | None = None  # (N, S) -> (N,), if not `aggregate`
    outputs: Outputs | None = "texts"  # what it scores; None: the loss, not outputs
    afterwards: bool = False  # added to a finished study, not computed by trials
    embeds: bool = False  # compares embeddings by evaluation.encoder
    counts_synonyms: bool = False  # if evaluation.synonyms says so
    of_words: bool = False  # single words in any order can raise it

    @property
    def is_loss(self) -> bool:
        """Whether it is the loss itself, which every task has."""
        return self.outputs is None

    @property
    def sign(self) -> float:
        """1 if higher is better, otherwise -1."""
        return 1.0 if self.direction == "maximize" else -1.0

    def each(self, values: Array) -> Array:
        """Score every example alone: statistics (N, S) -> (N,)."""
        return (self.aggregate_one or self.aggregate)(values)


def weighted_mean(summed: Array) -> Array:
    """Return the mean of (..., 2), sums and weights; NaN if the weight is 0."""
    total, weight = summed[..., 0], summed[..., 1]
    nan = np.full(np.shape(total), np.nan)
    return np.asarray(np.divide(total, weight, out=nan, where=weight != 0))


def of_examples(scores: Sequence[float] | Array) -> Array:
    """Return (N, 2), each example's score and 1; the corpus score is their mean."""
    return np.stack([np.asarray(scores, dtype=np.float64), np.ones(len(scores))], axis=1)
