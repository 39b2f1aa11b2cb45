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


def distillation(
    student: Tensor, teacher: Tensor, labels: Tensor, temperature: Tensor, weight: Tensor
) -> Tensor:
    """(1 − a)·CE + a·T²·KL(teacher ‖ student), both softened by T, at the labelled positions.

    Hinton, Vinyals & Dean 2015, "Distilling the knowledge in a neural network": T² keeps the soft
    part's gradients as large as they are at T = 1, so that a means the same at every T.

    Args:
        student: Logits (B, T, V).
        teacher: Logits (B, T, V), without gradient.
        labels: (B, T); positions labelled -100 do not count, neither in CE nor in KL.
        temperature: T of every row, (B,).
        weight: a of every row, (B,): 0 is plain cross-entropy.

    Returns:
        (B, 2): summed loss in nats and number of tokens, as `cross_entropy`.
    """
    plain, tokens = cross_entropy(student, labels).unbind(dim=1)
    temperature, weight = temperature.to(plain), weight.to(plain)
    divergence = _divergence(student, teacher, temperature[:, None, None])  # (B, T)
    soft = divergence.masked_fill(labels == IGNORED, 0.0).sum(dim=1)
    mixed = (1 - weight) * plain + weight * temperature**2 * soft
    return torch.stack([mixed, tokens], dim=1)


def _divergence(student: Tensor, teacher: Tensor, temperature: Tensor) -> Tensor:
    """KL(teacher ‖ student) in nats of logits (B, T, V) divided by a temperature: (B, T)."""
    soft_student = (_at_least_float32(student) / temperature).log_softmax(dim=-1)
    soft_teacher = (_at_least_float32(teacher) / temperature).log_softmax(dim=-1)
    return F.kl_div(soft_student, soft_teacher, reduction="none", log_target=True).sum(dim=-1)


def _at_least_float32(logits: Tensor) -> Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()
