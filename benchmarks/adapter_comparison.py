"""Base against adapters where the truth is known: intervals, family-wise errors, and the flag.

Sentences of the embedded corpus are joined to answers of about 25 words, and a model is a way to
spoil them.  Three questions: how often does a 95 % interval hold the difference of a large
population; how often is anything called significant among nine adapters and six metrics that are
the base in all but chance; and how often does the flag of metric gaming stand on honest gains, and
on adapters that game.

    python benchmarks/adapter_comparison.py coverage
    python benchmarks/adapter_comparison.py null
    python benchmarks/adapter_comparison.py gaming
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np

from analysis.comparison.contrast import Contrast, Resampled, compare, corrected
from analysis.comparison.gaming import examine
from analysis.significance import LEVEL
from study.data.embedded import petroleum_corpus
from study.metrics import METRICS, Statistics, text_statistics

NAMES = ("bleu", "bleu1", "chrf", "rouge1", "rouge2", "rougeL")
ADAPTERS = 9
Rng = np.random.Generator
Text = list[str]


def answers(count: int) -> list[Text]:
    """References of three sentences, as words."""
    corpus = petroleum_corpus(0)
    sentences = [pair.target for pair in (*corpus.train, *corpus.dev, *corpus.general)]
    rng = np.random.default_rng(3)
    drawn = rng.integers(len(sentences), size=(count, 3))
    return [" ".join(sentences[i] for i in row).split() for row in drawn]


class Writers:
    """Ways to answer, each from the reference (a list of words) and a generator."""

    def __init__(self, references: list[Text]) -> None:
        self._words = [word for text in references for word in text]
        counts: dict[str, int] = {}
        for word in self._words:
            counts[word] = counts.get(word, 0) + 1
        self._common = sorted(counts, key=lambda w: -counts[w])[:12]

    def _any(self, rng: Rng) -> str:
        return self._words[rng.integers(len(self._words))]

    def honest(self, good: float) -> Callable[[Text, Rng], Text]:
        """Keep a share of the words, runs of them as a model does, and replace the others."""

        def write(target: Text, rng: Rng) -> Text:
            kept, said = rng.random() < good, []
            for word in target:
                if rng.random() < 0.35:
                    kept = rng.random() < good
                said.append(word if kept else self._any(rng))
            return said

        return write

    def scattered(self, good: float) -> Callable[[Text, Rng], Text]:
        """Keep a share of the words, each by itself: hardly ever two in a row."""
        return lambda t, rng: [w if rng.random() < good else self._any(rng) for w in t]

    def echoing(self, good: float) -> Callable[[Text, Rng], Text]:
        """As honest, with the last fifth of the answer said once more."""
        write = self.honest(good)
        return lambda t, rng: (said := write(t, rng)) + said[-max(len(t) // 5, 2) :]

    def wordy(self, good: float) -> Callable[[Text, Rng], Text]:
        """As honest, and then half as long again."""
        write = self.honest(good)
        return lambda t, rng: [*write(t, rng), *(self._any(rng) for _ in t[: len(t) // 2])]

    def terse(self, good: float) -> Callable[[Text, Rng], Text]:
        """As honest, and then only its first half."""
        write = self.honest(good)
        return lambda t, rng: write(t, rng)[: max(len(t) // 2, 1)]

    def repeating(self, good: float) -> Callable[[Text, Rng], Text]:
        """Find a share of the words, and say them over and over up to the reference's length."""

        def write(target: Text, rng: Rng) -> Text:
            found = [w for w in dict.fromkeys(target) if rng.random() < good] or [self._any(rng)]
            return (found * len(target))[: len(target)]

        return write

    def shuffled(self, good: float) -> Callable[[Text, Rng], Text]:
        """Find a share of the words, in no order."""
        write = self.honest(good)
        return lambda t, rng: [str(w) for w in rng.permutation(write(t, rng))]

    def truncated(self, good: float) -> Callable[[Text, Rng], Text]:
        """Say the words that are sure, the shorter half, and stop."""
        return lambda t, rng: [w for w in t[: max(len(t) // 2, 1)] if rng.random() < good]

    def padded(self, good: float) -> Callable[[Text, Rng], Text]:
        """As honest, and then the words that stand in every answer, as many again."""
        write = self.honest(good)
        return lambda t, rng: [*write(t, rng), *rng.choice(self._common, size=len(t))]

    def common(self, good: float) -> Callable[[Text, Rng], Text]:
        """Say a share of the reference's words, and for the others the commonest of all."""

        def write(target: Text, rng: Rng) -> Text:
            return [w if rng.random() < good else str(rng.choice(self._common)) for w in target]

        return write


def written(write: Callable[[Text, Rng], Text], references: list[Text], rng: Rng) -> list[str]:
    """Let a model answer everything."""
    return [" ".join(write(target, rng)) for target in references]


def coverage(runs: int, population: int = 4000) -> None:
    """Print how often the paired interval holds the population's difference."""
    references = answers(population)
    targets, rng = [" ".join(t) for t in references], np.random.default_rng(0)
    models = [written(Writers(references).honest(g), references, rng) for g in (0.5, 0.6)]
    print("| metric | N | holds the truth |\n|---|---|---|")
    for name in ("bleu", "chrf", "rouge1", "rouge2"):
        base, adapter = (text_statistics(name, outputs, targets) for outputs in models)
        truth = adapter.score - base.score
        for n in (50, 200, 500):
            held = 0
            for run in range(runs):
                rows = np.random.default_rng([1, n, run]).integers(population, size=n)
                pair = [Statistics(name, s.values[rows], s.signature) for s in (adapter, base)]
                low, high = compare(*pair, seed=run).interval
                held += low <= truth <= high
            print(f"| {METRICS[name].label} | {n} | {held / runs:.3f} |")
    print(f"\n{runs} runs each: a Monte Carlo error of {1.96 * (0.05 * 0.95 / runs) ** 0.5:.3f}")


def null(runs: int, n: int = 100, population: int = 1500) -> None:
    """Print how often any of 9 × 6 true nulls is rejected, with Holm's correction and without."""
    references = answers(population)
    targets, rng = [" ".join(t) for t in references], np.random.default_rng(0)
    write = Writers(references).honest(0.5)
    outputs = [written(write, references, rng) for _ in range(ADAPTERS + 1)]
    pool = {m: [text_statistics(m, o, targets) for o in outputs] for m in NAMES}
    names = ["base", *(f"adapter {k}" for k in range(ADAPTERS))]
    pairs, family = [(place, 0) for place in range(1, len(names))], ADAPTERS * len(NAMES)
    wrong = {"corrected": 0, "each at 0.05": 0}
    for run in range(runs):
        rng = np.random.default_rng([2, run])
        rows = rng.integers(population, size=n)
        order = rng.permuted(np.tile(np.arange(ADAPTERS + 1), (n, 1)), axis=1)  # who said what
        tested: list[Contrast] = []
        for name, statistics in pool.items():
            values = np.stack([s.values[rows] for s in statistics], axis=1)  # (n, models, S)
            mixed = np.take_along_axis(values, order[:, :, None], axis=1)
            signature = statistics[0].signature
            models = [Statistics(name, mixed[:, k], signature) for k in range(ADAPTERS + 1)]
            resampled = Resampled(names, models, resamples=2, seed=run)  # intervals are not used
            tested += resampled.contrasts(pairs, family)
        wrong["corrected"] += any(c.clear for c in corrected(tested))
        wrong["each at 0.05"] += any(c.p < LEVEL for c in tested)
    print("| p-values | studies in which anything is called significant |\n|---|---|")
    for kind, count in wrong.items():
        print(f"| {kind} | {count / runs:.3f} |")
    error = 1.96 * (0.05 * 0.95 / runs) ** 0.5
    print(f"\n{runs} studies of {n} examples: a Monte Carlo error of {error:.3f} around 0.05")


def gaming(runs: int) -> None:
    """Print how often the flag stands, and for what."""
    pool = answers(3000)
    w = Writers(pool)
    cases = {
        "honest: 0.50 → 0.55 of the words": (w.honest(0.5), w.honest(0.55)),
        "honest: 0.50 → 0.70": (w.honest(0.5), w.honest(0.7)),
        "honest: 0.30 → 0.90": (w.honest(0.3), w.honest(0.9)),
        "honest: 0.05 → 0.20": (w.honest(0.05), w.honest(0.2)),
        "honest: single words, 0.10 → 0.25": (w.scattered(0.1), w.scattered(0.25)),
        "honest: wordy 0.50 → 0.50 at the right length": (w.wordy(0.5), w.honest(0.5)),
        "honest: terse 0.50 → 0.50 at the right length": (w.terse(0.5), w.honest(0.5)),
        "no change: 0.50 → 0.50": (w.honest(0.5), w.honest(0.5)),
        "games: repeats its keywords": (w.honest(0.3), w.repeating(0.6)),
        "games a little: says its end twice": (w.honest(0.3), w.echoing(0.5)),
        "games: right words in no order": (w.honest(0.3), w.shuffled(0.6)),
        "games: truncates to what is sure": (w.honest(0.3), w.truncated(0.9)),
        "games: pads with common words": (w.honest(0.3), w.padded(0.6)),
        "games: common words for what it does not know": (w.honest(0.1), w.common(0.2)),
    }
    print("| adapter | N | gain in ROUGE-1 | flagged | for |\n|---|---|---|---|---|")
    for name, (base, adapter) in cases.items():
        for n in (50, 200):
            _print_gaming(name, n, base, adapter, pool, runs)
    print(f"\n{runs} studies each")


def _print_gaming(
    name: str,
    n: int,
    base: Callable[[Text, Rng], Text],
    adapter: Callable[[Text, Rng], Text],
    pool: list[Text],
    runs: int,
) -> None:
    flagged, gains, reasons = 0, [], dict[str, int]()
    for run in range(runs):
        rng = np.random.default_rng([4, n, run])
        references = [pool[i] for i in rng.integers(len(pool), size=n)]
        outputs = {"base": written(base, references, rng)}
        outputs["adapter"] = written(adapter, references, rng)
        found = examine(outputs, [" ".join(t) for t in references], resamples=1000, seed=run)
        gains.append(found.features["adapter"].rouge1 - found.features["base"].rouge1)
        flagged += bool(found.flagged)
        for verdict in found.flagged:
            for symptom in verdict.symptoms:
                reasons[symptom.name] = reasons.get(symptom.name, 0) + 1
    listed = ", ".join(f"{reason} {count / runs:.2f}" for reason, count in reasons.items())
    print(f"| {name} | {n} | {np.mean(gains):+.1f} | {flagged / runs:.3f} | {listed} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["coverage", "null", "gaming"])
    parser.add_argument("--runs", type=int, default=300)
    given = parser.parse_args()
    {"coverage": coverage, "null": null, "gaming": gaming}[given.what](given.runs)
