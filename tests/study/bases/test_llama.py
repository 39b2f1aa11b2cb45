"""The embedded Llama and its teacher: plain folders of one vocabulary, with a chat template."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from study.bases.building import Miniature, build
from study.bases.llama import TRADE, LlamaRecipe
from study.bases.miniatures import MINIATURES
from study.data.embedded import petroleum_corpus
from study.data.readers import load_corpus
from study.spec.base_and_data import DataSpec
from tests.study.bases.conftest import TRANSLATIONS


def test_it_is_loaded_by_the_auto_classes(tmp_path: Path) -> None:
    """Llama's architecture and a chat template come back, without a network."""
    sizes = {"width": 16, "layers": 1, "heads": 2, "ffn": 32, "vocabulary_size": 300}
    pairs = petroleum_corpus(107, TRANSLATIONS).base_train
    build(Miniature(LlamaRecipe(steps=1, **sizes), pairs), tmp_path / "tiny")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "tiny")
    assert model.config.model_type == "llama"
    assert model.config.tie_word_embeddings
    assert AutoTokenizer.from_pretrained(tmp_path / "tiny").chat_template


@pytest.mark.usefixtures("small_corpora")
def test_student_and_teacher_share_their_vocabulary() -> None:
    """The pieces of both are learned from the student's text; only the teacher has read more."""
    base, teacher = (MINIATURES["llama"](DataSpec(seed=1), part) for part in ("base", "teacher"))
    assert teacher.vocabulary_rows == base.rows
    assert not base.vocabulary_rows
    assert teacher.rows != base.rows
    assert teacher.recipe.width > base.recipe.width
    recipes = [m.recipe for m in (base, teacher)]
    assert recipes[0].vocabulary_size == recipes[1].vocabulary_size


@pytest.mark.whole
def test_the_teacher_has_read_nothing_that_is_scored() -> None:
    """Dev, test and general sentences are new to it, and the scored splits are the student's."""
    own, trade = load_corpus(DataSpec(seed=3)), petroleum_corpus(3, TRADE)
    assert (own.dev, own.test, own.general, own.train) == (
        trade.dev,
        trade.test,
        trade.general,
        trade.train,
    )
    scored = {p.source for p in (*own.dev, *own.test, *own.general)}
    assert not scored & {p.source for p in trade.base_train}
