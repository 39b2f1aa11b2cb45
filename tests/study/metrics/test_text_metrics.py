"""ROUGE, BLEU-n and METEOR against their libraries called directly; what is missing is a line."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.tokenize import wordpunct_tokenize
from nltk.translate.meteor_score import single_meteor_score
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from study.errors import InputError
from study.metrics import METRICS, Statistics, TextOptions, meteor, needs, text_statistics
from study.metrics.ngrams import bleu_each, bleu_scores, chrf_scores
from study.metrics.rouge import words
from study.spec.evaluation import EvaluationSpec
from study.spec.sections import StudySpec

WORDS = ["the", "bit", "cuts", "well", "rock", "mud", "gas", "rises", "fast,", "down!", "12.5"]
rng = random.Random(0)
REFERENCES = [" ".join(rng.choices(WORDS, k=rng.randint(1, 14))) for _ in range(40)]
OUTPUTS = [" ".join(w for w in r.split() if rng.random() < 0.8) for r in REFERENCES]
OUTPUTS[3], OUTPUTS[4] = "", "nothing alike"


@pytest.mark.parametrize("kind", ["rouge1", "rouge2", "rougeL"])
def test_rouge_is_that_of_rouge_score(kind: str) -> None:
    """Each example's F, and their mean, in points; on ASCII also with the package's own words."""
    theirs = RougeScorer([kind])
    expected = [theirs.score(r, o)[kind].fmeasure for o, r in zip(OUTPUTS, REFERENCES, strict=True)]
    found = text_statistics(kind, OUTPUTS, REFERENCES)
    assert found.example_scores() == pytest.approx(100 * np.array(expected))
    assert found.score == pytest.approx(100 * np.mean(expected))
    assert found.example_scores()[3] == 0.0
    assert "rouge-score:0.1.2" in found.signature


def test_rouge_reads_every_script() -> None:
    """What the package's own tokenizer drops is a word here: no silent zero outside a to z."""
    reservoir = "réservoir à haute pression"
    assert words("Réservoir à haute-pression, 12") == ["réservoir", "à", "haute", "pression", "12"]
    assert words("re\u0301servoir") == ["réservoir"]
    assert words("हिन्दी में") == ["हिन्दी", "में"]
    for text in (reservoir, "буровой раствор", "بئر النفط"):
        assert text_statistics("rouge1", [text], [text]).score == 100.0
    assert RougeScorer(["rouge1"]).score("буровой", "буровой")["rouge1"].fmeasure == 0.0


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_bleu_of_every_order_is_sacrebleus(order: int) -> None:
    """Corpus and sentence scores, and a signature that tells the orders apart."""
    found = text_statistics(f"bleu{order}", OUTPUTS, REFERENCES)
    theirs = BLEU(max_ngram_order=order)
    assert found.score == pytest.approx(theirs.corpus_score(OUTPUTS, [REFERENCES]).score)
    sentence = BLEU(max_ngram_order=order, effective_order=True).sentence_score
    expected = [sentence(o, [r]).score for o, r in zip(OUTPUTS, REFERENCES, strict=True)]
    assert found.example_scores() == pytest.approx(expected)
    assert found.signature.endswith(f"|order:{order}") == (order != 4)


def test_bleu_4_is_bleu() -> None:
    """Two names of one metric."""
    four, plain = (text_statistics(name, OUTPUTS, REFERENCES) for name in ("bleu4", "bleu"))
    assert (four.values == plain.values).all()
    assert four.signature == plain.signature


counts = st.integers(0, 30)


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 4), st.data())
def test_the_formula_of_bleu_is_sacrebleus(order: int, data: st.DataObject) -> None:
    """For any counts that can occur: no more matches than n-grams, ever fewer of longer ones."""
    said, wanted = data.draw(counts), data.draw(counts)
    total = [max(said - n, 0) for n in range(order)]
    correct = [data.draw(st.integers(0, t)) for t in total]
    row = np.array([said, wanted, *correct, *total], dtype=np.float64)
    for formula, effective in ((bleu_scores, False), (bleu_each, True)):
        theirs = BLEU.compute_bleu(
            list(correct), list(total), said, wanted, "exp", None, effective, order
        )
        assert formula(row) == pytest.approx(theirs.score)
        assert formula(np.stack([row, row])) == pytest.approx([theirs.score] * 2)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(counts, counts, counts), min_size=6, max_size=6))
def test_the_formula_of_chrf_is_sacrebleus(orders: list[tuple[int, int, int]]) -> None:
    """For any counts of six orders, also where an order does not occur."""
    row = [n for said, wanted, both in orders for n in (said, wanted, min(said, wanted, both))]
    assert chrf_scores(np.array(row, dtype=np.float64)) == pytest.approx(
        CHRF()._compute_f_score(row)
    )


