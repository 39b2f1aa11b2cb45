"""The embedded DistilBERT and its teacher: one vocabulary, each with its class's inputs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from study.bases.classifier import ORDERS
from study.bases.miniatures import MINIATURES, embedded_folder
from study.data.embedded import pair_corpus
from study.data.sentence_pairs import NLI
from study.errors import InputError
from study.spec.base_and_data import DataSpec


def test_both_are_loaded_by_the_auto_classes(tiny_classifiers: Path) -> None:
    """A DistilBERT without token types, a BERT that names its labels, one vocabulary."""
    student = AutoModelForMaskedLM.from_pretrained(tiny_classifiers / "base")
    teacher = AutoModelForSequenceClassification.from_pretrained(tiny_classifiers / "teacher")
    own, other = (AutoTokenizer.from_pretrained(tiny_classifiers / p) for p in ("base", "teacher"))
    assert (student.config.model_type, teacher.config.model_type) == ("distilbert", "bert")
    assert teacher.config.id2label == dict(enumerate(NLI))
    assert own.get_vocab() == other.get_vocab()
    assert own.model_input_names == ["input_ids", "attention_mask"]
    pair = other("all dogs run", "no dogs run")
    assert set(pair["token_type_ids"]) == {0, 1}
    words = other.convert_ids_to_tokens(pair["input_ids"])
    assert words == ["[CLS]", "all", "dogs", "run", "[SEP]", "no", "dogs", "run", "[SEP]"]


def test_a_head_is_drawn_as_distilberts(tiny_classifiers: Path) -> None:
    """The body's larger spread is not left to the head that is put on it."""
    model = AutoModelForMaskedLM.from_pretrained(tiny_classifiers / "base")
    assert model.config.initializer_range == 0.02


@pytest.mark.whole
@pytest.mark.usefixtures("small_corpora")
def test_each_language_has_a_student_and_a_teacher_of_its_own() -> None:
    """Built once per language, part and seed: none is taken for another."""
    described = [
        MINIATURES["distilbert"](DataSpec(subset=language, seed=seed), part)
        for language in ORDERS
        for part in ("base", "teacher")
        for seed in (0, 1)
    ]
    assert len({miniature.digest() for miniature in described}) == 8
    labels = {miniature.recipe.labels for miniature in described}
    assert labels == {(), *ORDERS.values()}


def test_an_unknown_language_is_refused() -> None:
    """The error names the key, what it got and what there is."""
    data = DataSpec.model_construct(subset="sst2", seed=0)
    with pytest.raises(InputError, match=r"^data\.subset: .* mnli, qqp, got 'sst2'"):
        MINIATURES["distilbert"](data, "base")


@pytest.mark.slow
@pytest.mark.parametrize("language", ["mnli", "qqp"])
def test_the_teacher_knows_its_language(language: str, tmp_path: Path) -> None:
    """The embedded teacher is right on four of five dev pairs, none of which it learnt from."""
    data = DataSpec(subset=language)
    folder = embedded_folder("distilbert", data, "teacher", cache=tmp_path)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    dev = pair_corpus(language).dev
    inputs = tokenizer(
        [p.first for p in dev], [p.second for p in dev], padding=True, return_tensors="pt"
    )
    with torch.no_grad():
        said = model(**inputs).logits.argmax(dim=1).tolist()
    right = sum(model.config.id2label[i] == p.label for i, p in zip(said, dev, strict=True))
    assert right / len(dev) > 0.8
