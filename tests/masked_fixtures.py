"""A masked-diffusion base of random weights, and studies over it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from study.spec.files import load_spec
from study.spec.sections import StudySpec

STUDY_FILE = """
name = "tiny-masked"
task = "masked_diffusion"
seed = 7

[base]
model = "{folder}/base"
dtype = "float64"

[data]
train = "{folder}/train.tsv"
dev = "{folder}/dev.tsv"

[diffusion]
length = 8
steps = 4
block_length = 4

[training]
steps = 4
batch_size = 4
report_every = 2

[evaluation]
report_examples = 4

[search]
space = "lora-narrow"
sampler = "random"
trials = 3
"""


@pytest.fixture(scope="session")
def tiny_masked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with `base`, train.tsv and dev.tsv: few pairs, a BERT of two layers.

    BERT, since in double precision it computes all in double precision, which Llama's norms do not.
    """
    import torch
    from transformers import BertConfig, BertForMaskedLM

    from study.bases.masked import MaskedRecipe
    from study.data.embedded import Pair, SplitSizes, instruction_corpus

    corpus = instruction_corpus(
        0,
        SplitSizes(dev=160, test=160, general=80, base_general=300, base_lay=100, base_expert=100),
    )
    folder = tmp_path_factory.mktemp("masked")
    pairs = [Pair(row.source, row.target) for row in corpus.base_train]
    tokenizer = MaskedRecipe(vocabulary_size=300).new_tokenizer(pairs)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "initializer_range": 0.4}
    layers = {"num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 128}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = BertForMaskedLM(BertConfig(vocab_size=len(tokenizer), **sizes, **layers))
    model.save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    for name, rows in (("train", corpus.train[:40]), ("dev", corpus.dev[:12])):
        lines = ["source\ttarget", *(f"{row.source}\t{row.target}" for row in rows)]
        (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def make_masked_spec(
    tiny_masked: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., StudySpec]:
    """Return a function that makes a tiny study's spec, changed by dotted keys."""
    path = tmp_path_factory.mktemp("masked-spec") / "tiny-masked.toml"
    path.write_text(STUDY_FILE.format(folder=tiny_masked))

    def make(changes: dict[str, Any] | None = None) -> StudySpec:
        return load_spec(path, changes)

    return make
