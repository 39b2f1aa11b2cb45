"""Losses per example: each returns (B, 2), the sum over tokens and its weight."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own abbreviation

from study.tasks.token_logits import plain_head, token_states

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


ROWS_AT_ONCE = 128  # their logits fit into a core's cache


def language_model_loss(model: Any, inputs: Mapping[str, Any], labels: Tensor) -> Tensor:
    """Return the token cross-entropy (B, 2) of a model's logits (B, T, V) against labels (B, T).

    If the output layer is plain and frozen, logits are computed only at labelled positions, and
    none are kept.
    """
    head = plain_head(model, inputs)
    if head is None:
        return cross_entropy(model(**inputs).logits, labels)
    counted = labels != IGNORED
    hidden = token_states(model, inputs, counted)  # (n, D)
    losses = _LinearCrossEntropy.apply(  # type: ignore[no-untyped-call]
        hidden, head.weight, head.bias, labels[counted], hidden.requires_grad
    )
    by_row = losses.new_zeros(counted.shape).masked_scatter(counted, losses)  # (B, T)
    return torch.stack([by_row.sum(dim=1), counted.sum(dim=1).to(losses)], dim=1)


class _LinearCrossEntropy(torch.autograd.Function):
    """Cross-entropy of hidden states (n, D) under an output layer (V, D), without keeping logits.

    The gradient of the hidden states is computed with the loss, a few rows at a time, as in Hsu et
    al. 2024 (Liger Kernel, arXiv:2410.10989); the layer itself is frozen and gets none.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, grad: bool
    ) -> Tensor:
        """Return the losses (n,)."""
        losses, grads = [], []
        for start in range(0, len(hidden), ROWS_AT_ONCE):
            h = hidden[start : start + ROWS_AT_ONCE]
            label = labels[start : start + ROWS_AT_ONCE, None]
            log_p = _at_least_float32(F.linear(h, weight, bias)).log_softmax(dim=1)
            losses.append(-log_p.gather(1, label)[:, 0])
            if grad:
                p = log_p.exp_()
                p.scatter_add_(1, label, p.new_full(label.shape, -1.0))
                grads.append(p.to(weight.dtype) @ weight)
        if grad:
            ctx.save_for_backward(torch.cat(grads))
        return torch.cat(losses)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradient of the hidden states."""
        (grad_hidden,) = ctx.saved_tensors
        return (grad_hidden * grads[0][:, None]).to(grad_hidden.dtype), None, None, None, None
