"""The Llama miniature: two plain Hugging Face folders of one vocabulary."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from study.bases import llama as llama_building
from study.bases.building import is_intact
from study.bases.llama import LlamaRecipe, build_llama, embedded_llama
from study.data.embedded import CorpusRecipe, petroleum_corpus

TINY = LlamaRecipe(
    width=16, layers=1, heads=2, ffn=32, steps=30, batch_size=8, vocabulary_size=300, seed=5
)
SMALL = CorpusRecipe(
    train=4, dev=4, test=4, general=4, base_general=60, base_lay=20, base_expert=20
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a tiny student as built."""
    folder = tmp_path_factory.mktemp("llamas") / "tiny"
    build_llama(petroleum_corpus(107, SMALL).base_train, folder, TINY)
    return folder


def test_it_is_loaded_by_the_auto_classes(folder: Path) -> None:
    """Llama's architecture and a chat template come back, without a network."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert model.config.model_type == "llama"
    assert model.config.tie_word_embeddings
    assert model.config.vocab_size == len(tokenizer)
    assert tokenizer.chat_template
    assert is_intact(folder)


def test_the_same_recipe_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    """Whatever the global generator's state, which is left as it was."""
    torch.manual_seed(99)
    state = torch.get_rng_state()
    build_llama(petroleum_corpus(107, SMALL).base_train, tmp_path / "again", TINY)
    assert torch.equal(torch.get_rng_state(), state)
    for name in ("model.safetensors", "tokenizer.json"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_larger_norms_leave_the_function_as_it_is(folder: Path, tmp_path: Path) -> None:
    """`norm_gain` moves scale from weights to norms and changes no logit."""
    plain = replace(TINY, norm_gain=1.0)
    build_llama(petroleum_corpus(107, SMALL).base_train, tmp_path / "plain", plain)
    ids = torch.arange(1, 9)[None]
    one, other = (
        AutoModelForCausalLM.from_pretrained(path)(ids).logits
        for path in (tmp_path / "plain", folder)
    )
    assert TINY.norm_gain > 1
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_the_loss_falls_and_every_step_is_reported(tmp_path: Path) -> None:
    """The progress callback sees step, total and loss."""
    seen: list[tuple[int, int, float]] = []
    pairs = petroleum_corpus(107, SMALL).base_train
    build_llama(pairs, tmp_path / "base", TINY, lambda *step: seen.append(step))
    assert [step[:2] for step in seen] == [(number, 30) for number in range(1, 31)]
    assert seen[-1][2] < seen[0][2]


@pytest.fixture
def small_embedded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make both embedded models tiny."""
    monkeypatch.setattr(llama_building, "STUDENT", replace(TINY, steps=2))
    monkeypatch.setattr(llama_building, "TEACHER", replace(TINY, steps=2, width=24))
    monkeypatch.setattr(llama_building, "TRADE", replace(SMALL, base_lay=0, base_expert=40))
    corpus = llama_building.petroleum_corpus
    monkeypatch.setattr(
        llama_building, "petroleum_corpus", lambda seed, recipe=SMALL: corpus(seed, recipe)
    )


@pytest.mark.usefixtures("small_embedded")
def test_student_and_teacher_share_their_vocabulary(tmp_path: Path) -> None:
    """Both are built once, of other texts and sizes, with one tokenizer."""
    base, teacher = (embedded_llama(part, 1, cache=tmp_path) for part in ("base", "teacher"))
    assert (base / "tokenizer.json").read_bytes() == (teacher / "tokenizer.json").read_bytes()
    sizes = [AutoModelForCausalLM.from_pretrained(f).num_parameters() for f in (base, teacher)]
    assert sizes[0] < sizes[1]
    assert embedded_llama("base", 1, cache=tmp_path) == base
    assert embedded_llama("base", 2, cache=tmp_path) != base


def test_the_teacher_has_read_nothing_that_is_scored() -> None:
    """Dev, test and general sentences are new to it, and the scored splits are the student's."""
    own, trade = petroleum_corpus(3), petroleum_corpus(3, llama_building.TRADE)
    assert (own.dev, own.test, own.general, own.train) == (
        trade.dev,
        trade.test,
        trade.general,
        trade.train,
    )
    scored = {p.source for p in (*own.dev, *own.test, *own.general)}
    assert not scored & {p.source for p in trade.base_train}
