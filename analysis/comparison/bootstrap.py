"""Paired bootstrap over stored per-example statistics.

A corpus score such as BLEU is not a mean of sentence scores, so its uncertainty comes from
resampling the examples and aggregating the sums of their sufficient statistics (Koehn, 2004,
"Statistical significance tests for machine translation evaluation"; sacreBLEU's
`significance.py`).  Examples that belong together are drawn together.  All models are resampled on
the same examples, and one seed draws the same resamples for every metric.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from study.metrics import Array, Statistics
from study.metrics.clusters import Clusters

RESAMPLES = 2000
CONFIDENCE = 0.95
CHUNK = 4_000_000  # drawn indices at a time: bounds the memory for large test sets
Interval = tuple[float, float]


def resampled_scores(
    statistics: Sequence[Statistics], resamples: int = RESAMPLES, seed: int = 0
) -> Array:
    """Score every model on the same resampled examples; shape (models, resamples).

    Raises ValueError where the models were not scored on the same number of examples.
    """
    sizes = {len(s.values) for s in statistics}
    if len(sizes) != 1:
        raise ValueError(f"a paired comparison needs the same examples, got {sorted(sizes)} rows")
    clusters = shared_clusters(statistics)
    n = sizes.pop() if clusters is None else clusters.count
    rng = np.random.default_rng([seed, 5])
    chunk = max(CHUNK // max(n, 1), 1)
    statistics = [replace(s, clusters=clusters) for s in statistics]
    parts = [
        _chunk(statistics, rng.integers(n, size=(min(chunk, resamples - start), n)))
        for start in range(0, resamples, chunk)
    ]
    return np.concatenate(parts, axis=1)


def shared_clusters(statistics: Sequence[Statistics]) -> Clusters | None:
    """The clusters of models scored on the same examples: the coarsest that any of them knows."""
    known = [s.clusters for s in statistics if s.clusters is not None]
    return min(known, key=lambda clusters: clusters.count, default=None)


def _chunk(statistics: Sequence[Statistics], drawn: np.ndarray[Any, Any]) -> Array:
    """Score one chunk of resamples, `drawn` (R, C), as counts times statistics."""
    resamples, n = drawn.shape
    offsets = drawn + np.arange(resamples)[:, None] * n
    counts = np.bincount(offsets.ravel(), minlength=resamples * n).reshape(resamples, n)
    weights = counts.astype(np.float64)
    return np.array([_scores(s, weights, drawn) for s in statistics])


def _scores(statistics: Statistics, weights: Array, drawn: np.ndarray[Any, Any]) -> Array:
    """Score one model on R resamples: by sums, or where these do not suffice by the drawn rows."""
    row, clusters = statistics.row, statistics.clusters
    if row.whole is None:
        return row.aggregate(weights @ statistics.units)
    if clusters is None:
        return row.whole(statistics.values[drawn])
    rows = [clusters.rows(one) for one in drawn]
    sizes = np.array(list(map(len, rows)))
    scores = np.empty(len(rows))
    for size in np.unique(sizes):  # resamples of one size at once
        of_size = np.flatnonzero(sizes == size)
        scores[of_size] = row.whole(statistics.values[np.stack([rows[i] for i in of_size])])
    return scores


def interval_of(values: Array, confidence: float = CONFIDENCE) -> Interval:
    """The percentile interval of resampled values (R,)."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)
