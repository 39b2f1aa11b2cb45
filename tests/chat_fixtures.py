"""A tiny chat model of random weights, conversations, and studies that fine-tune it on them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from study.spec.files import load_spec
from study.spec.sections import StudySpec

STUDY_FILE = """
name = "tiny-chat"
task = "sft"
seed = 7

[base]
model = "{folder}/base"

[data]
train = "{folder}/train.jsonl"

[training]
steps = 4
batch_size = 4
report_every = 2

[evaluation]
max_new_tokens = 4
report_examples = 4

[search]
space = "lora-narrow"
sampler = "random"
trials = 2
"""


def turn(role: str, content: str) -> dict[str, str]:
    """Return a message."""
    return {"role": role, "content": content}


@pytest.fixture(scope="session")
def tiny_chat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with `base`, a Llama of one layer, and train.jsonl: 36 conversations."""
    import torch
    from transformers import LlamaForCausalLM

    from study.bases.llama import LlamaRecipe
    from study.data.readers import load_corpus
    from study.spec.base_and_data import DataSpec

    folder = tmp_path_factory.mktemp("chat")
    pairs = load_corpus(DataSpec()).train[:72]
    recipe = LlamaRecipe(width=16, layers=1, heads=2, ffn=32, vocabulary_size=300, init_std=0.2)
    tokenizer = recipe.new_tokenizer(pairs)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        LlamaForCausalLM(recipe.new_config(tokenizer)).save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    rows = []
    for number, (one, two) in enumerate(zip(pairs[::2], pairs[1::2], strict=True)):
        turns = [turn("user", one.source), turn("assistant", one.target)]
        if number % 3 == 0:
            turns += [turn("user", two.source), turn("assistant", two.target)]
        rows.append(json.dumps({"messages": turns}) + "\n")
    (folder / "train.jsonl").write_text("".join(rows), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def make_chat_spec(
    tiny_chat: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., StudySpec]:
    """Return a function that makes a tiny study's spec, changed by dotted keys."""
    path = tmp_path_factory.mktemp("chat-spec") / "tiny-chat.toml"
    path.write_text(STUDY_FILE.format(folder=tiny_chat))

    def make(changes: dict[str, Any] | None = None) -> StudySpec:
        return load_spec(path, changes)

    return make


@pytest.fixture(scope="session")
def make_dpo_spec(
    tiny_chat: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., StudySpec]:
    """Return a function that makes a tiny study of preference pairs, changed by dotted keys."""
    lines = (tiny_chat / "train.jsonl").read_text(encoding="utf-8").splitlines()
    turns = [json.loads(line)["messages"] for line in lines]
    rows = [
        {"prompt": one[:-1], "chosen": one[-1:], "rejected": other[-1:]}
        for one, other in zip(turns, turns[5:] + turns[:5], strict=True)
    ]
    folder = tmp_path_factory.mktemp("dpo-spec")
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "pairs.jsonl").write_text(text, encoding="utf-8")
    path = folder / "tiny-dpo.toml"
    study = STUDY_FILE.format(folder=tiny_chat).replace("sft", "dpo").replace("chat", "dpo", 1)
    path.write_text(study.replace(f"{tiny_chat}/train.jsonl", f"{folder}/pairs.jsonl"))

    def make(changes: dict[str, Any] | None = None) -> StudySpec:
        return load_spec(path, changes)

    return make
