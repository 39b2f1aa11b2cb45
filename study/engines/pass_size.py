"""How many tokens fit into one pass over the base: measured in the engine, counted before.

What a pass needs besides weights grows with its tokens: activations, and above all the logits,
which for a vocabulary of 262,144 tokens take a megabyte per position in float32.  Results do not
depend on the size of a pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch

from study.engines.engine_choice import EngineChoice
from study.engines.memory import is_out_of_memory, release_memory
from study.engines.passes import (
    ENOUGH_TOKENS,
    PASS_BYTES,
    RECOMPUTES,
    TOKENS_PER_PASS,
    TokenBudget,
    reads_labels,
    tokens_of,
)
from study.hardware import device_kind, free_memory
from study.kinds.methods import METHODS
from study.spec.sections import StudySpec
from study.tasks.base import Batch, Example
from study.tasks.vocabulary.linear_loss import BUFFER_BYTES
from study.trials import TrialConfig, baseline_configs, search_config

if TYPE_CHECKING:
    from study.bases.load import BaseModel
    from study.tasks.base import Task

SHARE_OF_MEMORY = 0.9
LIBRARY_BYTES = 400 * 2**20  # of a process that has imported PyTorch and transformers
LOGIT_BYTES = 4  # float32, as losses compute
LOGIT_COPIES = 3  # the logits, their log-softmax and its gradient
KEPT_PER_LAYER = 17
"""Numbers of the hidden width that a layer keeps per token for the backward pass: Korthikanti et
al. 2022 (arXiv:2205.05198) count 34 bytes in 16 bits."""
EXAMPLES = 64  # the longest of a split, whose tokens are counted


@dataclass(frozen=True)
class RowBytes:
    """What one row of the longest examples takes in a training pass, and its tokens."""

    logits: int
    activations: int
    tokens: int

    @property
    def total(self) -> int:
        """Bytes per row."""
        return self.logits + self.activations


def row_bytes(spec: StudySpec, base: BaseModel, task: Task) -> RowBytes:
    """Count the bytes of a row that is as long as the longest example."""
    read, predicted = _longest_widths(spec, task)
    config = base.model.config
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    width = int(getattr(text, "hidden_size", 0) or 0)
    depth = int(getattr(text, "num_hidden_layers", 0) or 0)
    if reads_labels(base.model):
        depth += int(getattr(text, "decoder_layers", depth))
    number = base.model.dtype.itemsize
    sequences = int(getattr(task, "sequences_per_row", 1))  # a pair of answers has two
    return RowBytes(
        logits=sequences * predicted * _outputs(base.model) * LOGIT_BYTES * LOGIT_COPIES,
        activations=sequences * max(read, predicted) * depth * width * KEPT_PER_LAYER * number,
        tokens=read + predicted * reads_labels(base.model),
    )


def _longest_widths(spec: StudySpec, task: Task) -> tuple[int, int]:
    """Return the largest numbers of tokens that a row has as input and as labels."""
    config = baseline_configs(spec)[0]
    widths = [
        collated(task, config, longest_examples(task, split)[:EXAMPLES]).widths
        for split in ("train", "dev")
    ]
    return max(read for read, _ in widths), max(predicted for _, predicted in widths)


def longest_examples(task: Task, split: str = "train") -> list[Example]:
    """Return the examples of a split, the longest first."""
    return sorted(task.examples(split), key=task.length, reverse=True)


def collated(task: Task, config: TrialConfig, examples: Sequence[Example]) -> Batch:
    """Return examples as a batch, with draws of its own."""
    return task.collate(examples, config, torch.Generator().manual_seed(0))


def _outputs(model: Any) -> int:
    """Return how many logits a position has: the vocabulary's, or a classifier's labels."""
    head = model.get_output_embeddings()
    weight = getattr(head, "weight", None)
    return int(weight.shape[0] if weight is not None else model.config.num_labels)


def base_bytes(model: Any) -> int:
    """Return the bytes of a model's weights."""
    return sum(t.numel() * t.element_size() for t in chain(model.parameters(), model.buffers()))


# ---------------------------------------------------------------- what there is


def memory_beside_base(base: BaseModel, choice: EngineChoice) -> int:
    """Return the bytes that this worker may use besides its loaded base.

    Workers that share a device may not have loaded theirs yet, so that theirs are set aside.
    """
    held = base_bytes(base.model)
    return max(0, memory_per_worker(choice, held) - held)


def memory_per_worker(choice: EngineChoice, held: int = 0) -> int:
    """Return the bytes that each worker of a device may use; this one holds some already."""
    release_memory()
    if torch.cuda.is_available():
        free, sharing = torch.cuda.mem_get_info()[0], choice.workers_per_device
    else:
        free, sharing = free_memory(), choice.workers_per_machine
    return int((free + held) * SHARE_OF_MEMORY / sharing)


def usable_memory() -> float:
    """Return the bytes of main memory that all workers may use together."""
    return free_memory() * SHARE_OF_MEMORY


