"""Clusters of inputs: k-means over their vectors, and the words that set each cluster apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from study.data.curation.embedding import Vectors, contents, word_weights
from study.data.curation.instruction_records import Record

STARTS = 4
"""k-means runs this often; the tightest clusters are kept."""
SHOWN_WORDS = 6


@dataclass(frozen=True)
class Clustering:
    """Clusters, the largest first."""

    labels: NDArray[np.int64]  # (N,): the cluster of each record, from 0
    words: tuple[tuple[str, ...], ...]  # per cluster: the words that set it apart
    typical: tuple[int, ...]  # per cluster: the record nearest to its centre

    @property
    def sizes(self) -> list[int]:
        """Return how many records each cluster holds."""
        return [int((self.labels == cluster).sum()) for cluster in range(len(self.words))]


def clustering(records: Sequence[Record], vectors: Vectors, clusters: int, seed: int) -> Clustering:
    """Group records by their inputs' vectors, shape (N, D), on one thread.

    There are fewer clusters than requested if there are fewer distinct vectors.
    """
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    distinct = len(np.unique(vectors, axis=0))
    means = KMeans(min(clusters, distinct), n_init=STARTS, random_state=seed % 2**32)
    with threadpool_limits(1):
        distances = means.fit_transform(vectors)  # (N, K)
    by_size = np.argsort(-np.bincount(means.labels_, minlength=means.n_clusters), kind="stable")
    labels = np.argsort(by_size)[means.labels_]
    typical = distances.argmin(axis=0)[by_size]
    return Clustering(labels, _words(contents(records), labels), tuple(typical.tolist()))


def _words(texts: Sequence[str], labels: NDArray[np.int64]) -> tuple[tuple[str, ...], ...]:
    """Return per cluster the words whose mean TF-IDF exceeds that of all records the most."""
    matrix, words = word_weights(texts)
    whole = _mean(matrix)
    return tuple(
        _highest(_mean(matrix[labels == cluster]) - whole, words)
        for cluster in range(labels.max() + 1)
    )


def _highest(excess: NDArray[np.float64], words: Sequence[str]) -> tuple[str, ...]:
    ranked = (int(i) for i in np.argsort(-excess, kind="stable") if excess[i] > 0)
    chosen = (words[i] for i in ranked if len(words[i]) > 1)
    return tuple(word for word, _ in zip(chosen, range(SHOWN_WORDS), strict=False))


def _mean(matrix: Any) -> NDArray[np.float64]:
    return np.asarray(matrix.mean(axis=0), dtype=np.float64).ravel()
