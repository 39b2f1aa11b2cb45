"""What the tests of engines share: tiny bases in double precision, where equal means to 1e-9."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from study.spec.sections import StudySpec
from tests.engine_cases import WITHOUT_EXTRAS
from tests.engine_runs import Bench, bench_of
from tests.tiny_studies import LLAMA_STUDY, MakeSpec, pairs_of, scored_spec_maker, spec_maker


@pytest.fixture(scope="module")
def bench(make_spec: MakeSpec) -> Bench:
    """Return a base and a task that engines take turns with."""
    changes = {
        "base.dtype": "float64",
        "search.space": "lora-wide",
        "training.steps": 5,
        "evaluation.objective": "loss",
    }
    return bench_of(make_spec(changes))


@pytest.fixture(scope="session")
def make_dropping_spec(
    make_spec: MakeSpec, tiny_base: Path, tmp_path_factory: pytest.TempPathFactory
) -> MakeSpec:
    """Return a function that makes studies over a base with dropout, as published ones have."""
    base = tmp_path_factory.mktemp("dropping") / "base"
    shutil.copytree(tiny_base, base)
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    config |= {"dropout": 0.3, "attention_dropout": 0.3}
    (base / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return lambda changes: make_spec({**changes, "base.model": str(base)})


@pytest.fixture(scope="session")
def make_methods_spec(make_spec: MakeSpec) -> MakeSpec:
    """Return a function that makes studies that search over every method without an extra."""

    def make(changes: dict[str, Any]) -> StudySpec:
        document = make_spec().model_dump(mode="json", exclude_none=True)
        del document["search"]["space"]
        document["base"]["dtype"] = "float64"
        document["search"]["parameters"] = {
            "method": {"choices": WITHOUT_EXTRAS},
            "learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
            "loraplus_lr_ratio": {"low": 1.0, "high": 16.0, "when": {"method": "loraplus"}},
        }
        for key, value in changes.items():
            section, _, name = key.rpartition(".")
            document[section][name] = value
        return StudySpec.model_validate(document)

    return make


@pytest.fixture(scope="module")
def make_scored_spec(tiny_classifiers: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeSpec:
    """Return a function that makes studies of texts with numbers, over a base without a head."""
    return scored_spec_maker(tmp_path_factory.mktemp("scored"), tiny_classifiers)


@pytest.fixture(scope="module")
def make_tied_llama_spec(
    parallel_text: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MakeSpec]:
    """Yield a function that makes studies over a Llama whose head is its embedding."""
    yield from _llama_specs(tmp_path_factory.mktemp("tied"), parallel_text, is_tied=True)


@pytest.fixture(scope="module")
def make_untied_llama_spec(
    parallel_text: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MakeSpec]:
    """Yield a function that makes studies over a Llama with a head of its own."""
    yield from _llama_specs(tmp_path_factory.mktemp("untied"), parallel_text, is_tied=False)


@pytest.fixture(scope="module")
def make_exact_chat_spec(make_chat_spec: MakeSpec) -> Iterator[MakeSpec]:
    """Yield a function that makes studies over a tiny chat model in double precision."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("transformers.models.llama.modeling_llama.LlamaRMSNorm.forward", _norm)
        yield lambda changes: make_chat_spec({"base.dtype": "float64", **changes})


def _llama_specs(folder: Path, text: Path, is_tied: bool) -> Iterator[MakeSpec]:
    base = _llama(folder / "base", text, is_tied)
    make = spec_maker(folder, "llama", LLAMA_STUDY.format(base=base, folder=text))
    wide = {"search.space": "lora-wide", "evaluation.objective": "loss"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("transformers.models.llama.modeling_llama.LlamaRMSNorm.forward", _norm)
        yield lambda changes: make({**wide, **changes})


def _llama(folder: Path, text: Path, is_tied: bool) -> Path:
    """Write a tiny Llama with random weights."""
    from transformers import LlamaForCausalLM

    from study.bases.llama import LlamaRecipe

    recipe = LlamaRecipe(width=16, layers=1, heads=2, ffn=32, vocabulary_size=300, init_std=0.2)
    tokenizer = recipe.new_tokenizer(pairs_of(text / "train.tsv"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = recipe.new_config(tokenizer)
        config.tie_word_embeddings = is_tied
        LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _norm(self: Any, x: Tensor) -> Tensor:
    """Normalise as Llama does, but in the precision of x: Llama's own is single precision."""
    scaled: Tensor = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)
    return self.weight * scaled
