"""Lines of `adversary.py` on comparisons: clusters, and the best of many trials.

Each function answers for one study, whose truth is known, from its own generator.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from analysis.comparison.confirmation import Retrained, confirmation_among
from analysis.comparison.contrast import Contrast, compare
from analysis.comparison.picked import Field, allowing_for_pick
from study.metrics import Array, Statistics
from study.metrics.clusters import Clusters, clusters_of

Rng = np.random.Generator
Says = Callable[[Rng, int], bool]
TRIALS = 64
RESAMPLES = 200  # verdicts rest on exchanges, not on these


def accuracy(right: Array, clusters: Clusters | None = None) -> Statistics:
    """Return answers that are right or wrong, (N,)."""
    values = np.stack([right, np.ones(len(right))], axis=1)
    return Statistics("accuracy", values, "accuracy|case:exact", clusters)


# ---------------------------------------------------------------- examples that belong together


def paragraphs(rng: Rng) -> tuple[Array, Clusters | None, float]:
    """12 to 40 documents of 3 to 20 paragraphs: each paragraph's document, named by a column."""
    sizes = rng.integers(3, 21, size=int(rng.integers(12, 41)))
    document = np.repeat(np.arange(len(sizes)), sizes)
    texts = [f"paragraph {i}" for i in range(len(document))]
    return document, clusters_of(texts, texts, [f"document {d}" for d in document]), 0.7


def duplicates(rng: Rng) -> tuple[Array, Clusters | None, float]:
    """30 to 100 examples, each four times, and nothing that says so."""
    text = rng.permutation(np.repeat(np.arange(int(rng.integers(30, 101))), 4))
    texts = [f"example {t}" for t in text]
    return text, clusters_of(texts, texts), 1.0


def languages(rng: Rng) -> tuple[Array, Clusters | None, float]:
    """20 to 60 prompts in 2 to 8 languages: each row's prompt, named by a column."""
    count = int(rng.integers(20, 61))
    prompt = np.repeat(np.arange(count), rng.integers(2, 9))
    texts = [f"row {i}" for i in range(len(prompt))]
    return prompt, clusters_of(texts, texts, [str(p) for p in prompt]), 0.8


def equal_models(cluster: Array, alike: float, models: int, rng: Rng) -> list[Array]:
    """Return the answers (N,) of models that are equally good, each with clusters it is good at.

    A share `alike` of a model's luck with an example is that of the example's cluster.
    """
    easy = rng.normal(0.3, 1.0, size=cluster.max() + 1)[cluster]
    found = []
    for _ in range(models):
        of_cluster = rng.normal(size=cluster.max() + 1)[cluster]
        luck = alike**0.5 * of_cluster + (1 - alike) ** 0.5 * rng.normal(size=len(cluster))
        found.append((easy + luck > 0).astype(float))
    return found


def compared(
    examples: Callable[[Rng], tuple[Array, Clusters | None, float]], is_blind: bool = False
) -> Says:
    """Whether two equal models are called different; blindly, by tests that know no clusters."""

    def says(rng: Rng, seed: int) -> bool:
        cluster, known, alike = examples(rng)
        known = None if is_blind else known
        a, b = (accuracy(right, known) for right in equal_models(cluster, alike, 2, rng))
        return compare(a, b, resamples=RESAMPLES, seed=seed).clear

    return says


def confirmed(examples: Callable[[Rng], tuple[Array, Clusters | None, float]]) -> Says:
    """Whether `confirm` calls two equal models, trained with three seeds, different."""

    def says(rng: Rng, seed: int) -> bool:
        cluster, known, alike = examples(rng)
        retrained = []
        for (name, trial), own in zip(
            (("trial 1", 1), ("default", None)), equal_models(cluster, alike, 2, rng), strict=True
        ):
            other = [equal_models(cluster, alike, 1, rng)[0] for _ in range(3)]
            is_other = rng.random((3, cluster.max() + 1))[:, cluster] < 0.2  # what the seed changes
            seeds = [np.where(c, o, own) for c, o in zip(is_other, other, strict=True)]
            scored = tuple(accuracy(right, known) for right in seeds)
            retrained.append(Retrained(name, trial, (0, 1, 2), scored, np.zeros(3), None, {}))
        (tested,) = confirmation_among("accuracy", retrained[0], retrained[1:], seed).tested
        return tested.clear

    return says


