"""Real instructions: a base from some of a file's datasets, and a study of another one.

    python benchmarks/llada_real_text.py instructions.jsonl /tmp/real --domain smsa
    optuna-study run /tmp/real/study.toml

The file holds an object a line: `input`, `output`, `dataset_name`.  Written to the folder: a base
that has read all datasets but the domain's and a few of its rows, train, dev and general files, and
a study file like the shipped one.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from pathlib import Path
from typing import Any

from study.bases.building import Miniature, build
from study.bases.masked import MaskedRecipe
from study.data.embedded import Pair
from study.engines.process_settings import be_one_quiet_thread

STUDY = """
name = "llada-real"
task = "masked_diffusion"

[base]
model = "base"

[data]
train = "train.jsonl"
dev = "dev.jsonl"
general = "general.jsonl"
source_column = "input"
target_column = "output"
max_tokens = {max_tokens}

[diffusion]
length = 8
steps = 4
block_length = 8

[training]
learning_rate = 2e-3
report_every = 63

[evaluation]
objective = "chrf"
metrics = ["chrf", "bleu1", "loss"]
report_examples = 48

[search]
space = "none"
sampler = "random"
trials = 4

[search.parameters.rank]
choices = [8, 16]

[search.parameters.alpha]
choices = [16, 32]

[search.parameters.epochs]
choices = [2.0, 4.0]

[search.parameters.cutoff_tokens]
choices = [24, 48]
"""


def main() -> None:
    """Write base, data and study file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("instructions", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--domain", default="smsa")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seen", type=int, default=100, help="Rows of the domain in the base.")
    given = parser.parse_args()
    be_one_quiet_thread()
    rows = [json.loads(line) for line in given.instructions.read_text("utf-8").splitlines()]
    random.Random(0).shuffle(rows)
    own = [row for row in rows if row["dataset_name"] == given.domain]
    others = [row for row in rows if row["dataset_name"] != given.domain]
    given.out.mkdir(parents=True)
    write(given.out / "dev.jsonl", own[:160])
    write(given.out / "train.jsonl", own[160:660])
    write(given.out / "general.jsonl", others[:80])
    read = [*others[80:], *own[660 : 660 + given.seen]]
    recipe = MaskedRecipe(steps=given.steps, vocabulary_size=2_000, max_tokens=48, length=8)
    (given.out / "study.toml").write_text(STUDY.format(max_tokens=recipe.max_tokens))
    pairs = [Pair(r["input"], r["output"]) for r in read]
    build(Miniature(recipe, pairs), given.out / "base", report)
    print(f"{len(own[160:660])} train, 160 dev of {given.domain}; base of {len(read)} rows")


def report(step: int, total: int, loss: float) -> None:
    """Say how far the base is."""
    if step % 100 == 0:
        print(f"base: step {step}/{total}, loss {loss:.2f}", file=sys.stderr)


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows, an object a line."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")


if __name__ == "__main__":
    main()
