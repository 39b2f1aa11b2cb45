"""Small bases: folders in NLLB's form, whole or absent, cached by all that they depend on."""

from __future__ import annotations

import functools
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from study.bases import building, translator
from study.bases.building import is_intact
from study.bases.translator import BaseRecipe, build_base, embedded_base
from study.data.embedded import CorpusRecipe, Pair, petroleum_corpus

TINY = BaseRecipe(
    d_model=16, layers=1, heads=2, ffn=32, steps=4, batch_size=8, vocabulary_size=300, seed=5
)
SMALL_CORPUS = CorpusRecipe(
    train=4, dev=4, test=4, general=4, base_general=60, base_lay=20, base_expert=20
)


@pytest.fixture(scope="module")
def pairs() -> tuple[Pair, ...]:
    """Return a hundred sentence pairs."""
    return petroleum_corpus(107, SMALL_CORPUS).base_train


@pytest.fixture(scope="module")
def folder(pairs: tuple[Pair, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a tiny base as built."""
    folder = tmp_path_factory.mktemp("bases") / "tiny"
    build_base(pairs, folder, TINY)
    return folder


def test_a_base_is_loaded_by_the_auto_classes(folder: Path) -> None:
    """NLLB's architecture and tokenizer class come back, without a network."""
    model = AutoModelForSeq2SeqLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert model.config.model_type == "m2m_100"
    assert type(tokenizer).__name__ == "NllbTokenizer"
    assert model.config.vocab_size == len(tokenizer)


def test_sentences_have_nllbs_form(folder: Path) -> None:
    """Source and target begin with their language's code and end with </s>."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    source = tokenizer("The well is deep.")["input_ids"]
    target = tokenizer(text_target="Le puits est profond.")["input_ids"]
    assert tokenizer.convert_ids_to_tokens([source[0], source[-1]]) == ["eng_Latn", "</s>"]
    assert tokenizer.convert_ids_to_tokens([target[0], target[-1]]) == ["fra_Latn", "</s>"]
    decoded = tokenizer.decode(target, skip_special_tokens=True)
    assert decoded == "Le puits est profond."


def test_generation_begins_with_the_forced_language(folder: Path) -> None:
    """NLLB's way to ask for French works on a small base."""
    model = AutoModelForSeq2SeqLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    french = tokenizer.convert_tokens_to_ids("fra_Latn")
    inputs = tokenizer(["The well is deep."], return_tensors="pt")
    made = model.generate(**inputs, forced_bos_token_id=french, max_new_tokens=4, num_beams=1)
    assert made[0, :2].tolist() == [model.config.decoder_start_token_id, french]


def test_nothing_in_a_base_is_random_after_training(folder: Path) -> None:
    """M2M100's own defaults drop layers and units; ours drop none unless asked."""
    config = AutoModelForSeq2SeqLM.from_pretrained(folder).config
    dropouts = [config.dropout, config.attention_dropout, config.activation_dropout]
    assert [*dropouts, config.encoder_layerdrop, config.decoder_layerdrop] == [0.0] * 5


def test_every_step_is_reported(pairs: tuple[Pair, ...], tmp_path: Path) -> None:
    """The progress callback sees step, total and a loss that falls."""
    seen: list[tuple[int, int, float]] = []
    recipe = BaseRecipe(**{**TINY.__dict__, "steps": 30, "learning_rate": 1e-2})
    build_base(pairs, tmp_path / "base", recipe, lambda *step: seen.append(step))
    assert [step[:2] for step in seen] == [(number, 30) for number in range(1, 31)]
    assert seen[-1][2] < seen[0][2]


def test_the_same_recipe_gives_the_same_bytes(
    pairs: tuple[Pair, ...], folder: Path, tmp_path: Path
) -> None:
    """Weights and tokenizer are reproduced, whatever the global generator's state."""
    torch.manual_seed(99)
    state = torch.get_rng_state()
    build_base(pairs, tmp_path / "again", TINY)
    assert torch.equal(torch.get_rng_state(), state)
    for name in ("model.safetensors", "tokenizer.json"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_larger_norms_leave_the_function_as_it_is(
    pairs: tuple[Pair, ...], folder: Path, tmp_path: Path
) -> None:
    """`norm_gain` moves scale from weights to norms and changes no output."""
    build_base(pairs, tmp_path / "plain", BaseRecipe(**{**TINY.__dict__, "norm_gain": 1.0}))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(["The well is deep."], text_target=["Le puits est profond."])
    inputs = {name: torch.tensor(values) for name, values in batch.items()}
    plain, enlarged = (
        AutoModelForSeq2SeqLM.from_pretrained(path)(**inputs).logits
        for path in (tmp_path / "plain", folder)
    )
    torch.testing.assert_close(plain, enlarged, rtol=1e-4, atol=1e-4)


def test_real_text_of_any_length_is_taken(tmp_path: Path) -> None:
    """Long sentences are cut, rare characters are unknown, one pair is enough."""
    odd = Pair("well — “mud” 漢字 🛢 " * 200, "puits — « boue » 漢字 🛢 " * 200)
    build_base([odd], tmp_path / "odd", TINY)
    assert is_intact(tmp_path / "odd")


def test_a_base_is_never_built_over_something_else(folder: Path, pairs: tuple[Pair, ...]) -> None:
    """An existing folder is named and refused."""
    with pytest.raises(FileExistsError, match="tiny"):
        build_base(pairs, folder, TINY)


def test_a_base_needs_text(tmp_path: Path) -> None:
    """An empty corpus is refused before anything is written."""
    with pytest.raises(ValueError, match="at least one sentence pair"):
        build_base([], tmp_path / "base", TINY)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_build_leaves_nothing(pairs: tuple[Pair, ...], tmp_path: Path) -> None:
    """A folder appears whole or not at all."""

    def interrupt(step: int, total: int, loss: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_base(pairs, tmp_path / "base", TINY, interrupt)
    assert list(tmp_path.iterdir()) == []


# --- the cache -----------------------------------------------------------------------------------


@pytest.fixture
def small_embedded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the embedded base tiny."""
    tiny = {**TINY.__dict__}
    del tiny["seed"]
    monkeypatch.setattr(translator, "BaseRecipe", functools.partial(BaseRecipe, **tiny))
    small = functools.partial(petroleum_corpus, recipe=SMALL_CORPUS)
    monkeypatch.setattr(translator, "petroleum_corpus", small)


@pytest.mark.usefixtures("small_embedded")
def test_the_embedded_base_is_built_once(tmp_path: Path) -> None:
    """The second call returns the folder of the first and trains nothing."""
    steps: list[int] = []
    first = embedded_base(1, lambda step, *_: steps.append(step), cache=tmp_path)
    second = embedded_base(1, lambda step, *_: steps.append(step), cache=tmp_path)
    assert first == second
    assert len(steps) == TINY.steps
    assert embedded_base(2, cache=tmp_path) != first


@pytest.mark.usefixtures("small_embedded")
@pytest.mark.parametrize("damage", ["cut", "missing", "no manifest"])
def test_a_damaged_base_is_built_again(tmp_path: Path, damage: str) -> None:
    """Half a file, a missing file or a missing manifest: none is taken for a base."""
    folder = embedded_base(1, cache=tmp_path)
    weights = folder / "model.safetensors"
    content = weights.read_bytes()
    if damage == "cut":
        weights.write_bytes(content[:100])
    else:
        (weights if damage == "missing" else folder / "base.json").unlink()
    assert not is_intact(folder)
    assert embedded_base(1, cache=tmp_path) == folder
    assert weights.read_bytes() == content


@pytest.mark.usefixtures("small_embedded")
def test_two_at_once_build_one(tmp_path: Path) -> None:
    """Who comes second waits and takes what the first has built."""
    steps: list[int] = []
    build = functools.partial(embedded_base, 1, lambda step, *_: steps.append(step), cache=tmp_path)
    threads = [threading.Thread(target=build) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(steps) == TINY.steps


@pytest.mark.usefixtures("small_embedded")
def test_another_library_version_is_another_base(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A base built under other versions is not taken for this one."""
    first = embedded_base(1, cache=tmp_path)
    versions: dict[str, Any] = {"torch": "0"}
    monkeypatch.setattr(building, "versions", lambda: versions)
    assert embedded_base(1, cache=tmp_path) != first


def test_the_cache_can_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """$OPTUNA_STUDY_CACHE comes before the home folder."""
    monkeypatch.setenv("OPTUNA_STUDY_CACHE", str(tmp_path))
    assert building.default_cache() == tmp_path
