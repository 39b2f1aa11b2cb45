"""How many rows fit into one pass over the base: a coarse count of a row's bytes.

What a pass needs besides weights grows with its rows: activations, and above all the logits, which
for a vocabulary of 262,144 tokens take a megabyte per position in float32.  Results do not depend
on the size of a pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import psutil
import torch

from study.engines.dropout import GROUP
from study.spec.sections import StudySpec
from study.trials import baseline_configs

if TYPE_CHECKING:
    from study.bases.load import BaseModel
    from study.tasks.base import Task

ROWS_PER_PASS = 128
"""Fewer rows would not hide the overhead of a pass; more would pad short texts further."""
SHARE_OF_MEMORY = 0.7
LOGIT_BYTES = 4  # float32, as losses compute
LOGIT_COPIES = 3  # the logits, their log-softmax and its gradient
KEPT_PER_LAYER = 17
"""Numbers of the hidden width that a layer keeps per token for the backward pass: Korthikanti et
al. 2022 (arXiv:2205.05198) count 34 bytes in 16 bits."""
EXAMPLES = 64  # the longest of a split, whose tokens are counted


@dataclass(frozen=True)
class PassRows:
    """The most rows of a pass over the base: in training, at least GROUP; and in evaluation."""

    training: int = ROWS_PER_PASS
    evaluation: int = 2**31


ALL_ROWS = PassRows()
"""Where memory sets no limit."""


@dataclass(frozen=True)
class RowBytes:
    """What one row of the longest examples takes in a training pass."""

    logits: int
    activations: int

    @property
    def total(self) -> int:
        """Bytes per row."""
        return self.logits + self.activations


def row_bytes(spec: StudySpec, base: BaseModel, task: Task) -> RowBytes:
    """Count the bytes of a row that is as long as the longest example."""
    read, predicted = _longest(spec, task)
    config = base.model.config
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    width = int(getattr(text, "hidden_size", 0) or 0)
    depth = int(getattr(text, "num_hidden_layers", 0) or 0)
    if getattr(config, "is_encoder_decoder", False):
        depth += int(getattr(text, "decoder_layers", depth))
    number = base.model.dtype.itemsize
    sequences = int(getattr(task, "sequences_per_row", 1))  # a pair of answers has two
    return RowBytes(
        logits=sequences * predicted * _outputs(base.model) * LOGIT_BYTES * LOGIT_COPIES,
        activations=sequences * read * depth * width * KEPT_PER_LAYER * number,
    )


def _longest(spec: StudySpec, task: Task) -> tuple[int, int]:
    """Return the largest numbers of tokens that a row has as input and as labels."""
    config, generator = baseline_configs(spec)[0], torch.Generator().manual_seed(0)
    read = predicted = 1
    for split in ("train", "dev"):
        longest = sorted(task.examples(split), key=lambda e: sum(map(len, task.texts(e))))
        longest = longest[-EXAMPLES:]
        for first in range(0, len(longest), GROUP):
            batch = task.collate(longest[first : first + GROUP], config, generator)
            widths = [t.shape[1] for t in batch.inputs.values() if t.dim() > 1]
            read = max(read, *widths) if widths else read
            predicted = max(predicted, batch.labels.shape[1] if batch.labels.dim() > 1 else 1)
    return max(read, predicted), predicted


def _outputs(model: Any) -> int:
    """Return how many logits a position has: the vocabulary's, or a classifier's labels."""
    head = model.get_output_embeddings()
    weight = getattr(head, "weight", None)
    return int(weight.shape[0] if weight is not None else model.config.num_labels)


def base_bytes(model: Any) -> int:
    """Return the bytes of a model's weights."""
    return sum(t.numel() * t.element_size() for t in chain(model.parameters(), model.buffers()))


def memory_for_passes(base: BaseModel, workers: int) -> int:
    """Return the bytes that one of `workers` processes may use besides its loaded base.

    The other workers may not have loaded theirs yet, so that theirs are set aside.
    """
    held = base_bytes(base.model)
    return max(0, memory_per_worker(workers, held) - held)


def memory_per_worker(workers: int, held: int = 0) -> int:
    """Return the bytes that each of `workers` processes may use; this one holds some already."""
    if torch.cuda.is_available():
        free, _ = torch.cuda.mem_get_info()
    else:
        free = psutil.virtual_memory().available
    return int((free + held) * SHARE_OF_MEMORY / workers)


def fitting_rows(row: RowBytes, free_bytes: int) -> PassRows:
    """Return how many rows fit into memory, in training in whole groups, which are never split."""
    fitting = free_bytes // max(1, row.total)
    in_groups = min(ROWS_PER_PASS, fitting) // GROUP * GROUP
    return PassRows(max(GROUP, in_groups), max(1, fitting))
