"""Per-example statistics add up to sacreBLEU's own corpus scores, for any subset of examples."""

from __future__ import annotations

import math

import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st

from study.metrics import METRICS, Statistics, TextOptions, split_and_metric, text_statistics

OUTPUTS = ["le puits traverse le réservoir", "la boue", "", "le trépan fore vite !", "un piège"]
REFERENCES = [
    "le puits traverse un réservoir",
    "la boue de forage",
    "le train de tiges",
    "le trépan fore vite !",
    "un kick arrive",
]
THEIRS = {"bleu": sacrebleu.corpus_bleu, "chrf": sacrebleu.corpus_chrf}


@pytest.mark.parametrize("metric", THEIRS)
def test_the_corpus_score_is_sacrebleus(metric: str) -> None:
    """The sum of the examples' statistics gives the score that sacreBLEU gives."""
    found = text_statistics(metric, OUTPUTS, REFERENCES)
    assert found.score == pytest.approx(THEIRS[metric](OUTPUTS, [REFERENCES]).score)
    assert found.values.shape[0] == len(OUTPUTS)


words = st.text("abc é.", max_size=12)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(words, words.filter(str.strip)), min_size=1, max_size=5))
def test_any_subset_is_scored_from_its_rows(texts: list[tuple[str, str]]) -> None:
    """Statistics of some examples give the score of those examples alone: a bootstrap's need."""
    outputs, references = map(list, zip(*texts, strict=True))
    rows = list(range(0, len(texts), 2))
    for metric, theirs in THEIRS.items():
        whole = text_statistics(metric, outputs, references)
        part = Statistics(metric, whole.values[rows], whole.signature)
        expected = theirs([outputs[i] for i in rows], [[references[i] for i in rows]]).score
        assert part.score == pytest.approx(expected)


@pytest.mark.parametrize(
    ("metric", "theirs"),
    [("bleu", sacrebleu.sentence_bleu), ("chrf", sacrebleu.sentence_chrf)],
)
def test_an_examples_own_score_is_sacrebleus(metric: str, theirs: object) -> None:
    """Every example alone scores what sacreBLEU's sentence score says."""
    assert callable(theirs)
    found = text_statistics(metric, OUTPUTS, REFERENCES).example_scores()
    expected = [theirs(o, [r]).score for o, r in zip(OUTPUTS, REFERENCES, strict=True)]
    assert found == pytest.approx(expected)


def test_signatures_make_scores_reproducible() -> None:
    """A signature names the tokenizer, the options and sacreBLEU's version."""
    bleu = text_statistics("bleu", OUTPUTS, REFERENCES).signature
    assert "tok:13a" in bleu
    assert f"version:{sacrebleu.__version__}" in bleu
    assert "nrefs:1" in bleu
    assert bleu != text_statistics("chrf", OUTPUTS, REFERENCES).signature


def test_the_loss_is_a_mean_over_tokens() -> None:
    """Examples weigh by their tokens, and one without tokens has no loss of its own."""
    values = np.array([[6.0, 3.0], [1.0, 1.0], [0.0, 0.0]])
    loss = Statistics("loss", values, "nats")
    assert loss.score == pytest.approx(7 / 4)
    assert loss.example_scores()[:2].tolist() == [2.0, 1.0]
    assert math.isnan(loss.example_scores()[2])
    assert math.isnan(Statistics("loss", values[2:], "nats").score)


def test_directions() -> None:
    """Losses and errors are minimised, everything else maximised."""
    lower = {name for name, metric in METRICS.items() if metric.direction == "minimize"}
    assert lower == {"loss", "perplexity", "bits_per_byte", "mse"}


def test_an_objectives_name_says_its_split() -> None:
    """`general_` means the general-domain test set, anything else dev."""
    assert split_and_metric("bleu") == ("dev", "bleu")
    assert split_and_metric("general_loss") == ("general", "loss")
    assert split_and_metric("general_general_bleu") == ("general", "general_bleu")


def test_macro_f1_and_accuracy_are_scikit_learns() -> None:
    """The corpus scores, and those of any subset, are scikit-learn's on the same labels."""
    from sklearn.metrics import accuracy_score, f1_score

    rng = np.random.default_rng(0)
    references = list(rng.choice(["a", "b", "c"], size=60))
    outputs = [r if rng.random() < 0.6 else str(rng.choice(["a", "b"])) for r in references]
    accuracy = text_statistics("accuracy", outputs, references)
    f1 = text_statistics("macro_f1", outputs, references)
    assert f1.values.shape == (60, 9)
    for rows in (list(range(60)), list(range(0, 60, 7)), [3]):
        said, true = [outputs[i] for i in rows], [references[i] for i in rows]
        part = Statistics("accuracy", accuracy.values[rows], accuracy.signature)
        assert part.score == pytest.approx(accuracy_score(true, said))
        part = Statistics("macro_f1", f1.values[rows], f1.signature)
        wanted = f1_score(true, said, labels=["a", "b", "c"], average="macro", zero_division=0)
        assert part.score == pytest.approx(wanted)


def test_macro_f1_averages_over_the_same_classes_for_every_model() -> None:
    """A class that neither the labels nor a model's outputs hold counts as 0, as scikit-learn's."""
    from sklearn.metrics import f1_score

    labels, references = ("a", "b", "c", "d"), ["a", "a", "b", "c"]
    options = TextOptions(labels=labels)
    for outputs in (["a", "a", "b", "c"], ["a", "b", "b", "d"], ["a"] * 4):
        found = text_statistics("macro_f1", outputs, references, options)
        assert (found.values.shape, found.signature) == ((4, 12), "macro-f1|classes:all")
        wanted = f1_score(references, outputs, labels=labels, average="macro", zero_division=0)
        assert found.score == pytest.approx(wanted)


def test_one_class_throughout_shows_in_macro_f1() -> None:
    """A collapsed classifier keeps its share of right answers, and loses its macro F1."""
    references = ["a"] * 6 + ["b"] * 2 + ["c"] * 2
    accuracy, f1 = (
        text_statistics(metric, ["a"] * 10, references).score for metric in ("accuracy", "macro_f1")
    )
    assert accuracy == pytest.approx(0.6)
    assert f1 == pytest.approx((2 * 6 / 16) / 3)
