"""The embedded masked-diffusion model: EuroBERT's layers, a tokenizer with a mask."""

from __future__ import annotations

from pathlib import Path

from transformers import AutoModelForMaskedLM, AutoTokenizer

from study.bases.building import Miniature, build
from study.bases.masked import MaskedRecipe
from study.data.embedded import Pair, instruction_corpus
from tests.study.bases.conftest import INSTRUCTIONS


def test_it_is_loaded_by_the_auto_classes(tmp_path: Path) -> None:
    """A bidirectional Llama and a tokenizer that gives text back come back, without a network."""
    pairs = [Pair(row.source, row.target) for row in instruction_corpus(7, INSTRUCTIONS).base_train]
    sizes = {"width": 16, "layers": 1, "heads": 2, "ffn": 32, "vocabulary_size": 300}
    build(Miniature(MaskedRecipe(steps=1, **sizes), pairs), tmp_path / "tiny")
    model = AutoModelForMaskedLM.from_pretrained(tmp_path / "tiny")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "tiny")
    assert model.config.model_type == "eurobert"
    assert tokenizer.mask_token_id == model.config.mask_token_id
    text = "Pasien mengeluh febris ringan sejak kemarin."
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
