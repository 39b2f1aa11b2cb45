"""A study over a checkpoint in a folder, with rows of one length, for the scripts that measure it.

The texts are random common words.  Two fifths of a conversation's tokens are its answer.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
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
name = "{name}"
task = "{task}"

[base]
model = "{base}"
dtype = "{dtype}"

[data]
train = "{folder}/train.{ending}"
dev = "{folder}/dev.{ending}"
{data}

[method]
target_modules = "all-linear"
{method}

[training]
steps = {steps}
batch_size = {batch_size}
report_every = {report_every}
{training}

[evaluation]
{evaluation}

[search]
space = "none"
sampler = "random"
trials = {trials}

[search.parameters.learning_rate]
choices = {rates}
"""


def study_over(
    folder: Path,
    name: str,
    *,
    trials: int,
    rates: Sequence[float],
    ending: str,
    dtype: str = "auto",
    method: str = "",
    training: str = "",
    **values: Any,
) -> StudySpec:
    """Return a study over a checkpoint, with the texts that the folder holds.

    `values` are task, base, steps, batch_size, report_every, and the lines of data and evaluation.
    """
    shaped = {"method": method, "training": training, "trials": trials, "rates": list(rates)}
    text = STUDY.format(folder=folder, name=name, ending=ending, dtype=dtype, **shaped, **values)
    (folder / "study.toml").write_text(text, encoding="utf-8")
    return load_spec(folder / "study.toml")


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
    quantized = f'name = "qlora"\nquantization_bits = {bits}' if bits else ""
    metrics = '["loss"]' if is_chat else '["loss", "accuracy"]'
    return study_over(
        folder,
        "checkpoint",
        trials=64,
        rates=(1e-4, 2e-4),
        ending="jsonl" if is_chat else "tsv",
        dtype=dtype,
        method=f"rank = 16\ndropout = 0.1\n{quantized}",
        task=task,
        base=base,
        steps=steps,
        batch_size=batch_size,
        report_every=steps,
        data=f"max_tokens = {tokens}\n{template}",
        evaluation=f'objective = "loss"\nmetrics = {metrics}',
    )


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
