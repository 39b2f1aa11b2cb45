"""Losses per example: each returns (B, 2), the sum over tokens and its weight."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own abbreviation

from study.tasks.token_logits import linear_head, token_logits, token_states
from study.tasks.vocabulary.linear_loss import SoftTargets, chunk_rows, linear_loss

IGNORED = -100


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Token cross-entropy in nats of logits (B, T, V) against labels (B, T).

    Positions labelled -100 do not count.  Returns (B, 2): summed loss and number of tokens; the
    mean over a batch is `sum(column 0) / sum(column 1)`, Hugging Face's token mean.
    """
    flat = _at_least_float32(logits).flatten(0, 1)  # (B·T, V): twice as fast if contiguous
    losses = F.cross_entropy(flat, labels.flatten(), ignore_index=IGNORED, reduction="none")
    losses = losses.view(labels.shape)  # (B, T)
    return torch.stack([losses.sum(dim=1), (labels != IGNORED).sum(dim=1).to(losses)], dim=1)


def squared_error(outputs: Tensor, labels: Tensor) -> Tensor:
    """(output − label)² of outputs (B, 1) against labels (B, 1): (B, 2), the error and 1."""
    outputs = _at_least_float32(outputs)
    errors = (outputs - labels.to(outputs))[:, 0] ** 2
    return torch.stack([errors, torch.ones_like(errors)], dim=1)


def distillation(
    student: Tensor, teacher: Tensor, labels: Tensor, temperature: Tensor, weight: Tensor
) -> Tensor:
    """(1 − a)·CE + a·T²·KL(teacher ‖ student), both softened by T, at the labelled positions.

    Hinton, Vinyals & Dean 2015, "Distilling the knowledge in a neural network": T² keeps the soft
    part's gradients as large as at T = 1, so that a means the same at every T.

    Args:
        student: Logits (B, T, V).
        teacher: Logits (B, T, V) without gradients.
        labels: (B, T); positions labelled -100 do not count, neither in CE nor in KL.
        temperature: T per row, (B,).
        weight: a per row, (B,): 0 is plain cross-entropy.

    Returns:
        (B, 2): summed loss in nats and number of tokens, as in `cross_entropy`.
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


def masked_diffusion(logits: Tensor, labels: Tensor, masked: Tensor, scale: Tensor) -> Tensor:
    """Return each row's cross-entropy in nats at its masked tokens, times the row's scale: (B,).

    With scale 1 / (p · A), where p is the probability that a token was masked and A the answer's
    length, its expectation over p and the masks is LLaDA's upper bound of
    -log p(answer | prompt) / A (Nie et al. 2025, arXiv:2502.09992, equation 5).

    Args:
        logits: (n, V), only of the masked tokens, row by row.
        labels: (B, T), the true tokens.
        masked: (B, T), n of them true.
        scale: (B,).
    """
    losses = F.cross_entropy(_at_least_float32(logits), labels[masked], reduction="none")  # (n,)
    by_token = losses.new_zeros(masked.shape).masked_scatter(masked, losses)  # (B, T)
    return by_token.sum(dim=1) * scale.to(by_token)


def _at_least_float32(logits: Tensor) -> Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()


def language_model_loss(
    model: Any, inputs: Mapping[str, Any], labels: Tensor, soft: SoftTargets | None = None
) -> Tensor:
    """Return (B, 2): a model's loss summed over the labelled tokens (B, T), and their number."""
    losses = token_losses(model, inputs, labels, soft)
    return torch.stack([losses.sum(dim=1), (labels != IGNORED).sum(dim=1).to(losses)], dim=1)


def token_losses(
    model: Any, inputs: Mapping[str, Any], labels: Tensor, soft: SoftTargets | None = None
) -> Tensor:
    """Return the losses (B, T) in nats of a model's logits (B, T, V); 0 where labels are -100.

    Logits are computed only where a token is labelled, and a few rows at a time if the output head
    is linear.  The soft targets of a teacher belong to the n labelled tokens, row by row.
    """
    counted = labels != IGNORED
    head = linear_head(model, inputs)
    if head is None:
        logits = token_logits(model, inputs, counted)  # (n, V)
        losses = _in_chunks(logits, labels[counted], soft)
    else:
        states = token_states(model, inputs, counted)  # (n, D)
        row = counted.nonzero()[:, 0]
        losses = linear_loss(head, states, labels[counted], row, soft)
    return losses.new_zeros(counted.shape).masked_scatter(counted, losses)


def _in_chunks(logits: Tensor, labels: Tensor, soft: SoftTargets | None) -> Tensor:
    """Return the losses (n,) of logits (n, V), a few rows at a time."""
    size = chunk_rows(logits.device, logits.shape[1] * 4 * (2 if soft is None else 8))
    losses = [logits.new_empty(0, dtype=torch.promote_types(logits.dtype, torch.float32))]
    for start in range(0, len(logits), size):
        rows = slice(start, start + size)
        student, label = logits[rows, None], labels[rows, None]  # each token as a row of its own
        if soft is None:
            by_token = cross_entropy(student, label)
        else:
            teacher = soft.logits(soft.states[rows])[:, None]
            by_token = distillation(
                student, teacher, label, soft.temperature[rows], soft.weight[rows]
            )
        losses.append(by_token[:, 0])
    return torch.cat(losses)