def test_meteor_is_nltks() -> None:
    """Without WordNet: exact words and stems, as NLTK's own function without synonyms."""

    class Nothing:
        def synsets(self, word: str) -> list[object]:
            return []

    pairs = zip(OUTPUTS, REFERENCES, strict=True)
    expected = [
        single_meteor_score(wordpunct_tokenize(r), wordpunct_tokenize(o), wordnet=Nothing())
        for o, r in pairs
    ]
    found = text_statistics("meteor", OUTPUTS, REFERENCES)
    assert found.example_scores() == pytest.approx(100 * np.array(expected))
    assert "synonyms:none" in found.signature
    assert text_statistics("meteor", ["drilling"], ["drilled"]).score > 0
    assert text_statistics("meteor", ["", ""], ["a b", ""]).example_scores().tolist() == [0, 0]


def test_synonyms_count_only_where_the_study_file_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """With WordNet at hand a study without it scores the same; the signature tells them apart."""

    class Lemma:
        def name(self) -> str:
            return "pit"

    class Synset:
        def lemmas(self) -> list[Lemma]:
            return [Lemma()]

    class Wordnet:
        def synsets(self, word: str) -> list[Synset]:
            return [Synset()] if word == "well" else []

    own = meteor.synonyms
    monkeypatch.setattr(
        meteor, "synonyms", lambda kind: Wordnet() if kind == "wordnet" else own(kind)
    )
    texts = (["the well"], ["the pit"])
    plain = text_statistics("meteor", *texts)
    rich = text_statistics("meteor", *texts, TextOptions(synonyms="wordnet"))
    assert rich.score > plain.score
    assert rich.signature != plain.signature
    assert "synonyms:wordnet" in rich.signature


def _evaluation(**values: object) -> EvaluationSpec:
    return EvaluationSpec.model_validate(values)


def test_missing_wordnet_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A study that wants synonyms does not start without them."""
    import nltk

    monkeypatch.setattr(nltk.data, "path", [])
    meteor.synonyms.cache_clear()
    wanted = _evaluation(metrics=["meteor", "bleu"], synonyms="wordnet")
    with pytest.raises(InputError, match=r"^evaluation\.synonyms: .*nltk\.downloader wordnet"):
        needs.check_metrics(wanted)


def test_a_missing_library_is_a_line(
    monkeypatch: pytest.MonkeyPatch, make_spec: Callable[..., StudySpec]
) -> None:
    """`check` and `run` say which package is missing, for which metric, and how to get it."""
    from study.preparing.trial_cost import trial_cost

    gone = ("rouge_score", "sentence_transformers")
    monkeypatch.setattr(needs, "find_spec", lambda name: None if name in gone else object())
    needs.missing_library.cache_clear()
    spec = make_spec({"evaluation.metrics": ["bleu", "rouge1", "rouge2"]})
    with pytest.raises(InputError) as raised:
        trial_cost(spec)
    needs.missing_library.cache_clear()
    assert str(raised.value).splitlines() == [
        f"evaluation.metrics: {name!r} needs rouge-score, which is not installed; "
        "run `pip install 'optuna-study[rouge]'`, or leave it out"
        for name in ("rouge1", "rouge2")
    ]


def test_meteor_without_synonyms_is_said() -> None:
    """Once, before the run; not where nobody measures it."""
    assert "no synonyms" in needs.metric_remarks(_evaluation(metrics=["meteor", "bleu"]))[0]
    assert needs.metric_remarks(_evaluation()) == []


def test_any_subset_is_scored_from_its_rows() -> None:
    """What a bootstrap needs, of each metric of texts."""
    rows = list(range(0, 40, 3))
    for name in ("bleu1", "bleu3", "rouge1", "rougeL", "meteor", "chrf"):
        whole = text_statistics(name, OUTPUTS, REFERENCES)
        part = Statistics(name, whole.values[rows], whole.signature)
        alone = text_statistics(name, [OUTPUTS[i] for i in rows], [REFERENCES[i] for i in rows])
        assert part.score == pytest.approx(alone.score)


def test_many_sums_are_scored_at_once() -> None:
    """Every metric's formula takes sums of any leading shape, and gives that shape."""
    by_sums = {name: metric for name, metric in METRICS.items() if metric.whole is None}
    for name, metric in by_sums.items():
        columns = {"bleu": 10, "chrf": 18, "macro_f1": 9, "semantic_f1": 3, "pearson": 6}.get(
            name, 2
        )
        columns = 2 + 2 * int(name[4]) if name[:-1] == "bleu" else columns
        sums = np.random.default_rng(0).integers(1, 5, size=(2, 3, columns)).astype(np.float64)
        found = metric.aggregate(sums)
        assert found.shape == (2, 3)
        assert found[1, 2] == pytest.approx(float(metric.aggregate(sums[1, 2])), nan_ok=True)


def test_sacrebleu_is_what_docs_say() -> None:
    """The signature carries the library's version."""
    assert f"version:{sacrebleu.__version__}" in text_statistics("bleu1", ["a"], ["a"]).signature
