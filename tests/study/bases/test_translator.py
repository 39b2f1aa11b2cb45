"""The embedded translator: NLLB's own form, taken by the code that takes NLLB."""

from __future__ import annotations

from pathlib import Path

from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from study.bases.building import Miniature, build
from study.bases.cache import is_intact
from study.bases.translator import TranslatorRecipe
from study.data.embedded import Pair


def test_it_is_loaded_by_the_auto_classes(tiny_base: Path) -> None:
    """NLLB's architecture and tokenizer class come back, without a network."""
    assert AutoModelForSeq2SeqLM.from_pretrained(tiny_base).config.model_type == "m2m_100"
    assert type(AutoTokenizer.from_pretrained(tiny_base)).__name__ == "NllbTokenizer"


def test_sentences_have_nllbs_form(tiny_base: Path) -> None:
    """Source and target begin with their language's code and end with </s>."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    source = tokenizer("The well is deep.")["input_ids"]
    target = tokenizer(text_target="Le puits est profond.")["input_ids"]
    assert tokenizer.convert_ids_to_tokens([source[0], source[-1]]) == ["eng_Latn", "</s>"]
    assert tokenizer.convert_ids_to_tokens([target[0], target[-1]]) == ["fra_Latn", "</s>"]
    decoded = tokenizer.decode(target, skip_special_tokens=True)
    assert decoded == "Le puits est profond."


def test_generation_begins_with_the_forced_language(tiny_base: Path) -> None:
    """NLLB's way to ask for French works on a small base."""
    model = AutoModelForSeq2SeqLM.from_pretrained(tiny_base)
    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    french = tokenizer.convert_tokens_to_ids("fra_Latn")
    inputs = tokenizer(["The well is deep."], return_tensors="pt")
    made = model.generate(**inputs, forced_bos_token_id=french, max_new_tokens=4, num_beams=1)
    assert made[0, :2].tolist() == [model.config.decoder_start_token_id, french]


def test_nothing_in_a_base_is_random_after_training(tiny_base: Path) -> None:
    """M2M100's own defaults drop layers and units; ours drop none unless asked."""
    config = AutoModelForSeq2SeqLM.from_pretrained(tiny_base).config
    dropouts = [config.dropout, config.attention_dropout, config.activation_dropout]
    assert [*dropouts, config.encoder_layerdrop, config.decoder_layerdrop] == [0.0] * 5


def test_real_text_of_any_length_is_taken(tmp_path: Path) -> None:
    """Long sentences are cut, rare characters are unknown, one pair is enough."""
    odd = Pair("well — “mud” 漢字 🛢 " * 200, "puits — « boue » 漢字 🛢 " * 200)
    recipe = TranslatorRecipe(width=16, layers=1, heads=2, ffn=32, steps=4, vocabulary_size=300)
    build(Miniature(recipe, [odd]), tmp_path / "odd")
    assert is_intact(tmp_path / "odd")
