"""Cross-entropy and distillation over a large vocabulary, without keeping logits.

A layer W (V, D) turns n hidden states into n·V logits, a megabyte per token if V is 262,144.  Here
they are computed a few rows at a time in one buffer, which then holds their gradient: with
e = exp(z - max z) and s = Σ e,

    loss = log s + max z - z[label]         one exponential per logit
    dz   = e / s - [v = label]              in place
    dh   = dz W                             (rows, V) x (V, D), computed with the loss

as in Hsu et al. 2024 (Liger Kernel, arXiv:2410.10989).  Only dh (n, D) is kept.  Token rows that a
trial trains beside the frozen W enter as extra logits, which replace the columns of their tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from study.tasks.vocabulary.after_head import AfterHead

BUFFER_BYTES = {"cpu": 96 * 2**20, "cuda": 512 * 2**20}
"""The logits of a chunk and whatever else it needs of their size."""
CACHED_ROWS = 128
"""On a CPU no more rows at once: a small vocabulary's logits then stay in a core's cache."""


@dataclass(frozen=True)
class LinearHead:
    """An output layer: the logits of hidden states h are `after`(h Wᵀ + b).

    `own_logits(states (n, D), row (n,))` returns h Rᵀ + b (n, m) for the m `tokens` that each trial
    trains: R is that of the trial to which the states' rows of the batch belong.
    """

    weight: Tensor  # (V, D)
    bias: Tensor | None = None  # (V,)
    after: AfterHead = field(default_factory=AfterHead)
    tokens: Sequence[int] = ()
    own_logits: Callable[[Tensor, Tensor], Tensor] | None = None


@dataclass(frozen=True)
class SoftTargets:
    """What a teacher says of n tokens; see `losses.distillation`."""

    states: Tensor  # (n, D'), of the teacher
    logits: Callable[[Tensor], Tensor]  # states (k, D') -> (k, V)
    temperature: Tensor  # T, (n,)
    weight: Tensor  # a, (n,)


def linear_loss(
    head: LinearHead,
    hidden: Tensor,
    labels: Tensor,
    row: Tensor,
    soft: SoftTargets | None = None,
) -> Tensor:
    """Return the losses (n,) of hidden states (n, D) against labels (n,), in nats.

    Args:
        head: The layer; its weight gets a gradient only if it requires one.
        hidden: What the layer reads.
        labels: The true tokens.
        row: The row of the batch to which each state belongs, (n,).
        soft: A teacher to learn from as well.
    """
    own = None if head.own_logits is None else head.own_logits(hidden, row)  # (n, m)
    trained = (t for t in (hidden, head.weight, head.bias, own) if t is not None)
    learns = torch.is_grad_enabled() and any(t.requires_grad for t in trained)
    tokens = torch.tensor(list(head.tokens), device=hidden.device)
    chunks = _Chunks(head.after, tokens, labels, soft)
    losses: Tensor = _LinearLoss.apply(hidden, head.weight, head.bias, own, chunks, learns)  # type: ignore[no-untyped-call]
    return losses


def chunk_rows(device: torch.device, bytes_per_row: int) -> int:
    """Return how many rows of logits are computed at once."""
    rows = max(1, BUFFER_BYTES.get(device.type, BUFFER_BYTES["cuda"]) // bytes_per_row)
    return min(rows, CACHED_ROWS) if device.type == "cpu" else rows


class _LinearLoss(torch.autograd.Function):
    """The losses of all chunks, and the gradients of what the layer reads."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        own: Tensor | None,
        chunks: _Chunks,
        learns: bool,
    ) -> Tensor:
        """Return the losses (n,); with `learns`, also keep dh (n, D) and the own logits' (n, m)."""
        losses = hidden.new_empty(len(hidden), dtype=_summed_in(weight))
        grad_hidden = torch.empty_like(hidden) if learns else None
        grad_own = None if own is None or not learns else torch.empty_like(own)
        for rows, loss, grad in chunks.of(hidden, weight, bias, own, learns):
            losses[rows] = loss
            if grad_own is not None:
                grad_own[rows] = grad[:, chunks.tokens].to(grad_own.dtype)
                grad.index_fill_(1, chunks.tokens, 0.0)
            if grad_hidden is not None:
                torch.mm(chunks.lowered(grad), weight, out=grad_hidden[rows])
        if learns:
            is_trained = weight.requires_grad or (bias is not None and bias.requires_grad)
            again = (hidden, weight, bias, own) if is_trained else (None,) * 4
            ctx.save_for_backward(grad_hidden, grad_own, *again)
            ctx.chunks = chunks
        return losses

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients; a trained layer's need the logits once more."""
        by_loss = grads[0][:, None]  # (n, 1)
        grad_hidden, grad_own, hidden, weight, bias, own = ctx.saved_tensors
        found = [
            (grad * by_loss).to(grad.dtype) if needed and grad is not None else None
            for grad, needed in zip(
                (grad_hidden, grad_own),
                (ctx.needs_input_grad[0], ctx.needs_input_grad[3]),
                strict=True,
            )
        ]
        grad_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        grad_bias = torch.zeros_like(bias) if ctx.needs_input_grad[2] else None
        if hidden is not None:
            for rows, _, grad in ctx.chunks.of(hidden, weight, bias, own, True):
                if own is not None:
                    grad.index_fill_(1, ctx.chunks.tokens, 0.0)
                grad = ctx.chunks.lowered(grad.mul_(by_loss[rows]))
                if grad_weight is not None:
                    grad_weight.addmm_(grad.mT, hidden[rows])
                if grad_bias is not None:
                    grad_bias += grad.sum(dim=0)
        return found[0], grad_weight, grad_bias, found[1], None, None


