"""Which examples belong together: those of one group of the data, and exact duplicates.

Paragraphs of a document, copies of a row, or one prompt in several languages tend to be right or
wrong together.  Tests that took them for independent would find differences where there are none,
so they resample and exchange whole clusters.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from study.kinds.metrics import Array

FEWEST_PROMPTS = 10  # fewer distinct sources are a choice of the user's, not a sample of prompts
MOSTLY_COPIES = 0.5  # groups are one where at least this share of each occurs in others


@dataclass(frozen=True, eq=False)
class Clusters:
    """N examples in C clusters; different clusters are independent."""

    of_example: NDArray[np.intp] = field(repr=False)  # (N,), from 0 to C - 1

    @cached_property
    def count(self) -> int:
        """The number of clusters."""
        return int(self.of_example.max()) + 1

    @cached_property
    def effective(self) -> int:
        """At least so many independent examples say as much: N² over the sum of squared sizes.

        Kish 1965, "Survey Sampling", for examples of a cluster that are perfectly alike; N/4 where
        every example occurs four times.
        """
        sizes = np.bincount(self.of_example).astype(np.float64)
        return max(round(float(sizes.sum() ** 2 / (sizes**2).sum())), 1)

    def sums(self, values: Array) -> Array:
        """Sum statistics (N, S) over each cluster: (C, S)."""
        total = np.zeros((self.count, values.shape[1]))
        np.add.at(total, self.of_example, values)
        return total

    def rows(self, drawn: NDArray[Any]) -> NDArray[np.intp]:
        """The examples of the drawn clusters, one after the other."""
        return np.concatenate([self._members[cluster] for cluster in drawn])

    @cached_property
    def _members(self) -> list[NDArray[np.intp]]:
        order = np.argsort(self.of_example, kind="stable")
        return np.split(order, np.cumsum(np.bincount(self.of_example))[:-1])


def clusters_of(
    sources: Sequence[str], targets: Sequence[str], groups: Sequence[str] = ()
) -> Clusters | None:
    """Return which of N examples belong together; None where each stands alone.

    Equal sources are duplicates, whatever the reference; where there are fewer than FEWEST_PROMPTS
    sources, the reference must be equal too.  Duplicates in different groups make these one cluster
    if most of each is duplicated, so that a heading which many documents share does not.
    """
    texts: Sequence[Hashable] = sources
    if len(set(sources)) < FEWEST_PROMPTS:
        texts = list(zip(sources, targets, strict=True))
    of_text = _numbered(texts)
    of_group = _numbered(groups) if groups else np.arange(len(texts))
    if not len(texts) or (not groups and of_text.max() == len(texts) - 1):
        return None
    found = _joined(of_text, of_group)
    return Clusters(found) if found.max() < len(texts) - 1 else None


def _numbered(items: Sequence[Hashable]) -> NDArray[np.intp]:
    """Number items from 0, equal ones alike: (N,)."""
    known: dict[Hashable, int] = {}
    return np.array([known.setdefault(item, len(known)) for item in items], dtype=np.intp)


def _joined(of_text: NDArray[np.intp], of_group: NDArray[np.intp]) -> NDArray[np.intp]:
    """Join the groups (N,) that are copies of each other, by their texts (N,): clusters (N,)."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    pairs = np.unique(np.stack([of_text, of_group]), axis=1)
    elsewhere = np.bincount(pairs[0])[of_text] > 1  # the text occurs in another group as well
    share = np.bincount(of_group, weights=elsewhere) / np.bincount(of_group)
    linked = (share >= MOSTLY_COPIES)[pairs[1]]
    groups, texts = int(of_group.max()) + 1, int(of_text.max()) + 1
    ends = pairs[1][linked], groups + pairs[0][linked]
    graph = coo_array((np.ones(linked.sum()), ends), shape=(groups + texts,) * 2)
    _, component = connected_components(graph, directed=False)
    return np.unique(component[of_group], return_inverse=True)[1].astype(np.intp)
