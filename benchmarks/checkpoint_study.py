"""A study over a checkpoint in a folder, with rows of one length, for the scripts that measure it.

The texts are random common words.  Two fifths of a conversation's tokens are its answer.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from study.spec.files import load_spec
from study.spec.sections import StudySpec

WORDS = (
    "the",
    "of",
    "and",
    "to",
    "in",
    "is",
    "that",
    "it",
    "was",
    "for",
    "on",
    "are",
    "as",
    "with",
)
ANSWER = 0.4  # of a conversation's tokens
ROWS = {"train": 64, "dev": 8}

STUDY = """
name = "checkpoint"
task = "{task}"

[base]
model = "{base}"
dtype = "{dtype}"

[data]
train = "{folder}/train.{ending}"
dev = "{folder}/dev.{ending}"
max_tokens = {tokens}
{data}

[method]
target_modules = "all-linear"
rank = 16
dropout = 0.1
{method}

[training]
steps = {steps}
batch_size = {batch_size}
report_every = {steps}

[evaluation]
objective = "loss"
metrics = ["loss"{metrics}]

[search]
space = "none"
sampler = "random"
trials = 64

[search.parameters.learning_rate]
choices = [1e-4, 2e-4]
"""


def checkpoint_study(
    folder: Path,
    base: str,
    task: str,
    tokens: int,
    batch_size: int,
    *,
    steps: int = 1000,
    dtype: str = "float32",
    bits: int | None = None,
) -> StudySpec:
    """Write texts of `tokens` tokens a row and a study of them into a folder; return the study.

    `task` is "sft", over a decoder, or "classification"; with `bits` it is QLoRA.
    """
    tokenizer = AutoTokenizer.from_pretrained(base)
    is_chat = task == "sft"
    template = "" if tokenizer.chat_template or not is_chat else 'chat_template = "gemma"'
    draw = random.Random(0)
    for split, rows in ROWS.items():
        write = _write_chats if is_chat else _write_pairs
        write(folder / split, rows, tokens, draw)
    values = {
        "base": base,
        "task": task,
        "tokens": tokens,
        "batch_size": batch_size,
        "steps": steps,
        "dtype": dtype,
        "folder": folder,
        "ending": "jsonl" if is_chat else "tsv",
        "data": template,
        "method": f'name = "qlora"\nquantization_bits = {bits}' if bits else "",
        "metrics": "" if is_chat else ', "accuracy"',
    }
    (folder / "study.toml").write_text(STUDY.format(**values), encoding="utf-8")
    return load_spec(folder / "study.toml")


def _write_chats(file: Path, rows: int, tokens: int, draw: random.Random) -> None:
    """Write conversations of about `tokens` tokens, the template's dozen included."""
    answer = round(tokens * ANSWER) - 1  # and its end
    asked = tokens - answer - 1 - 10
    lines = [
        json.dumps({"messages": [_said("user", asked, draw), _said("assistant", answer, draw)]})
        for _ in range(rows)
    ]
    file.with_suffix(".jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _said(role: str, words: int, draw: random.Random) -> dict[str, Any]:
    return {"role": role, "content": _text(words, draw)}


def _write_pairs(file: Path, rows: int, tokens: int, draw: random.Random) -> None:
    """Write pairs of texts that together fill `tokens` tokens, and a label each."""
    lines = ["sentence1\tsentence2\tlabel"]
    lines += [
        f"{_text(tokens // 2, draw)}\t{_text(tokens // 2, draw)}\t{row % 2}" for row in range(rows)
    ]
    file.with_suffix(".tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _text(words: int, draw: random.Random) -> str:
    return " ".join(draw.choice(WORDS) for _ in range(words))