class _Chunks:
    """The loop over rows: logits into a buffer, their losses, and their gradients in its place."""

    def __init__(
        self, after: AfterHead, tokens: Tensor, labels: Tensor, soft: SoftTargets | None
    ) -> None:
        self.after, self.tokens, self._labels, self._soft = after, tokens, labels, soft
        self._low: Tensor | None = None  # the layer's own precision, if it is below float32

    def of(
        self, hidden: Tensor, weight: Tensor, bias: Tensor | None, own: Tensor | None, learns: bool
    ) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Yield the rows of a chunk, their losses (k,) and the gradient (k, V) of h Wᵀ + b.

        The gradient, only valid if `learns`, lies in the buffer until the next chunk.
        """
        V, dtype = len(weight), _summed_in(weight)
        keeps_logits = learns and self.after.cap is not None
        is_low = weight.dtype != dtype
        copies = 1 + keeps_logits + (0 if self._soft is None else 4)
        bytes_per_row = V * (copies * dtype.itemsize + is_low * weight.dtype.itemsize)
        size = min(chunk_rows(hidden.device, bytes_per_row), max(1, len(hidden)))
        buffer = hidden.new_empty(size, V, dtype=dtype)
        self._low = weight.new_empty(size, V) if is_low else None
        kept = torch.empty_like(buffer) if keeps_logits else None
        for start in range(0, len(hidden), size):
            rows = slice(start, min(start + size, len(hidden)))
            count = rows.stop - start
            z = buffer[:count]
            written = z if self._low is None else self._low[:count]
            if bias is None:
                torch.mm(hidden[rows], weight.mT, out=written)
            else:
                torch.addmm(bias, hidden[rows], weight.mT, out=written)
            if own is not None:
                written.index_copy_(1, self.tokens, own[rows].to(written.dtype))
            if self._low is not None:
                z.copy_(written)
            self.after.apply_(z)
            logits = None if kept is None else kept[:count].copy_(z)
            losses = self._losses(z, rows, learns)
            yield rows, losses, self.after.backward_(z, logits) if learns else z

    def lowered(self, grad: Tensor) -> Tensor:
        """Return a chunk's gradient in the layer's own precision."""
        return grad if self._low is None else self._low[: len(grad)].copy_(grad)

    def _losses(self, z: Tensor, rows: slice, learns: bool) -> Tensor:
        """Return the losses (k,) of logits (k, V), which become their gradients if `learns`."""
        label = self._labels[rows, None]
        if self._soft is None:
            return _cross_entropy(z, label, learns)
        T = self._soft.temperature[rows, None].to(z)
        a = self._soft.weight[rows, None].to(z)
        teacher = self._soft.logits(self._soft.states[rows]).to(z) / T
        return _distillation(z, label, teacher, T, a, learns)


def _cross_entropy(z: Tensor, label: Tensor, learns: bool) -> Tensor:
    """Return -log softmax(z)[label], (k,); z (k, V) becomes its gradient if `learns`."""
    own = z.gather(1, label)
    log_sum, total = _exponential_(z)
    if learns:
        z.div_(total).scatter_add_(1, label, z.new_full(label.shape, -1.0))
    return (log_sum - own)[:, 0]


def _distillation(
    z: Tensor, label: Tensor, teacher: Tensor, T: Tensor, a: Tensor, learns: bool
) -> Tensor:
    """Return (1 - a)·CE + a·T²·KL(teacher ‖ student), (k,); z becomes its gradient if `learns`.

    `teacher` (k, V) is already divided by T; T and a are (k, 1).
    """
    soft = z / T
    p = teacher.clone()
    log_sum_p, total_p = _exponential_(p)
    p.div_(total_p)
    mean = teacher.sub_(soft).mul_(p).sum(dim=1, keepdim=True)  # Σ p (teacher - soft)
    log_sum_soft, total_soft = _exponential_(soft)
    divergence = mean - log_sum_p + log_sum_soft
    plain = _cross_entropy(z, label, learns)[:, None]
    if learns:
        z.mul_(1 - a).add_(soft.div_(total_soft).sub_(p).mul_(a * T))
    return ((1 - a) * plain + a * T**2 * divergence)[:, 0]


def _exponential_(z: Tensor) -> tuple[Tensor, Tensor]:
    """Replace z (k, V) by e = exp(z - max z); return log Σ exp z and Σ e, each (k, 1)."""
    largest = z.amax(dim=1, keepdim=True)
    total = z.sub_(largest).exp_().sum(dim=1, keepdim=True)
    return total.log().add_(largest), total


def _summed_in(weight: Tensor) -> torch.dtype:
    return torch.promote_types(weight.dtype, torch.float32)
