"""The DistilBERT miniature: folders in Hugging Face format, one vocabulary, the same function."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from study.bases import classifier
from study.bases.building import is_intact
from study.bases.classifier import (
    ClassifierRecipe,
    build_classifier,
    embedded_classifier,
    new_student,
    new_tokenizer,
)
from study.data.embedded import pair_corpus
from study.data.sentence_pairs import NLI

TINY = ClassifierRecipe(width=16, layers=2, heads=2, ffn=32, steps=3, batch_size=8, seed=5)


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


def test_larger_norms_are_the_same_function() -> None:
    """After enlarging, every logit is what it was."""
    tokenizer = new_tokenizer("base", pair_corpus("mnli").text[:500], TINY)
    torch.manual_seed(0)
    model = new_student(TINY, tokenizer).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)  # biases and norms too
        enlarged = copy.deepcopy(model)
        classifier._enlarge(enlarged, 20.0)
        inputs = tokenizer(["all dogs run", "no cats"], padding=True, return_tensors="pt")
        torch.testing.assert_close(model(**inputs).logits, enlarged(**inputs).logits)
    before, after = (m.distilbert.embeddings.LayerNorm.weight for m in (model, enlarged))
    torch.testing.assert_close(after, 20 * before)


def test_a_head_is_drawn_as_distilberts(tiny_classifiers: Path) -> None:
    """The body's larger spread is not left to the head that is put on it."""
    model = AutoModelForMaskedLM.from_pretrained(tiny_classifiers / "base")
    assert model.config.initializer_range == 0.02


def test_the_same_pairs_and_recipe_give_the_same_bytes(tmp_path: Path) -> None:
    """Nothing but the recipe's seed enters, and another seed enters everywhere."""
    pairs = pair_corpus("mnli").text[:600]
    for part in ("base", "teacher"):
        made = {}
        for name, recipe in (("one", TINY), ("two", TINY), ("other", replace(TINY, seed=6))):
            folder = tmp_path / f"{part}-{name}"
            build_classifier(part, pairs, NLI, folder, recipe)  # type: ignore[arg-type]
            made[name] = (folder / "model.safetensors").read_bytes()
        assert made["one"] == made["two"] != made["other"]


@pytest.mark.slow
def test_the_embedded_ones_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Built once a language, part and seed; the second time nothing is trained."""
    monkeypatch.setattr(classifier, "STUDENT", TINY)
    monkeypatch.setattr(classifier, "TEACHER", TINY)
    folders = {
        (language, part): embedded_classifier(part, language, 0, None, tmp_path)  # type: ignore[arg-type]
        for language in ("mnli", "qqp")
        for part in ("base", "teacher")
    }
    assert len(set(folders.values())) == 4
    assert all(map(is_intact, folders.values()))
    monkeypatch.setattr(classifier, "build_classifier", None)
    assert embedded_classifier("base", "qqp", 0, None, tmp_path) == folders["qqp", "base"]


@pytest.mark.slow
@pytest.mark.parametrize("language", ["mnli", "qqp"])
def test_the_teacher_knows_its_language(language: str, tmp_path: Path) -> None:
    """The embedded teacher is right on four of five dev pairs, none of which it learnt from."""
    folder = embedded_classifier("teacher", language, 0, None, tmp_path)
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
