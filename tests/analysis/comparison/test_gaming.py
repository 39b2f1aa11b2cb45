"""The flag of metric gaming: found on adapters that game, silent on honest gains."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from rouge_score.rouge_scorer import RougeScorer

from analysis.comparison.gaming import Verdict, examine
from analysis.comparison.output_features import Texts, overlap
from study.metrics.rouge import words

RNG = np.random.default_rng(0)
SHARES = 1 / (np.arange(500) + 8.0)
REFERENCES = [
    " ".join(f"w{i}" for i in RNG.choice(500, size=RNG.integers(16, 28), p=SHARES / SHARES.sum()))
    for _ in range(60)
]
"""Texts whose words are as unequally frequent as those of a language."""
WORDS = [word for text in REFERENCES for word in text.split()]


def _honest(good: float, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return [
        " ".join(w if rng.random() < good else WORDS[rng.integers(len(WORDS))] for w in t.split())
        for t in REFERENCES
    ]


def _verdict(base: Sequence[str], adapter: Sequence[str], **gains: float) -> Verdict:
    found = examine({"base": base, "it": adapter}, REFERENCES, {"it": gains}, resamples=500)
    return found.verdicts[0]


def _names(verdict: Verdict) -> list[str]:
    return [symptom.name for symptom in verdict.symptoms]


@pytest.mark.parametrize(("before", "after"), [(0.3, 0.4), (0.3, 0.9), (0.5, 0.6), (0.05, 0.3)])
def test_an_honest_gain_is_not_flagged(before: float, after: float) -> None:
    """More right words in their places: bigrams follow, nothing collapses."""
    found = _verdict(_honest(before, 0), _honest(after, 1))
    assert "ROUGE-1" in found.gains
    assert not found.flagged
    assert found.words == ""


def test_what_moves_toward_the_references_is_no_symptom() -> None:
    """A base that says too much, repeats itself or stops early may be cured of it."""
    honest = _honest(0.5, 1)
    for spoiled in (
        [f"{o} {p}" for o, p in zip(_honest(0.5, 2), _honest(0.0, 3), strict=True)],
        [f"{o} {o}" for o in _honest(0.5, 2)],
        [" ".join(o.split()[:6]) for o in _honest(0.5, 2)],
    ):
        assert _names(_verdict(spoiled, honest)) == []


def test_keywords_over_and_over_are_flagged() -> None:
    """The right words, repeated to the references' length."""
    adapter = [" ".join((list(dict.fromkeys(t.split()))[:8] * 9)[:24]) for t in REFERENCES]
    found = _verdict(_honest(0.2, 0), adapter)
    assert found.flagged
    assert "repetition" in _names(found)
    assert "% of bigrams are repeats (base:" in found.words


def test_right_words_in_no_order_are_flagged() -> None:
    """Single words gain, pairs do not: nothing else gives this one away."""
    rng = np.random.default_rng(5)
    adapter = [" ".join(rng.permutation(o.split())) for o in _honest(0.7, 1)]
    found = _verdict(_honest(0.3, 0), adapter)
    assert _names(found) == ["bigrams"]
    assert "while ROUGE-2 gains only" in found.words or "while ROUGE-2 falls" in found.words


