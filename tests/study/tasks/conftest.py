"""A tiny Llama, a tiny teacher of the same vocabulary, and studies over them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from study.spec.files import load_spec
from study.spec.sections import StudySpec

STUDY_FILE = """
name = "tiny-llama"
task = "causal_translation"
seed = 7

[base]
model = "{base}"
dtype = "float64"

[data]
train = "{text}/train.tsv"
dev = "{text}/dev.tsv"

[distillation]
teacher = "{teacher}"

[training]
steps = 4
batch_size = 4
report_every = 2

[evaluation]
max_new_tokens = 6
report_examples = 4

[search]
space = "lora-narrow"
sampler = "random"
trials = 3
"""


@pytest.fixture(scope="session")
def tiny_llamas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with `base` and `teacher`: barely trained, of one vocabulary."""
    from study.bases.building import Miniature, build
    from study.bases.llama import LlamaRecipe
    from study.data.embedded import petroleum_corpus

    folder = tmp_path_factory.mktemp("llamas")
    pairs = petroleum_corpus(0).base_train[:2000]
    tiny = LlamaRecipe(width=16, layers=1, heads=2, ffn=32, steps=20, vocabulary_size=400)
    larger = replace(tiny, width=24, layers=2, seed=1)
    build(Miniature(tiny, pairs), folder / "base")
    build(Miniature(larger, pairs), folder / "teacher")
    return folder


@pytest.fixture(scope="session")
def make_llama_spec(
    tiny_llamas: Path, parallel_text: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., StudySpec]:
    """Return a function that makes a tiny distillation study's spec, changed by dotted keys."""
    path = tmp_path_factory.mktemp("llama-spec") / "tiny-llama.toml"
    base, teacher = tiny_llamas / "base", tiny_llamas / "teacher"
    path.write_text(STUDY_FILE.format(base=base, teacher=teacher, text=parallel_text))

    def make(changes: dict[str, Any] | None = None) -> StudySpec:
        return load_spec(path, changes)

    return make
