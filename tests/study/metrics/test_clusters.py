"""Which examples belong together, and what a group of them weighs."""

from __future__ import annotations

import numpy as np
import pytest

from study.metrics.clusters import Clusters, clusters_of

PROMPTS = [f"prompt {i}" for i in range(20)]


def of(sources: list[str], groups: list[str] | None = None) -> list[int] | None:
    """Return each example's cluster, numbered from 0 as they come; None where each is alone."""
    found = clusters_of(sources, ["x"] * len(sources), groups or [])
    if found is None:
        return None
    order: dict[int, int] = {}
    return [order.setdefault(int(cluster), len(order)) for cluster in found.of_example]


def test_different_examples_stand_alone() -> None:
    """Without groups and duplicates nothing is clustered, and nothing changes."""
    assert of(PROMPTS) is None
    assert of(PROMPTS, PROMPTS) is None
    assert clusters_of([], []) is None


def test_exact_duplicates_are_one_cluster_without_asking() -> None:
    """Each of 20 prompts four times counts as 20 examples."""
    assert of(PROMPTS * 4) == [*range(20)] * 4
    found = clusters_of(PROMPTS * 4, [str(i) for i in range(80)])  # several references each
    assert found is not None
    assert (found.count, found.effective) == (20, 20)


def test_the_groups_of_the_data_are_clusters() -> None:
    """Kish's effective number: that of the groups where these are equally large, else fewer."""
    found = clusters_of(PROMPTS, PROMPTS, ["a"] * 10 + ["b"] * 5 + ["c"] * 5)
    assert found is not None
    assert (found.count, found.effective) == (3, round(400 / 150))


def test_copied_groups_are_one_but_a_shared_heading_joins_nothing() -> None:
    """Two copies of a document are one cluster; documents with the same first line stay two."""
    copies = [*PROMPTS, *PROMPTS]
    assert of(copies, ["a"] * 20 + ["b"] * 20) == [0] * 40
    headed = ["Contents", *PROMPTS[:10], "Contents", *PROMPTS[10:]]
    assert of(headed, ["a"] * 11 + ["b"] * 11) == [0] * 11 + [1] * 11


def test_a_handful_of_prompts_is_a_choice_not_a_sample() -> None:
    """Texts that all follow one prompt stand alone; equal ones are still duplicates."""
    assert clusters_of(["tell a story"] * 30, [f"story {i}" for i in range(30)]) is None
    found = clusters_of(["tell a story"] * 30, [f"story {i % 15}" for i in range(30)])
    assert found is not None
    assert found.count == 15


def test_sums_and_rows_are_those_of_the_clusters() -> None:
    """A drawn cluster brings all its examples, in order."""
    clusters = Clusters(np.array([1, 0, 1]))
    values = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    assert clusters.sums(values).tolist() == [[3, 4], [6, 8]]
    assert clusters.rows(np.array([1, 1, 0])).tolist() == [0, 2, 0, 2, 1]
    assert clusters.effective == pytest.approx(2)  # 9 / 5, rounded
