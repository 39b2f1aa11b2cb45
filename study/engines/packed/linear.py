"""One frozen linear layer and the LoRA adapters of K trials, in one forward and backward pass.

Rows come slot by slot.  With W (D_out, D_in) the frozen weight, and for slot k its n rows x_k, its
A_k (R, D_in), B_k (D_out, R), scale s_k and dropout mask m_k,

    y    = x Wᵀ + b                      one product over the rows of all slots
    y_k += s_k (m_k · x_k) A_kᵀ B_kᵀ     batched products (k, n, D_in) -> (k, n, R) -> (k, n, D_out)

LoRA is Hu et al. 2021 (arXiv:2106.09685).  PiSSA (arXiv:2404.02948) and OLoRA (arXiv:2406.01775),
which begin in W, are computed as W + s BA - s B₀A₀, so that all slots share W.  docs/packing.md
explains the method.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own abbreviation

from study.engines.dropout import Draw, kept
from study.engines.packed.batch_rows import Rows, Run, index_of, runs
from study.peft_methods.adapters import weight_matrix


@dataclass(frozen=True)
class MatrixPairs:
    """The matrices A (K, R, D_in) and B (K, D_out, R) of K slots.

    An adapter of a smaller rank is padded with zeros in A and B.  They stay zero, since the
    gradient of each is a product with the other.
    """

    A: Tensor
    B: Tensor


@dataclass(frozen=True)
class SlotAdapter:
    """What a layer must know about the adapter in one slot."""

    rank: int
    scale: float
    dropout: float
    dropout_seed: int
    begins_in_weight: bool


@dataclass(frozen=True)
class LoraRun:
    """A run of slots whose adapters are computed as one batch."""

    run: Run
    slots: slice | Tensor  # k of the K
    rank: int  # the largest among them
    scale: Tensor  # (k, 1, 1); in training with 1 / (1 - dropout)
    draws: tuple[Draw, ...]  # of dropout; empty if nothing is dropped
    initial_scale: Tensor | None  # (k, 1, 1), zero if the slot has no B₀A₀

    def pair(self, pairs: MatrixPairs) -> tuple[Tensor, Tensor]:
        """Return A (k, r, D_in) and B (k, D_out, r) without the ranks that are zero everywhere."""
        return pairs.A[self.slots, : self.rank], pairs.B[self.slots, :, : self.rank]

    def mask(self, x_k: Tensor, positions: int) -> Tensor | None:
        """Return the dropout mask of x_k (k, n, D_in), 1 for kept; None keeps all."""
        if not self.draws:
            return None
        k, n, D = x_k.shape
        return kept(self.draws, n // positions, positions, D, x_k.device).reshape(k, n, D)


class PackedLinear:
    """Replaces the `forward` of a linear layer, or of transformers' transposed one, `Conv1D`."""

    def __init__(
        self, linear: nn.Module, weights: MatrixPairs, grads: MatrixPairs, initial: MatrixPairs
    ) -> None:
        self.linear = linear
        self.weights = weights
        self.grads = grads
        self.initial = initial  # A₀ and B₀ that were taken out of W
        self.adapters: dict[int, SlotAdapter] = {}  # by slot
        self.lora_runs: list[LoraRun] = []
        self.rows = 0
        self._anchor = torch.zeros((), requires_grad=True)

    def frozen(self, x: Tensor) -> Tensor:
        """Return what the layer itself computes."""
        bias: Any = self.linear.bias
        return F.linear(x, weight_matrix(self.linear), bias)

    def lay_out(self, layout: Sequence[Rows]) -> None:
        """Store whose rows the next passes contain."""
        all_runs = runs(layout, self.adapters.__contains__)
        self.lora_runs = [self._lora_run(run) for run in all_runs if run.is_adapted]
        self.rows = sum(rows.count for rows in layout)

    def _lora_run(self, run: Run) -> LoraRun:
        adapters = [self.adapters[slot] for slot in run.slots]
        draws = tuple(map(_draw, adapters, run.members))
        gains = [a.scale / (1.0 - d.probability) for a, d in zip(adapters, draws, strict=True)]
        initial = [a.scale * a.begins_in_weight for a in adapters]
        like = self.weights.A
        return LoraRun(
            run=run,
            slots=index_of(run.slots, like.device),
            rank=max(a.rank for a in adapters),
            scale=like.new_tensor(gains).view(-1, 1, 1),
            draws=draws if any(draw.probability for draw in draws) else (),
            initial_scale=like.new_tensor(initial).view(-1, 1, 1) if any(initial) else None,
        )

    def __call__(self, x: Tensor) -> Tensor:
        """Return the layer's output; x is (rows, T, D_in), (rows · T, D_in) or (rows, D_in).

        Generation with beams repeats every row but keeps the order of the slots.
        """
        if not self.lora_runs:
            return self.frozen(x)
        output: Tensor = _PackedLoRA.apply(x, self._anchor, self)  # type: ignore[no-untyped-call]
        return output


