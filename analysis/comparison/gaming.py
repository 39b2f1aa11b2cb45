"""Metric gaming: does a gain in word overlap come with worse outputs?

A model can raise word overlap without improving its answers: by naming likely words, repeating
them, padding the answer or cutting it.  So an adapter that gains unigram overlap is checked: does
bigram overlap follow, and do length, repetition and vocabulary stay as close to the references' as
the base's are?  Each is compared with the base on resampled examples.  A change is a symptom where
it exceeds its tolerance and its 99 % interval excludes zero.  A change toward the references is
never a symptom.

Words say nothing of answers that have hardly any, such as labels, numbers and names: these four are
judged on examples whose reference has at least FEWEST_WORDS words, and not at all where there are
fewer than FEWEST_EXAMPLES of these.  Outputs that answer nothing (`degenerate`) are flagged
everywhere, with a gain or without.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.comparison.bootstrap import Interval, interval_of
from analysis.comparison.degenerate import Kind, degenerate
from analysis.comparison.output_features import OutputFeatures, Texts
from analysis.wording import listing
from study.metrics import METRICS, Array
from study.metrics.clusters import Clusters
from study.metrics.rouge import words

RESAMPLES = 2000
FEWEST_WORDS, FEWEST_EXAMPLES = 6, 20  # of a reference, and such references
CONFIDENCE = 0.99
FOLLOWS = 0.1  # the least gain in ROUGE-2, as a part of that in ROUGE-1
LENGTH = 1.5  # how many times longer or shorter than the references
REPEATS = 0.05  # by how much the share of repeated bigrams may rise
VOCABULARY = 1.5  # how many times smaller it may become
TESTED_HERE = "ROUGE-1"


@dataclass(frozen=True)
class Symptom:
    """One thing that went wrong: by how much, its 99 % interval, and a description."""

    name: str  # bigrams, length, repetition, vocabulary; empty, constant, endless, copied
    amount: float  # positive is worse; the logarithm of a ratio for length and vocabulary
    ci: Interval
    words: str


@dataclass(frozen=True)
class Verdict:
    """Whether an adapter games its metric: its gains in word overlap, and what they cost."""

    adapter: str
    gains: Mapping[str, float]  # metric -> points
    symptoms: tuple[Symptom, ...]
    degenerate: tuple[Symptom, ...] = ()  # outputs that answer nothing

    @property
    def flagged(self) -> bool:
        """Whether word overlap rose while the outputs got worse, or they answer nothing."""
        return bool(self.degenerate or (self.gains and self.symptoms))

    @property
    def title(self) -> str:
        """What the flag is called."""
        return "Metric gaming" if self.gains else "Degenerate outputs"

    @property
    def words(self) -> str:
        """The reason for the flag; empty where there is none."""
        if not self.flagged:
            return ""
        said = [s.words for s in (*self.degenerate, *(self.symptoms if self.gains else ()))]
        listed = listing(said)
        if not self.gains:
            return f"gives no answers: {listed}"
        name, points = next(iter(self.gains.items()))
        return f"gains {points:.1f} {name} while {listed}"


@dataclass(frozen=True)
class Examined:
    """The features of base, adapters and references, and a verdict on each adapter."""

    features: Mapping[str, OutputFeatures]
    references: OutputFeatures
    verdicts: tuple[Verdict, ...]
    judges_words: bool = True  # whether enough references are long enough

    @property
    def flagged(self) -> tuple[Verdict, ...]:
        """The adapters that game their metric, or whose outputs answer nothing."""
        return tuple(verdict for verdict in self.verdicts if verdict.flagged)


def examine(
    outputs: Mapping[str, Sequence[str]],
    references: Sequence[str],
    gains: Mapping[str, Mapping[str, float]] | None = None,
    *,
    sources: Sequence[str] = (),
    clusters: Clusters | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Examined:
    """Examine the outputs of the base, the first of `outputs`, and of its adapters.

    Args:
        outputs: model -> N outputs.
        references: N references.
        gains: adapter -> metric -> points; ROUGE-1 is tested here.
        sources: N sources; without them copies are not found.
        clusters: which of the N examples belong together.
        resamples: how many resamples the intervals use.
        seed: the seed of the resampling.
    """
    drawn = _weights(len(references) if clusters is None else clusters.count, resamples, seed)
    drawn = drawn if clusters is None else drawn[:, clusters.of_example]
    wanted = Texts(references, references, drawn)
    texts = {name: Texts(own, references, drawn) for name, own in outputs.items()}
    long = [i for i, text in enumerate(references) if len(words(text)) >= FEWEST_WORDS]
    judged = texts
    if len(long) < len(references):  # the others say nothing of bigrams and the like
        judged = {name: _part(own, references, drawn, long) for name, own in outputs.items()}
        wanted_long = _part(references, references, drawn, long)
    else:
        wanted_long = wanted
    (first, base), *adapters = texts.items()
    of_base = {kind.name: kind for kind in degenerate(outputs[first], references, sources)}
    verdicts = []
    for name, adapter in adapters:
        known = {
            m: g
            for m, g in (gains or {}).get(name, {}).items()
            if m in METRICS and METRICS[m].of_words
        }
        gained = _gains(Change(base, adapter, wanted), known)
        change = Change(judged[first], judged[name], wanted_long)
        symptoms = change.symptoms() if len(long) >= FEWEST_EXAMPLES else ()
        kinds = degenerate(outputs[name], references, sources)
        answers = [_nothing(kind, of_base[kind.name], drawn, bool(gained)) for kind in kinds]
        verdicts.append(Verdict(name, gained, symptoms, tuple(filter(None, answers))))
    features = {name: own.features for name, own in texts.items()}
    judges_words = len(long) >= FEWEST_EXAMPLES
    return Examined(features, wanted.features, tuple(verdicts), judges_words)


def _part(outputs: Sequence[str], references: Sequence[str], drawn: Array, of: list[int]) -> Texts:
    return Texts([outputs[i] for i in of], [references[i] for i in of], drawn[:, of])


def _nothing(kind: Kind, of_base: Kind, drawn: Array, is_gain: bool) -> Symptom | None:
    """Outputs of one kind beyond what is tolerated, more often than the base's or with a gain."""
    share, before = float(kind.is_so.mean()), float(of_base.is_so.mean())
    total = np.maximum(drawn.sum(axis=1), 1)
    shares, befores = drawn @ kind.is_so / total, drawn @ of_base.is_so / total
    said = f"{kind.words.format(100 * share)} (base: {100 * before:.0f} %)"
    more = _sure(kind.name, share - before, shares - befores, kind.tolerated, said)
    if share < before or (more is None and not is_gain):
        return None
    return _sure(kind.name, share - kind.tolerated, shares - kind.tolerated, 0.0, said)


