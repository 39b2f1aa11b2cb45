"""Tests over examples treat those that belong together as one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from analysis import StudyData
from analysis.comparison.adapters import against_base
from analysis.comparison.confirmation import Retrained, confirmation_among
from analysis.comparison.contrast import Contrast, compare, contrasts_document
from analysis.comparison.gaming import examine
from analysis.comparison.within_study import compare_trials
from study.metrics import Statistics
from study.metrics.clusters import Clusters

RNG = np.random.default_rng(3)
ONE, OTHER = RNG.random(8), RNG.random(8) - 0.1
FOUR = Clusters(np.tile(np.arange(8), 4))


def accuracy(scores: np.ndarray, clusters: Clusters | None = None) -> Statistics:
    """Return scores whose mean counts."""
    values = np.stack([scores, np.ones(len(scores))], axis=1)
    return Statistics("accuracy", values, "accuracy|case:exact", clusters)


def spearman(scores: np.ndarray, clusters: Clusters | None = None) -> Statistics:
    """Return numbers beside their references, which a rank correlation needs as they are."""
    references = np.tile(np.arange(8.0), len(scores) // 8)
    values = np.stack([scores, references], axis=1)
    return Statistics("spearman", values, "spearman|ties:mean", clusters)


@pytest.mark.parametrize("scored", [accuracy, spearman])
def test_four_copies_say_no_more_than_one(scored: Callable[..., Statistics]) -> None:
    """With each example four times, interval and p-value are those of the examples once."""
    once = compare(scored(ONE), scored(OTHER), resamples=300)
    four = [scored(np.tile(scores, 4), FOUR) for scores in (ONE, OTHER)]
    again = compare(*four, resamples=300)
    assert again.interval == pytest.approx(once.interval)
    assert again.p == once.p
    assert (again.n, again.effective) == (32, 8)


def test_copies_taken_for_examples_would_be_too_sure() -> None:
    """Without clusters, four copies of each example make a narrower interval and a smaller p."""
    four = [accuracy(np.tile(scores, 4), FOUR) for scores in (ONE, OTHER)]
    blind = compare(*(replace(s, clusters=None) for s in four), resamples=100)
    found = compare(*four, resamples=100)
    assert blind.p < found.p
    assert np.ptp(blind.interval) < np.ptp(found.interval)


def test_a_confirmation_counts_clusters() -> None:
    """Two seeds on each example four times are as sure as on each once, and say 8 of 32."""

    def confirmed(copies: int, clusters: Clusters | None) -> Contrast:
        models = [
            Retrained(
                name,
                1,
                (0, 1),
                tuple(accuracy(np.tile(s, copies), clusters) for s in (scores, scores + 0.01)),
                np.zeros(2),
                None,
                {},
            )
            for name, scores in (("trial 1", ONE), ("trial 2", OTHER))
        ]
        return confirmation_among("accuracy", models[0], models[1:]).tested[0]

    once, again = confirmed(1, None), confirmed(4, FOUR)
    assert again.interval == pytest.approx(once.interval)
    assert again.p == pytest.approx(once.p)
    assert (again.n, again.effective) == (32, 8)


def test_the_number_of_examples_comes_with_the_effective_one() -> None:
    """A table says both, and only the number where examples stand alone."""
    found = compare(accuracy(np.tile(ONE, 4), FOUR), accuracy(np.tile(OTHER, 4)), resamples=50)
    assert "on 32 (effectively 8) dev examples" in str(contrasts_document([found]))
    alone = compare(accuracy(ONE), accuracy(OTHER), resamples=50)
    assert "on 8 dev examples" in str(contrasts_document([alone]))


def test_a_studys_statistics_know_their_clusters(petroleum: StudyData) -> None:
    """Groups that are stored with the examples reach every test; other splits are as they were."""
    dev = petroleum.examples["dev"]
    pages = tuple(f"page {i // 6}" for i in range(len(dev.sources)))
    grouped = replace(petroleum, examples={**petroleum.examples, "dev": replace(dev, groups=pages)})
    count = len(set(pages))
    assert compare_trials(grouped, "default", "base").effective == count
    assert against_base(grouped, ["bleu"]).effective == count
    assert compare_trials(grouped, "default", "base", split="general").effective == 0
    assert compare_trials(petroleum, "default", "base").effective == 0


def test_flags_of_gaming_resample_clusters() -> None:
    """A gain that rests on one document is no clear gain."""
    references = [f"the {word} of the well is deep" for word in "abcdefghijkl"]
    base = ["nothing"] * 12
    adapter = [*references[:10], *base[10:]]
    outputs = {"base": base, "it": adapter}
    alone = examine(outputs, references, resamples=300)
    assert alone.verdicts[0].gains
    document = Clusters(np.array([0] * 10 + [1, 2]))
    assert not examine(outputs, references, clusters=document, resamples=300).verdicts[0].gains
