"""What every task promises: examples, batches, loss, outputs and scores.

A task knows nothing about slots or engines.  Rows come first everywhere: B examples, T tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from study.metrics import Statistics
from study.tasks.losses import IGNORED
from study.trials import TrialConfig

Example = Any
"""An element of `Task.examples`; only the task looks inside."""


@dataclass(frozen=True)
class Batch:
    """Tensors with B rows, padded on the right.

    `rows` is what the loss needs from each row's trial, such as a distillation temperature, so that
    trials with different values share a batch.
    """

    inputs: Mapping[str, Tensor]  # what the model reads: (B, S)
    labels: Tensor  # (B, T), -100 if unlabelled; or (B,)
    rows: Mapping[str, Tensor] = field(default_factory=dict)  # (B, ...)
    padding: Mapping[str, float] = field(
        default_factory=dict
    )  # input -> padding value, by default 0
    tokens: int | None = None  # prompts and answers without padding; None: what is not masked

    @property
    def real_tokens(self) -> int:
        """The number of tokens that are trained on, prompts and answers, without padding."""
        if self.tokens is not None:
            return self.tokens
        read = self.inputs.get("attention_mask")
        return next(iter(self.inputs.values())).numel() if read is None else int(read.sum())

    @property
    def widths(self) -> tuple[int, int]:
        """The columns of a row, padding included: of what the model reads, and of its labels."""
        read = max((t.shape[1] for t in self.inputs.values() if t.dim() > 1), default=1)
        return read, self.labels.shape[1] if self.labels.dim() > 1 else 1

    def part(self, rows: slice) -> Batch:
        """Return some rows, padded as they are."""
        inputs = {name: tensor[rows] for name, tensor in self.inputs.items()}
        of_rows = {name: tensor[rows] for name, tensor in self.rows.items()}
        return Batch(inputs, self.labels[rows], of_rows, self.padding)

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        inputs = {name: tensor.to(device) for name, tensor in self.inputs.items()}
        rows = {name: tensor.to(device) for name, tensor in self.rows.items()}
        return Batch(inputs, self.labels.to(device), rows, self.padding)


def stacked(batches: Sequence[Batch]) -> Batch:
    """Return the rows of several batches as one, padded to the longest."""
    if len(batches) == 1:
        return batches[0]
    first = batches[0]
    inputs = {
        name: _padded([b.inputs[name] for b in batches], first.padding.get(name, 0))
        for name in first.inputs
    }
    rows = {name: _padded([b.rows[name] for b in batches], 0) for name in first.rows}
    labels = _padded([b.labels for b in batches], IGNORED)
    return Batch(inputs, labels, rows, first.padding)


def _padded(tensors: Sequence[Tensor], value: float) -> Tensor:
    """Concatenate (B_i, T_i, ...) to (ΣB, max T, ...), padded with `value`."""
    if tensors[0].dim() == 1:
        return torch.cat(list(tensors))
    longest = max(t.shape[1] for t in tensors)
    whole = tensors[0].new_full(
        (sum(len(t) for t in tensors), longest, *tensors[0].shape[2:]), value
    )
    start = 0
    for tensor in tensors:
        whole[start : start + len(tensor), : tensor.shape[1]] = tensor
        start += len(tensor)
    return whole


class Task(Protocol):
    """One kind of learning.

    If the loss is not a plain token mean, the attribute `loss_signature` describes it; if it is of
    another text than the reference, `loss_text` returns that of an example.  A task that
    learns from a teacher keeps it as `teacher` (study/tasks/teacher_alone.py), to be scored itself.
    A task that writes prompts itself returns the first for `check` from `shown()`, as text with
    whether it is trained.
    """

    def examples(self, split: str) -> Sequence[Example]:
        """Return the examples of `train`, `dev`, `general` or `test`."""

    def texts(self, example: Example) -> tuple[str, str]:
        """Return the source and the reference, as a person reads them."""

    def length(self, example: Example) -> int:
        """Return what batches are sorted by: the number of tokens."""

    def collate(
        self, examples: Sequence[Example], config: TrialConfig, generator: torch.Generator
    ) -> Batch:
        """Return B examples as tensors; randomness comes from the generator.

        `config.distillation` is None if the plain loss is needed: without a teacher, and in every
        evaluation.
        """

    def loss(self, model: Any, batch: Batch) -> Tensor:
        """Return (B, 2): the loss summed over a row's tokens, and its weight."""

    def predict(self, model: Any, batch: Batch) -> list[str]:
        """Return one output per row."""

    def score(self, outputs: Sequence[str], examples: Sequence[Example]) -> dict[str, Statistics]:
        """Return the per-example statistics (N, S) of every metric computed from outputs."""