def _weights(n: int, resamples: int, seed: int) -> Array:
    """How often each of N examples is drawn: (R, N)."""
    rng = np.random.default_rng([seed, 7])
    return rng.multinomial(n, np.full(n, 1 / n), size=resamples).astype(np.float64)


@dataclass(frozen=True)
class Change:
    """Base and adapter, and the references, on the same resamples."""

    base: Texts
    adapter: Texts
    wanted: Texts

    @property
    def sums(self) -> tuple[Array, Array, Array]:
        """The counts of base, adapter and references, each (R, 6)."""
        return self.base.sums, self.adapter.sums, self.wanted.sums

    @property
    def features(self) -> tuple[OutputFeatures, OutputFeatures, OutputFeatures]:
        """The features of base, adapter and references."""
        return self.base.features, self.adapter.features, self.wanted.features

    def symptoms(self) -> tuple[Symptom, ...]:
        """What clearly went wrong, beyond its tolerance."""
        found = (test(self) for test in SYMPTOMS)
        return tuple(symptom for symptom in found if symptom is not None)

    def overlaps(self) -> tuple[Array, Array]:
        """The gains in ROUGE-1 and ROUGE-2, each (R,)."""
        base, adapter, _ = self.sums
        one, two = (adapter - base)[:, :2].T / len(self.base.counts)
        return one, two