def _draw(adapter: SlotAdapter, rows: Rows) -> Draw:
    if rows.step is None:
        return Draw(0.0, 0, 0)
    return Draw(adapter.dropout, adapter.dropout_seed, rows.step, rows.first)


class _PackedLoRA(torch.autograd.Function):
    """The layer with its adapters; writes the gradients of A and B into `layer.grads`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, anchor: Tensor, layer: PackedLinear) -> Tensor:
        """Return (..., D_out).  The anchor makes autograd call `backward` if x needs no grad."""
        flat = x.reshape(-1, x.shape[-1])  # (rows · positions, D_in)
        positions = flat.shape[0] // layer.rows
        whole: Tensor = layer.frozen(flat)
        # no view, since some models change a layer's output in place
        whole = torch.ops.aten._unsafe_view(whole, (*x.shape[:-1], -1))
        y = whole.detach().view(flat.shape[0], -1)
        saved: list[Tensor | None] = []
        for lora in layer.lora_runs:
            x_k, y_k = lora.run.of(flat, positions), lora.run.of(y, positions)
            A, B = lora.pair(layer.weights)
            mask = lora.mask(x_k, positions)
            read = x_k.to(A.dtype) if mask is None else x_k.to(A.dtype) * mask
            h = torch.bmm(read, A.mT).mul_(lora.scale)  # (k, n, r)
            _add_product(y_k, h, B.mT)
            if lora.initial_scale is not None:
                A0, B0 = lora.pair(layer.initial)
                _add_product(y_k, torch.bmm(x_k.to(A.dtype), A0.mT) * -lora.initial_scale, B0.mT)
            saved += [read, h, mask]
        ctx.save_for_backward(*saved)
        ctx.layer, ctx.lora_runs, ctx.positions = layer, layer.lora_runs, positions
        return whole

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, None]:
        """Return the gradient of x; add those of A and B to the layer's."""
        layer: PackedLinear = ctx.layer
        grad_y = grads[0].reshape(-1, grads[0].shape[-1])  # (rows · positions, D_out)
        grad_x = grad_y @ weight_matrix(layer.linear) if ctx.needs_input_grad[0] else None
        for number, lora in enumerate(ctx.lora_runs):
            read, h, mask = ctx.saved_tensors[3 * number : 3 * number + 3]
            A, B = lora.pair(layer.weights)
            g_y = lora.run.of(grad_y, ctx.positions).to(A.dtype)  # (k, n, D_out)
            g_h = torch.bmm(g_y, B).mul_(lora.scale)  # (k, n, r)
            _add_at(layer.grads.A, lora, torch.bmm(g_h.mT, read))
            _add_at(layer.grads.B.mT, lora, torch.bmm(h.mT, g_y))
            if grad_x is None:
                continue
            g_x = lora.run.of(grad_x, ctx.positions)
            if mask is None:
                _add_product(g_x, g_h, A)
            else:
                g_x += torch.bmm(g_h, A).mul_(mask)
            if lora.initial_scale is not None:
                A0, B0 = lora.pair(layer.initial)
                _add_product(g_x, torch.bmm(g_y, B0) * -lora.initial_scale, A0)
        return (grad_x if grad_x is None else grad_x.view(*grads[0].shape[:-1], -1)), None, None


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add left @ right, (k, n, r) @ (k, r, D); the base's precision may be lower than theirs."""
    if total.dtype == left.dtype:
        total.baddbmm_(left, right)
    else:
        total += torch.bmm(left, right)


def _add_at(total: Tensor, lora: LoraRun, grad: Tensor) -> None:
    """Add grad (k, r, D) to the run's slots and ranks of total (K, R, D)."""
    if isinstance(lora.slots, slice):
        total[lora.slots, : lora.rank].add_(grad)
    else:
        total[lora.slots, : lora.rank] += grad