# ---------------------------------------------------------------- the best of many trials


def some_trials(lifts: Array, examples: int, rng: Rng) -> tuple[Statistics, list[Statistics]]:
    """Return a base, and trials that are right more often than it by their lifts."""
    easy = rng.beta(rng.uniform(1, 6), rng.uniform(0.5, 2), size=examples)
    base, *trials = (
        accuracy((rng.random(examples) < easy + lift).astype(float)) for lift in (0.0, *lifts)
    )
    return base, trials


def as_picked(base: Statistics, trials: list[Statistics], seed: int) -> Contrast:
    """Return the tool's test of the best trial against the base."""
    best = max(trials, key=lambda trial: trial.score)
    found = compare(best, base, resamples=RESAMPLES, seed=seed)
    field = Field(len(trials), lambda: trials)
    return allowing_for_pick(found, (best, base), (field, None), seed=seed)


def as_chosen(base: Statistics, trials: list[Statistics], seed: int) -> Contrast:
    """Return the test of the best trial as if it had been chosen beforehand."""
    best = max(trials, key=lambda trial: trial.score)
    return compare(best, base, resamples=RESAMPLES, seed=seed)


def by_halves(base: Statistics, trials: list[Statistics], seed: int) -> Contrast:
    """Return the test on half of the examples of the trial that is best on the other half."""
    order = np.random.default_rng(seed).permutation(len(base.values))
    picking, testing = np.array_split(order, 2)
    best = max(trials, key=lambda trial: float(trial.values[picking, 0].sum()))
    a, b = (accuracy(s.values[testing, 0]) for s in (best, base))
    return compare(a, b, resamples=RESAMPLES, seed=seed)


Test = Callable[[Statistics, list[Statistics], int], Contrast]


def best_of_equals(test: Test) -> Says:
    """Return whether the best of 64 trials that equal the base is clear, on 50 to 800 examples."""
    return lambda rng, seed: (
        test(*some_trials(np.zeros(TRIALS), int(rng.choice([50, 200, 800])), rng), seed).clear
    )


def best_of_different(test: Test) -> Says:
    """Return whether the best of 64 trials, −.3 to +.1, is clearly better on 200 examples."""

    def says(rng: Rng, seed: int) -> bool:
        found = test(*some_trials(rng.uniform(-0.3, 0.1, size=TRIALS), 200, rng), seed)
        return found.clear and found.gain > 0

    return says


KINDS = {
    "paragraphs of a document": paragraphs,
    "duplicates × 4": duplicates,
    "one prompt in several languages": languages,
}
EQUALS, BETTER = "best of 64 equals", "best of 64, −.3 to +.1, n = 200"
COMPARISONS: tuple[tuple[str, Says, float, bool], ...] = (
    *((f"false: clusters, compare: {n}", compared(of), 0.065, True) for n, of in KINDS.items()),
    *((f"false: clusters, confirm: {n}", confirmed(of), 0.065, True) for n, of in KINDS.items()),
    *(
        (f"(clusters taken for examples: {n})", compared(of, True), 1, True)
        for n, of in KINDS.items()
    ),
    (f"false: picked: {EQUALS}", best_of_equals(as_picked), 0.065, True),
    (f"(not allowing for the pick, picked: {EQUALS})", best_of_equals(as_chosen), 1, True),
    (f"power: picked: {BETTER}", best_of_different(as_picked), 0.4, False),
    (f"(by halves, picked: {BETTER})", best_of_different(by_halves), 0, False),
    (f"(not allowing for the pick, picked: {BETTER})", best_of_different(as_chosen), 0, False),
)
"""What is asked, the answer for a study, the aim, and whether yes is a false alarm.

Lines in brackets are for comparison: what another test would say of the same kind of studies.
"""
