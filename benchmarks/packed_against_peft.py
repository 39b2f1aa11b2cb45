"""Packed trials against a plain loop with PEFT in its best form, over a checkpoint in a folder.

The plain loop trains one adapter after the other: PEFT's layers, the model's own attention by SDPA,
the output head and the loss at the labelled tokens only, clipping and fused AdamW; rows are
collated beforehand.  Two fifths of the tokens are labelled.  Both sides train over one loaded base,
turn by turn in one thread, with rank 16 on all linear layers.  Prints tokens per second, by the
clock and by the process's CPU time, which a busy machine disturbs less, and the median of the
rounds' ratios.

    python benchmarks/packed_against_peft.py /models/gemma-3-270m --batch-sizes 4 1 --slots 8
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from checkpoint_study import ANSWER, checkpoint_study
from torch.nn import functional as F  # noqa: N812 - torch's own abbreviation

from study.bases.load import BaseModel
from study.data.corpora import corpus_of
from study.engines.build import packed_over, working_base
from study.engines.engine_choice import EngineChoice
from study.engines.pass_size import collated, largest_trial, memory_beside_base
from study.engines.passes import TokenBudget
from study.engines.process_settings import be_one_quiet_thread
from study.hardware import device_kind
from study.spec.sections import StudySpec
from study.tasks import make_task
from study.tasks.base import Batch, Task
from study.tasks.losses import IGNORED
from study.trials import TrialConfig


@dataclass(frozen=True)
class Speed:
    """What one side trained in one round."""

    tokens: int
    seconds: float
    cpu_seconds: float


def timed(train: Callable[[], int]) -> Speed:
    """Time a function that trains and returns its number of tokens."""
    synchronize()
    clock, cpu = time.perf_counter(), time.process_time()
    tokens = train()
    synchronize()
    return Speed(tokens, time.perf_counter() - clock, time.process_time() - cpu)


def synchronize() -> None:
    """Wait for a GPU."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


# ---------------------------------------------------------------- the plain loop


class PlainLoop:
    """One adapter of PEFT and its optimizer on a base of its own layers."""

    def __init__(self, base: BaseModel, config: TrialConfig) -> None:
        from peft import LoraConfig, get_peft_model

        method = config.method
        assert method is not None
        linear = [n for n, m in base.model.named_modules() if type(m) is torch.nn.Linear]
        names = {name.rpartition(".")[2] for name in linear} - {"lm_head"}
        self._peft = get_peft_model(
            base.model,
            LoraConfig(
                r=method.rank,
                lora_alpha=method.alpha,
                lora_dropout=method.dropout,
                target_modules=sorted(names),
            ),
        )
        self._model = base.model
        self._weights = [p for p in self._peft.parameters() if p.requires_grad]
        self._optimizer = torch.optim.AdamW(self._weights, lr=1e-4, fused=True)
        self._peft.train()

    def step(self, batch: Batch) -> int:
        """Train on one batch; return its tokens."""
        read = {"input_ids": batch.inputs["input_ids"], "use_cache": False}
        states = self._model.base_model(**read).last_hidden_state
        labels = self._labels(batch)
        chosen = labels != IGNORED
        logits = self._model.lm_head(states[chosen])
        F.cross_entropy(logits.float(), labels[chosen]).backward()
        torch.nn.utils.clip_grad_norm_(self._weights, 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad()
        return batch.real_tokens

    def _labels(self, batch: Batch) -> torch.Tensor:
        """Return the answer's tokens where they are predicted: the last two fifths of a row."""
        ids = batch.inputs["input_ids"]
        labels = torch.full_like(ids, IGNORED)
        first = round(ids.shape[1] * (1 - ANSWER))
        labels[:, first - 1 : -1] = ids[:, first:]
        return labels

    def close(self) -> None:
        """Give the base back."""
        self._peft.unload()
        if hasattr(self._model, "peft_config"):
            del self._model.peft_config
        self._model.eval().requires_grad_(False)


def plain_round(base: BaseModel, task: Task, config: TrialConfig, slots: int, steps: int) -> Speed:
    """Train `slots` adapters, one after the other."""
    rows = task.examples("train")
    size = config.training.rows_per_step
    groups = [rows[i * size % len(rows) :][:size] for i in range(steps)]
    batches = [collated(task, config, group).to(base.model.device) for group in groups]
    done = []
    for _ in range(slots):
        with closing(PlainLoop(base, config)) as loop:
            done.append(timed(lambda loop=loop: sum(loop.step(batch) for batch in batches)))
    return Speed(
        sum(s.tokens for s in done), sum(s.seconds for s in done), sum(s.cpu_seconds for s in done)
    )


# ---------------------------------------------------------------- packed


def packed_round(
    spec: StudySpec,
    base: BaseModel,
    task: Task,
    config: TrialConfig,
    slots: int,
    steps: int,
    tokens: int | None,
) -> Speed:
    """Train `slots` trials together."""
    assert config.method is not None
    budget, methods = TokenBudget(), [config.method]
    free = memory_beside_base(base, EngineChoice())
    with closing(packed_over(spec, base, task, methods, slots, budget, free)) as packed:
        budget.training = tokens or budget.training
        for number in range(slots):
            packed.start(replace(config, number=number, seed=number))

        def train() -> int:
            for _ in range(steps):
                packed.train_one_step()
            packed._read()
            return sum(training.tokens for training in packed._trials.values())

        return timed(train)


def main() -> None:
    """Print a table."""
    options = _options()
    be_one_quiet_thread()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU, one thread"
    print(f"{device}, torch {torch.__version__}, rows of about {options.tokens} tokens\n")
    print("| batch | slots | plain tokens/s | packed tokens/s | ratio | ratio by CPU time |")
    print("|---|---|---|---|---|---|", flush=True)
    for batch_size in options.batch_sizes:
        with tempfile.TemporaryDirectory() as folder:
            spec = checkpoint_study(
                Path(folder), options.base, "sft", options.tokens, batch_size, dtype=options.dtype
            )
            base = working_base(spec, options.base)
            task = make_task(spec, base, corpus_of(spec))
        config = largest_trial(spec)
        sizes = (options.slots, options.steps)
        plain, packed = [], []
        for _ in range(options.rounds):
            plain.append(plain_round(base, task, config, *sizes))
            packed.append(packed_round(spec, base, task, config, *sizes, options.tokens_per_pass))
        print(f"| {batch_size} | {options.slots} | {_cells(plain, packed)} |", flush=True)


def _cells(plain: Sequence[Speed], packed: Sequence[Speed]) -> str:
    def rate(speed: Speed) -> float:
        return speed.tokens / speed.seconds

    def by_cpu(speed: Speed) -> float:
        return speed.tokens / speed.cpu_seconds

    cells: list[Any] = [f"{statistics.median(map(rate, side)):,.0f}" for side in (plain, packed)]
    for measure in (rate, by_cpu):
        ratios = [measure(b) / measure(a) for a, b in zip(plain, packed, strict=True)]
        cells.append(f"{statistics.median(ratios):.2f}")
    return " | ".join(cells)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base", help="folder of a decoder's checkpoint")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[4, 1])
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--tokens-per-pass", type=int, help="instead of what the engine chooses")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtype", default="bfloat16" if device_kind() == "cuda" else "float32")
    return parser.parse_args()


if __name__ == "__main__":
    main()
