"""Does `optuna-study confirm` say what is so?  Simulated studies whose truth is known, no models.

A model answers an example by keeping words of the reference, runs of them as a model does.  How
many it keeps depends on its configuration, its seed, the example, what the configuration makes of
this example, and chance.  Out of that come BLEU's own statistics, and classes for the accuracy.

    python benchmarks/confirmation.py coverage   # do the 95 % intervals hold the true difference?
    python benchmarks/confirmation.py null       # how often is one of equals called better?
    python benchmarks/confirmation.py luck       # what the search's score owes to chance
    python benchmarks/confirmation.py power      # which gains are found
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.comparison.confirmation import Confirmation, Retrained, confirmation_among
from study.metrics import METRICS, Array, Statistics

LONGEST, SHORTEST = 30, 8  # words of a reference
SWITCHES = 0.35  # how often a model that keeps words begins to miss them, and the other way round
DIFFICULTY, TASTE = 1.0, 0.3  # how examples, and configurations on an example, differ (log odds)
CALM, WILD = 0.03, 0.2  # how far a training's seed moves it (log odds)
ABILITY, SPREAD = 1.0, 0.2  # of the configurations of a search: mean and how they differ
TRIALS, DEV = 64, 200
Rng = np.random.Generator


@dataclass(frozen=True)
class Examples:
    """N examples: words of each reference, how easy each is, what each configuration makes of it.

    Shapes (N,), (N,) and (configurations, N).
    """

    words: Array
    ease: Array
    taste: Array


def examples(count: int, configurations: int, rng: Rng) -> Examples:
    """Draw examples."""
    words = rng.integers(SHORTEST, LONGEST + 1, size=count)
    ease = DIFFICULTY * rng.standard_normal(count)
    return Examples(words, ease, TASTE * rng.standard_normal((configurations, count)))


def answers(metric: str, ability: Array, given: Examples, rng: Rng) -> list[list[Statistics]]:
    """Score trainings of abilities (configurations, seeds) on examples: a list a configuration."""
    logits = ability[:, :, None] + (given.ease + given.taste)[:, None, :]
    good = 1 / (1 + np.exp(-logits))  # (configurations, seeds, N)
    values = _classes(good, rng) if metric == "accuracy" else _words(good, given.words, rng)
    return [[Statistics(metric, v, metric) for v in of] for of in values]


def _classes(good: Array, rng: Rng) -> Array:
    right = (rng.random(good.shape) < good).astype(float)
    return np.stack([right, np.ones_like(right)], axis=-1)


def _words(good: Array, words: Array, rng: Rng) -> Array:
    """BLEU's statistics (…, N, 10): lengths, n-grams kept and n-grams in all, n = 1 to 4."""
    run = np.zeros(good.shape, dtype=np.int8)  # words kept in a row, up to here
    kept = rng.random(good.shape) < good
    correct = np.zeros((4, *good.shape))
    for place in range(LONGEST):
        switches = rng.random(good.shape) < SWITCHES
        kept = np.where(switches, rng.random(good.shape) < good, kept)
        run = np.where(kept & (place < words), np.minimum(run + 1, 4), 0)
        for n in range(4):
            correct[n] += run > n
    lengths = np.broadcast_to(words, good.shape).astype(float)
    total = [lengths - n for n in range(4)]
    return np.stack([lengths, lengths, *correct, *total], axis=-1)


def true_score(metric: str, ability: float, spread: float) -> float:
    """The score of a configuration on all examples and seeds that there could be."""
    rng = np.random.default_rng(0)
    seeds = ability + spread * rng.permutation(_normal_quantiles(40))
    scored = answers(metric, seeds[None], examples(4000, 1, rng), rng)[0]
    return float(np.mean([s.score for s in scored]))


def _normal_quantiles(count: int) -> Array:
    from scipy.stats import norm

    return np.asarray(norm.ppf((np.arange(count) + 0.5) / count))


def confirmed(
    metric: str, abilities: Sequence[float], spread: float, seeds: int, n: int, rng: Rng
) -> Confirmation:
    """Train every configuration on fresh seeds; the first is the winner, the last the default."""
    drawn = np.array(abilities)[:, None] + spread * rng.standard_normal((len(abilities), seeds))
    models = answers(metric, drawn, examples(n, len(abilities), rng), rng)
    names = [f"trial {k}" for k in range(len(abilities) - 1)] + ["default"]
    winner, *others = (
        Retrained(name, k, tuple(range(seeds)), tuple(of), np.zeros(seeds), None, {})
        for k, (name, of) in enumerate(zip(names, models, strict=True))
    )
    return confirmation_among(metric, winner, others)


def coverage(runs: int) -> None:
    """Print how often the interval holds the true gain, and how wide it is."""
    gain = 0.15
    print("| metric | a seed moves it by | seeds | N | holds the truth | half width |")
    print("|---|---|---|---|---|---|")
    for metric in ("bleu", "accuracy"):
        for spread in (CALM, WILD):
            truth = true_score(metric, 1 + gain, spread) - true_score(metric, 1, spread)
            moves = true_score(metric, 1 + spread, 0) - true_score(metric, 1, 0)
            for seeds in (2, 3, 5):
                for n in (50, 200, 1000):
                    rng = np.random.default_rng([1, seeds, n])
                    found = [
                        confirmed(metric, (1 + gain, 1), spread, seeds, n, rng).tested[0]
                        for _ in range(runs)
                    ]
                    scale = 100 if metric == "accuracy" else 1
                    held = np.mean([t.interval[0] <= truth <= t.interval[1] for t in found])
                    width = np.median([t.interval[1] - t.difference for t in found])
                    print(
                        f"| {METRICS[metric].label} | {scale * moves:.1f} | {seeds} | {n} "
                        f"| {held:.3f} | {scale * width:.1f} |",
                        flush=True,
                    )
    print(f"\n{runs} studies each: a Monte Carlo error of {1.96 * (0.05 * 0.95 / runs) ** 0.5:.3f}")