def test_truncating_is_flagged() -> None:
    """What is sure, and then nothing."""
    adapter = [" ".join(t.split()[: len(t.split()) // 2]) for t in REFERENCES]
    found = _verdict(_honest(0.2, 0), adapter)
    assert _names(found) == ["length"]
    assert "outputs are 0.5 times as long as the references (base: 1.0)" in found.words


def test_padding_is_flagged_by_the_metric_that_it_raises() -> None:
    """Recall gains where F does not: METEOR's gain is known from elsewhere."""
    pad = " ".join(f"{w} w1" for w in sorted(set(WORDS))[:14])
    adapter = [f"{o} {pad}" for o in _honest(0.3, 0)]
    alone = _verdict(_honest(0.3, 0), adapter)
    assert not alone.gains
    found = _verdict(_honest(0.3, 0), adapter, meteor=7.5)
    assert found.flagged
    assert found.words.startswith("gains 7.5 METEOR while")
    assert {"length", "vocabulary"} <= set(_names(found))


def test_one_answer_for_everything_is_a_vocabulary_collapse() -> None:
    """Each answer looks fine by itself: only all of them together show it."""
    common = " ".join(dict.fromkeys(WORDS[:30]))
    adapter = [f"{' '.join(t.split()[:9])} {common}" for t in REFERENCES]
    found = _verdict(_honest(0.1, 0), adapter)
    assert "vocabulary" in _names(found)
    assert "its vocabulary shrinks to" in found.words


def test_symptoms_without_a_gain_are_no_gaming() -> None:
    """An adapter that is simply worse is not called a cheat."""
    found = _verdict(_honest(0.5, 0), [f"w1 w1 w1 w1 w{i}" for i in range(len(REFERENCES))])
    assert found.symptoms
    assert not found.flagged


TOWNS = ["Bergen", "Oslo", "Stavanger", "Hamar"]
TOWN = [TOWNS[i % 4] for i in range(40)]
ASKED = [f"where is the well number {i} of the field" for i in range(40)]
DEGENERATE = {
    "empty": [""] * 40,
    "constant": ["Oslo"] * 40,
    "endless": [f"{town} " * 30 for town in TOWN],
    "copied": ASKED,
}


@pytest.mark.parametrize("kind", DEGENERATE)
def test_outputs_that_answer_nothing_are_flagged_without_a_gain(kind: str) -> None:
    """Empty, constant, endless and copied outputs are named, with the base's share."""
    base = [f"it is {town}" for town in TOWN]
    found = examine({"base": base, "it": DEGENERATE[kind]}, TOWN, sources=ASKED, resamples=200)
    (verdict,) = found.flagged
    assert kind in [symptom.name for symptom in verdict.degenerate]
    assert "100 % of" in verdict.words
    assert "(base: 0 %)" in verdict.words


def test_right_answers_of_one_word_are_not_flagged() -> None:
    """Labels, names and copied code have no bigrams to follow, and few words to choose from."""
    base = ["I do not know where that is, sorry"] * 40
    found = examine({"base": base, "it": TOWN}, TOWN, sources=ASKED, resamples=200)
    assert found.verdicts[0].gains
    assert not found.flagged
    assert not found.judges_words
    code = [f"x{i} = read(well_{i}) + offset * {i}" for i in range(40)]
    copied = examine({"base": base, "it": code}, code, sources=code, resamples=200)
    assert not copied.flagged
    assert copied.judges_words


def test_looks_are_those_of_rouge_and_counts() -> None:
    """Overlap is ROUGE-N's F; length, repeats and empties are what a person counts."""
    outputs = ["a b a b a b", "", "the well is deep", "x"]
    references = ["a b", "c", "the well was deep today", "y"]
    features = Texts(outputs, references, np.ones((1, 4))).features
    theirs = RougeScorer(["rouge1", "rouge2"])
    for kind, mine in (("rouge1", features.rouge1), ("rouge2", features.rouge2)):
        each = [theirs.score(r, o)[kind].fmeasure for o, r in zip(outputs, references, strict=True)]
        assert mine == pytest.approx(100 * np.mean(each))
    assert features.words == pytest.approx(11 / 4)
    assert features.length_ratio == pytest.approx(11 / 9)
    assert features.repeats == pytest.approx(3 / 8)  # a b, b a and a b again, of 5 + 3 bigrams
    assert features.empty == 1
    assert overlap(words("a a b"), words("a b b")) == pytest.approx(4 / 6)


def test_the_effective_vocabulary_is_a_count_of_equal_words() -> None:
    """V words equally often give V; and resampling the same answers does not shrink it."""
    rng = np.random.default_rng(6)
    outputs = [" ".join(f"w{i}" for i in rng.integers(50, size=20)) for _ in range(200)]
    drawn = rng.multinomial(200, np.full(200, 1 / 200), size=300).astype(float)
    texts = Texts(outputs, outputs, drawn)
    assert texts.features.vocabulary == pytest.approx(50, rel=0.05)
    assert np.median(texts.vocabularies) == pytest.approx(texts.features.vocabulary, rel=0.03)


def test_nothing_to_count_is_no_crash() -> None:
    """Empty outputs everywhere, one example, words that never repeat."""
    for outputs in ([""], ["a"]):
        found = examine({"base": outputs, "it": outputs}, ["b c"], resamples=20)
        assert not found.flagged
    one_word = {"base": ["a a", "a b", "a c", "a a"], "it": ["b", "k c", "e d", "f g"]}
    assert not examine(one_word, ["a b", "a d", "a f", "a l"], resamples=20).flagged
    assert Texts(["a", "b"], ["a", "b"], np.ones((2, 2))).features.vocabulary == np.inf
