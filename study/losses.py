"""Losses, one value an example: each returns (B, 2), the sum over tokens and its weight."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own abbreviation

IGNORED = -100


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Token cross-entropy in nats of logits (B, T, V) against labels (B, T).

    Positions labelled -100 do not count.  Returns (B, 2): summed loss and number of tokens; the
    mean over a batch is `sum(column 0) / sum(column 1)`, Hugging Face's token mean.
    """
    flat = _at_least_float32(logits).flatten(0, 1)  # (B·T, V), contiguous: twice as fast
    losses = F.cross_entropy(flat, labels.flatten(), ignore_index=IGNORED, reduction="none")
    losses = losses.view(labels.shape)  # (B, T)
    return torch.stack([losses.sum(dim=1), (labels != IGNORED).sum(dim=1).to(losses)], dim=1)


def _at_least_float32(logits: Tensor) -> Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()