def null(runs: int) -> None:
    """Print how often a winner that equals three others is called better than any, or worse."""
    print("| a seed moves it | seeds | N | called better | or worse |\n|---|---|---|---|---|")
    for spread, word in ((CALM, "a little"), (WILD, "far")):
        for seeds in (2, 3, 5):
            for n in (50, 200):
                rng = np.random.default_rng([2, seeds, n])
                found = [
                    confirmed("bleu", (1, 1, 1, 1), spread, seeds, n, rng).tested
                    for _ in range(runs)
                ]
                better = np.mean([any(t.clear and t.gain > 0 for t in of) for of in found])
                worse = np.mean([any(t.clear and t.gain < 0 for t in of) for of in found])
                print(f"| {word} | {seeds} | {n} | {better:.3f} | {worse:.3f} |", flush=True)
    print(f"\n{runs} studies each: a Monte Carlo error of {1.96 * (0.05 * 0.95 / runs) ** 0.5:.3f}")


def luck(runs: int) -> None:
    """Print the best score of a search, what of it is chance, and what `confirm` calls luck."""
    print(
        f"Best of {TRIALS} trials by BLEU on {DEV} dev examples, then five fresh seeds.\n\n"
        "| a seed moves it | too high by: its seed | its dev examples | said to be luck "
        "| interval holds the seed's part | called luck |\n|---|---|---|---|---|---|"
    )
    for spread, word in ((CALM, "a little"), (WILD, "far")):
        rows = np.array([_one_search(spread, np.random.default_rng([3, r])) for r in range(runs)])
        seed, dev, said, held, called = rows.mean(axis=0)
        print(f"| {word} | {seed:+.2f} | {dev:+.2f} | {said:+.2f} | {held:.3f} | {called:.2f} |")
    print(f"\nmeans of {runs} searches")


def _one_search(spread: float, rng: Rng) -> tuple[float, float, float, bool, bool]:
    """One search and its confirmation.

    What the seed gave, what the dev examples gave, the estimate, whether its interval holds what
    the seed gave, and whether it is called luck.  The dev examples' part is what the winner's own
    tastes make of them: that they are easy or hard for all is no luck of the winner's.
    """
    abilities = ABILITY + SPREAD * rng.standard_normal(TRIALS)
    dev = examples(DEV, TRIALS, rng)
    drawn = abilities[:, None] + spread * rng.standard_normal((TRIALS, 1))
    scores = [of[0].score for of in answers("bleu", drawn, dev, rng)]
    best = int(np.argmax(scores))

    def mean(seeds: Array, taste: Array) -> tuple[Array, list[Statistics]]:
        given = Examples(dev.words, dev.ease, taste)
        ability = np.array([abilities[best] + spread * seeds])
        found = answers("bleu", ability, given, rng)[0]
        return np.array([s.score for s in found]), found

    own = dev.taste[[best]]
    everywhere, _ = mean(_normal_quantiles(100), own)
    tastes = TASTE * rng.standard_normal((25, 1, DEV))
    others = [mean(_normal_quantiles(4), taste)[0] for taste in tastes]
    again, statistics = mean(rng.standard_normal(5), own)
    seeds = tuple(range(5))
    winner = Retrained("trial 0", 0, seeds, tuple(statistics), again, scores[best], {})
    found = confirmation_among("bleu", winner, []).luck
    assert found is not None
    assert found.ci is not None
    seed = scores[best] - float(everywhere.mean())
    dev_part = float(everywhere.mean() - np.mean(others))
    held = found.ci[0] <= seed <= found.ci[1]
    return seed, dev_part, found.amount, held, found.ci[0] > 0


def power(runs: int) -> None:
    """Print how often a gain over the default is found."""
    print("| true gain (BLEU) | a seed moves it | seeds | N | confirmed |\n|---|---|---|---|---|")
    for gain in (0.05, 0.15, 0.4):
        for spread, word in ((CALM, "a little"), (WILD, "far")):
            truth = true_score("bleu", 1 + gain, spread) - true_score("bleu", 1, spread)
            for seeds in (2, 3, 5):
                for n in (50, 200, 1000):
                    rng = np.random.default_rng([4, seeds, n])
                    found = [
                        confirmed("bleu", (1 + gain, 1), spread, seeds, n, rng).tested[0]
                        for _ in range(runs)
                    ]
                    share = np.mean([t.clear and t.gain > 0 for t in found])
                    print(f"| {truth:.1f} | {word} | {seeds} | {n} | {share:.2f} |", flush=True)
    print(f"\n{runs} studies each")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["coverage", "null", "luck", "power"])
    parser.add_argument("--runs", type=int, default=400)
    given = parser.parse_args()
    {"coverage": coverage, "null": null, "luck": luck, "power": power}[given.what](given.runs)