def worker_bytes(spec: StudySpec, skeleton: BaseModel, task: Task | None) -> int:
    """Return the bytes that a worker needs at least: libraries, base, a pass over a row."""
    number = getattr(torch, spec.base.dtype).itemsize
    weights = sum(weight.numel() for weight in skeleton.model.parameters()) * number
    if task is None:
        return int(LIBRARY_BYTES + weights)
    row = row_bytes(spec, skeleton, task)
    logits = min(row.logits, max(BUFFER_BYTES.values()))
    return int(LIBRARY_BYTES + weights + logits + row.activations)


# ---------------------------------------------------------------- what a token takes


@dataclass(frozen=True)
class PassBytes:
    """What a training pass takes besides weights and states: a fixed part, and one per token."""

    fixed: float
    per_token: float

    def tokens(self, free_bytes: float) -> int:
        """Return how many tokens fit, at least one."""
        return max(1, int((free_bytes - self.fixed) / self.per_token))


Rehearsal = Callable[[TrialConfig, Batch], int]
"""Trains a trial on a batch without a trace, and returns the bytes that this took."""


def measured_pass(rehearse: Rehearsal, spec: StudySpec, base: BaseModel, task: Task) -> PassBytes:
    """Measure passes over the longest row and over the two longest.

    `rehearse` trains a trial on a batch and returns the bytes that it took at its peak.  Where the
    system does not say, the bytes are counted.
    """
    config, examples = largest_trial(spec), longest_examples(task)[:2]
    batch = collated(task, config, examples)
    tokens, measured = [], []
    for rows in range(1, len(examples) + 1):
        part = batch.part(slice(rows))
        try:
            measured.append(rehearse(config, part))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            break
        tokens.append(tokens_of([part], reads_labels(base.model)))
    if not measured:
        return PassBytes(0.0, math.inf)
    row = row_bytes(spec, base, task)
    return pass_bytes(tokens, measured, row.total / row.tokens)


def pass_bytes(tokens: Sequence[int], measured: Sequence[float], counted: float) -> PassBytes:
    """Return the line through one or two measured passes, or what was counted per token.

    What the first pass of a process allocates once makes the line too flat, so that it is at least
    half as steep as the one from nothing.
    """
    mean = measured[-1] / tokens[-1]
    if mean <= 0:
        return PassBytes(0.0, max(1.0, counted))
    if len(tokens) == 1 or tokens[0] == tokens[-1]:
        return PassBytes(0.0, mean)
    slope = (measured[-1] - measured[0]) / (tokens[-1] - tokens[0])
    per_token = max(slope, mean / 2, 1.0)
    return PassBytes(max(0.0, measured[-1] - per_token * tokens[-1]), per_token)


def largest_trial(spec: StudySpec) -> TrialConfig:
    """Return a trial with the largest rank, batch, dropout and targets, packed if any can be."""
    names = ("rank", "batch_size", "gradient_accumulation_steps", "dropout")
    values = {name: max(spec.values_of(name)) for name in names}
    values["target_modules"] = spec.values_of("target_modules")[-1]
    packing = [name for name in spec.methods if METHODS[name].packs]
    values["method"] = (packing or list(spec.methods))[0]
    return search_config(spec, 0, values, seed_index=0)


def limit(budget: TokenBudget, measured: PassBytes, free_bytes: float, share: float = 1.0) -> None:
    """Set the tokens of a pass: as many as fit into memory and are worth having.

    A worker that takes the place of one that was killed for memory has a smaller `share` of them.
    """
    fitting, kind = int(measured.tokens(free_bytes) * share), device_kind()
    worth = TOKENS_PER_PASS[kind]
    if kind in PASS_BYTES:
        worth = min(worth, max(ENOUGH_TOKENS[kind], int(PASS_BYTES[kind] / measured.per_token)))
    budget.training = max(1, min(int(worth * share), fitting))
    budget.evaluation = max(1, fitting)


def measure_passes(
    budget: TokenBudget,
    rehearse: Rehearsal,
    spec: StudySpec,
    base: BaseModel,
    task: Task,
    free_bytes: float,
    share: float = 1.0,
    slots: int = 1,
) -> None:
    """Set the budget from measured passes; recompute blocks if too few tokens would fit.

    Too few is less than a step of all slots has, and than a pass needs to be fast.  Evaluation,
    which has nothing to recompute, keeps the tokens that fit without.
    """
    limit(budget, measured_pass(rehearse, spec, base, task), free_bytes, share)
    config = largest_trial(spec)
    row = tokens_of([collated(task, config, longest_examples(task)[:1])], reads_labels(base.model))
    of_step = row * config.training.rows_per_step * slots
    budget.enough = min(int(ENOUGH_TOKENS[device_kind()] * share), of_step)
    if budget.training >= budget.enough or not budget.can_recompute():
        return
    budget.recomputes, before = True, budget.training
    more = TokenBudget()
    limit(more, measured_pass(rehearse, spec, base, task), free_bytes, share)
    if more.training <= before:
        budget.recomputes = False
        return
    budget.training = more.training
    budget.remarks.append(
        f"memory: only {before:,} tokens per pass would fit, so training {RECOMPUTES}: "
        f"{more.training:,} fit"
    )
