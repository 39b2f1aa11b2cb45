"""The task's promise: what a kind of learning must say.

A task knows nothing of slots or engines.  Rows come first everywhere: B examples, T tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from study.metrics import Statistics
from study.trials import TrialConfig

Example = Any
"""An element of `Task.examples`; only the task looks inside."""


@dataclass(frozen=True)
class Batch:
    """Tensors with B rows: the model's inputs and the labels (B, T), -100 where none."""

    inputs: Mapping[str, Tensor]
    labels: Tensor

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        inputs = {name: tensor.to(device) for name, tensor in self.inputs.items()}
        return Batch(inputs, self.labels.to(device))


class Task(Protocol):
    """One kind of learning."""

    def examples(self, split: str) -> Sequence[Example]:
        """Return the examples of `train`, `dev` or `general`."""

    def texts(self, example: Example) -> tuple[str, str]:
        """Return the source and the reference, as a person reads them."""

    def length(self, example: Example) -> int:
        """Return what batches are sorted by: the number of tokens."""

    def collate(
        self, examples: Sequence[Example], config: TrialConfig, generator: torch.Generator
    ) -> Batch:
        """Return B examples as tensors; randomness comes from the generator."""

    def loss(self, model: Any, batch: Batch) -> Tensor:
        """Return (B, 2): the loss summed over a row's tokens, and its weight."""

    def predict(self, model: Any, batch: Batch) -> list[str]:
        """Return one output a row."""

    def score(self, outputs: Sequence[str], examples: Sequence[Example]) -> dict[str, Statistics]:
        """Return the per-example statistics (N, S) of every metric computed from outputs."""
