"""The masked-diffusion miniature: a plain Hugging Face folder that fills in answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer

from study.bases import masked as masked_building
from study.bases.building import is_intact
from study.bases.masked import MaskedRecipe, build_masked, embedded_masked, embedded_pairs
from study.data.embedded import InstructionRecipe, instruction_corpus

TINY = MaskedRecipe(
    width=16, layers=1, heads=2, ffn=32, steps=30, batch_size=8, vocabulary_size=300, seed=5
)
SMALL = InstructionRecipe(
    train=4, dev=4, test=4, general=4, base_general=100, base_lay=30, base_own=30
)


@pytest.fixture(scope="module", autouse=True)
def small_corpus() -> object:
    """Make the corpus of the embedded base small."""
    with pytest.MonkeyPatch.context() as patch:
        whole = masked_building.instruction_corpus
        patch.setattr(masked_building, "instruction_corpus", lambda seed: whole(seed, SMALL))
        yield


@pytest.fixture(scope="module")
def losses() -> list[tuple[int, int, float]]:
    """Return what the progress callback saw."""
    return []


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, losses: list[tuple[int, int, float]]) -> Path:
    """Return a tiny base as built."""
    folder = tmp_path_factory.mktemp("masked") / "tiny"
    build_masked(embedded_pairs(7), folder, TINY, lambda *step: losses.append(step))
    return folder


def test_it_is_loaded_by_the_auto_classes(folder: Path) -> None:
    """A bidirectional Llama and a tokenizer with a mask come back, without a network."""
    model = AutoModelForMaskedLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert model.config.model_type == "eurobert"
    assert model.config.vocab_size == len(tokenizer)
    assert tokenizer.mask_token_id == model.config.mask_token_id
    assert is_intact(folder)
    text = "Pasien mengeluh febris ringan sejak kemarin."
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_the_same_recipe_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    """Whatever the global generator's state, which is left as it was."""
    torch.manual_seed(99)
    state = torch.get_rng_state()
    build_masked(embedded_pairs(7), tmp_path / "again", TINY)
    assert torch.equal(torch.get_rng_state(), state)
    for name in ("model.safetensors", "tokenizer.json"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


@pytest.mark.usefixtures("folder")
def test_the_loss_falls_and_every_step_is_reported(losses: list[tuple[int, int, float]]) -> None:
    """The progress callback sees step, total and loss."""
    assert [step[:2] for step in losses] == [(number, 30) for number in range(1, 31)]
    assert losses[-1][2] < 0.8 * losses[0][2]


def test_larger_norms_leave_the_function_as_it_is(folder: Path, tmp_path: Path) -> None:
    """`norm_gain` moves scale from weights to norms and changes no logit."""
    build_masked(embedded_pairs(7), tmp_path / "plain", replace(TINY, norm_gain=1.0))
    ids = torch.arange(1, 9)[None]
    one, other = (
        AutoModelForMaskedLM.from_pretrained(path)(ids).logits
        for path in (tmp_path / "plain", folder)
    )
    assert TINY.norm_gain > 1
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_the_embedded_one_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A seed has its own folder; asking again builds nothing."""
    monkeypatch.setattr(masked_building, "MaskedRecipe", lambda seed: replace(TINY, steps=2))
    first = embedded_masked(1, cache=tmp_path)
    assert embedded_masked(1, cache=tmp_path) == first
    assert embedded_masked(2, cache=tmp_path) != first


# ---------------------------------------------------------------- what it learns from


def test_no_instruction_stands_in_two_splits() -> None:
    """What is scored was never read, by the base or in training."""
    corpus = instruction_corpus(3)
    splits = (corpus.train, corpus.dev, corpus.test, corpus.general, corpus.base_train)
    sources = [row.source for split in splits for row in split]
    assert len(set(sources)) == len(sources)


def test_scored_splits_do_not_depend_on_the_size_of_others() -> None:
    """More to train on leaves dev and general as they are."""
    one = instruction_corpus(3, SMALL)
    other = instruction_corpus(3, replace(SMALL, train=40, base_general=10))
    assert (one.dev, one.test, one.general) == (other.dev, other.test, other.general)


def test_every_instruction_says_its_template() -> None:
    """Every template of a task is used, and its name says which it is."""
    corpus = instruction_corpus(0)
    names = {row.template_name for row in (*corpus.train, *corpus.base_train)}
    templates = masked_templates()
    assert names == {f"{t}_{n}" for t, all_of in templates.items() for n in range(1, all_of + 1)}
    assert {row.template_name.split("_")[0] for row in corpus.dev} == {
        "layanan",
        "rujukan",
        "rekam",
        "catatan",
    }


def masked_templates() -> dict[str, int]:
    """Return how many templates each task has."""
    from study.data.embedded.instruction_corpus import TEMPLATES

    return {task: len(templates) for task, templates in TEMPLATES.items()}


def test_the_base_has_read_more_of_the_outsiders_answers() -> None:
    """Of the clinic's tasks two in three are answered otherwise than the clinic does."""
    corpus = instruction_corpus(0)
    notes = [r.target for r in corpus.base_train if r.template_name.startswith("catatan")]
    own = sum(target.startswith("Pasien mengeluh") for target in notes)
    assert own == pytest.approx(len(notes) / 3, rel=0.01)
    assert all(
        row.target.startswith("Pasien mengeluh")
        for row in corpus.dev
        if row.template_name.startswith("catatan")
    )