def _gains(change: Change, known: Mapping[str, float]) -> dict[str, float]:
    """The clear gains in word overlap, ROUGE-1 first: label of the metric -> points."""
    one, _ = change.overlaps()
    base, adapter, _ = change.features
    gained = {TESTED_HERE: adapter.rouge1 - base.rouge1} if interval_of(one)[0] > 0 else {}
    told = {METRICS[m].label: points for m, points in known.items()}
    told.pop(TESTED_HERE, None)
    return gained | told


def _bigrams(change: Change) -> Symptom | None:
    """Bigram overlap falls, or lags behind word overlap."""
    one, two = change.overlaps()
    base, adapter, _ = change.features
    gain = adapter.rouge2 - base.rouge2
    lag = FOLLOWS * (adapter.rouge1 - base.rouge1) - gain
    said = f"falls {-gain:.1f}" if gain < 0 else f"gains only {gain:.1f}"
    words = f"ROUGE-2 {said}"
    return _sure("bigrams", lag, FOLLOWS * one - two, 0.0, words)


def _length(change: Change) -> Symptom | None:
    """Outputs differ more in length from the references than the base's outputs do."""
    base, adapter, _ = change.sums
    of_base, of_adapter, _ = change.features
    far = [np.abs(np.log(np.maximum(s[:, 2], 0.5) / s[:, 3])) for s in (base, adapter)]
    ratio, before = of_adapter.length_ratio, of_base.length_ratio
    if 1 / LENGTH < ratio < LENGTH:
        return None
    amount = abs(np.log(max(ratio, 1e-3))) - abs(np.log(max(before, 1e-3)))
    words = f"outputs are {ratio:.1f} times as long as the references (base: {before:.1f})"
    return _sure("length", amount, far[1] - far[0], 0.0, words)


def _repetition(change: Change) -> Symptom | None:
    """More bigrams are repeats than in the base's outputs and in the references."""
    base, adapter, wanted = (s[:, 5] / np.maximum(s[:, 4], 1) for s in change.sums)
    of_base, of_adapter, of_wanted = (each.repeats for each in change.features)
    amount = of_adapter - max(of_base, of_wanted)
    words = f"{100 * of_adapter:.0f} % of bigrams are repeats (base: {100 * of_base:.0f} %)"
    return _sure("repetition", amount, adapter - np.maximum(base, wanted), REPEATS, words)


def _vocabulary(change: Change) -> Symptom | None:
    """All outputs use the same few words, fewer than base and references use."""
    base, adapter, wanted = (t.vocabularies for t in (change.base, change.adapter, change.wanted))
    of_base, of_adapter, of_wanted = (each.vocabulary for each in change.features)
    with np.errstate(divide="ignore", invalid="ignore"):  # infinite where no word repeats
        amount = float(np.log(min(of_base, of_wanted) / of_adapter))
        amounts = np.log(np.minimum(base, wanted) / adapter)
    words = f"its vocabulary shrinks to {of_adapter:.0f} effective words (base: {of_base:.0f})"
    return _sure("vocabulary", amount, np.nan_to_num(amounts), float(np.log(VOCABULARY)), words)


def _sure(name: str, amount: float, drawn: Array, tolerance: float, words: str) -> Symptom | None:
    """A symptom where the amount is beyond its tolerance and its interval above zero."""
    low, high = interval_of(drawn, CONFIDENCE)
    if not (amount > tolerance and low > 0):
        return None
    return Symptom(name, float(amount), (low, high), words)


SYMPTOMS: tuple[Callable[[Change], Symptom | None], ...] = (
    _bigrams,
    _length,
    _repetition,
    _vocabulary,
)
