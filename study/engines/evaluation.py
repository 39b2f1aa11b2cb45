"""Scoring one model on one split, in length-sorted batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from study.metrics import LOSS_SIGNATURE, Statistics
from study.tasks.base import Example, Task
from study.trials import SplitResult, TrialConfig


@torch.inference_mode()
def evaluate(
    task: Task,
    model: Any,
    examples: Sequence[Example],
    config: TrialConfig,
    batch_size: int,
    texts: bool = True,
    loss: bool = True,
) -> SplitResult:
    """Return the statistics and outputs of N examples, in their own order.

    The generator that `collate` gets is the same for every configuration, so that all are
    measured on the same draws; and no teacher has a part in the loss, so that trials of different
    temperatures compare.
    """
    config = replace(config, distillation=None)
    generator = torch.Generator().manual_seed(0)
    outputs = [""] * len(examples)
    losses = np.zeros((len(examples), 2))
    for rows in _length_sorted(task, examples, batch_size):
        batch = task.collate([examples[i] for i in rows], config, generator).to(model.device)
        if loss:
            losses[rows] = task.loss(model, batch).double().cpu().numpy()
        if texts:
            for row, output in zip(rows, task.predict(model, batch), strict=True):
                outputs[row] = output
    statistics = task.score(outputs, examples) if texts else {}
    if loss:
        statistics = {**statistics, "loss": Statistics("loss", losses, LOSS_SIGNATURE)}
    texts_of = tuple(task.texts(example) for example in examples)
    return SplitResult(statistics, tuple(outputs), texts_of)


def _length_sorted(task: Task, examples: Sequence[Example], batch_size: int) -> Iterator[list[int]]:
    order = sorted(range(len(examples)), key=lambda i: task.length(examples[i]))
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]
