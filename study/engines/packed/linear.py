"""One frozen linear layer and the LoRA adapters of K trials, in one forward and backward pass.

Rows come slot by slot.  With W (D_out, D_in) the frozen weight, and for slot k its n rows x_k, its
A_k (R, D_in), B_k (D_out, R), scale s_k and dropout mask m_k,

    y    = x Wᵀ + b                      one product over the rows of all slots
    y_k += (m_k · x_k) (s_k A_k)ᵀ B_kᵀ   batched products (k, n, D_in) -> (k, n, R) -> (k, n, D_out)

For the backward pass a layer keeps x, which layers that read the same x share, and the product
(k, n, R); masks are hashed again.  LoRA is Hu et al. 2021 (arXiv:2106.09685).  PiSSA
(arXiv:2404.02948) and OLoRA (arXiv:2406.01775), which begin in W, are computed as
W + s BA - s B₀A₀, so that all slots share W.  docs/packing.md explains the method.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own abbreviation

from study.engines.dropout import dropped, dropped_and_added, limit_of
from study.engines.packed.batch_rows import Rows, Run, index_of, on_device, runs
from study.peft_methods.adapters import weight_matrix
from study.peft_methods.layers import is_quantized


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
    """What layers must know about the adapter in one slot."""

    rank: int
    scale: float
    dropout: float
    begins_in_weight: bool

    def gain(self, is_training: bool) -> float:
        """Return the factor on A: the scale, and in training what makes up for dropout."""
        return self.scale / (1.0 - self.dropout) if is_training else self.scale


@dataclass(frozen=True)
class LoraRun:
    """A run of slots whose adapters are computed as one batch."""

    run: Run
    slots: slice | Tensor  # k of the K
    rank: int  # the largest among them
    gain: Tensor  # (k, 1, 1)
    limits: Tensor | None  # of dropout, by row (k · rows,); None if nothing is dropped
    begins_in_weight: bool  # whether any of them does

    def pair(self, pairs: MatrixPairs, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return A (k, r, D_in) and B (k, D_out, r) without the ranks that are zero everywhere."""
        A, B = pairs.A[self.slots, : self.rank], pairs.B[self.slots, :, : self.rank]
        return A.to(dtype), B.to(dtype)  # a copy only in layers that do not have the base's dtype

    def drop(self, x: Tensor, keys: Tensor | None, positions: int) -> Tensor:
        """Return x (k, n, D) without what dropout takes, unscaled; `keys` are of all rows."""
        if self.limits is None or keys is None:
            return x
        return dropped(self._by_row(x, positions), self._own(keys), self.limits).view(x.shape)

    def drop_and_add(
        self, x: Tensor, grad: Tensor, total: Tensor, keys: Tensor, positions: int
    ) -> Tensor:
        """Return x without what dropout takes; add grad without it to the total, all (k, n, D)."""
        assert self.limits is not None
        own, by_row = self._own(keys), self._by_row(x, positions)
        others = self._by_row(grad, positions), self._by_row(total, positions)
        return dropped_and_added(by_row, *others, own, self.limits).view(x.shape)

    def _by_row(self, part: Tensor, positions: int) -> Tensor:
        assert self.limits is not None
        return part.view(len(self.limits), positions, -1)

    def _own(self, keys: Tensor) -> Tensor:
        assert self.limits is not None
        return keys[self.run.start : self.run.start + len(self.limits)]


def lora_runs(
    layout: Sequence[Rows], adapters: Mapping[int, SlotAdapter], like: Tensor
) -> list[LoraRun]:
    """Return the adapted runs of a layout; layers that adapt the same slots share them.

    `like` has the dtype and the device of the adapters' gradients.
    """
    return [
        _lora_run(run, [adapters[slot] for slot in run.slots], like)
        for run in runs(layout, adapters.__contains__)
        if run.is_adapted
    ]


def _lora_run(run: Run, adapters: Sequence[SlotAdapter], like: Tensor) -> LoraRun:
    is_training = run.members[0].step is not None
    gains = [adapter.gain(is_training) for adapter in adapters]
    drops = is_training and any(adapter.dropout for adapter in adapters)
    limits = [
        limit_of(adapter.dropout)
        for adapter, rows in zip(adapters, run.members, strict=True)
        for _ in range(rows.count)
    ]
    return LoraRun(
        run=run,
        slots=index_of(run.slots, like.device),
        rank=max(adapter.rank for adapter in adapters),
        gain=on_device(gains, like).view(-1, 1, 1),
        limits=on_device(limits, like, torch.int16) if drops else None,
        begins_in_weight=any(adapter.begins_in_weight for adapter in adapters),
    )


class PackedLinear:
    """Replaces the `forward` of a linear layer, or of transformers' transposed one, `Conv1D`.

    A layer with a weight in 4 or 8 bits computes its own part itself, forward and backward.

    Args:
        linear: The layer.
        weights: A and B as they are trained.
        grads: Their gradients.
        read: What passes read: A times its gain, and B, in the base's precision.
        initial: A₀ times its scale, and B₀, that were taken out of W.
    """

    def __init__(
        self,
        linear: nn.Module,
        weights: MatrixPairs,
        grads: MatrixPairs,
        read: MatrixPairs,
        initial: MatrixPairs,
    ) -> None:
        self.linear = linear
        self._own = linear.forward if is_quantized(linear) else None  # before it is replaced
        self.weights = weights
        self.grads = grads
        self.read = read
        self.initial = initial
        self.adapters: dict[int, SlotAdapter] = {}  # by slot
        self.lora_runs: Sequence[LoraRun] = ()
        self.keys: Tensor | None = None
        self.rows = 0
        self._anchor = torch.zeros((), requires_grad=True)

    def frozen(self, x: Tensor) -> Tensor:
        """Return what the layer itself computes."""
        if self._own is not None:
            own: Tensor = self._own(x)
            return own
        bias: Any = self.linear.bias
        return F.linear(x, weight_matrix(self.linear), bias)

    def lay_out(self, lora: Sequence[LoraRun], rows: int, keys: Tensor | None) -> None:
        """Store whose rows the next passes contain, and in training their keys (rows, 2)."""
        self.lora_runs, self.rows, self.keys = lora, rows, keys

    def __call__(self, x: Tensor) -> Tensor:
        """Return the layer's output; x is (rows, T, D_in), (rows · T, D_in) or (rows, D_in).

        Generation with beams repeats every row but keeps the order of the slots.
        """
        if not self.lora_runs:
            return self.frozen(x)
        output: Tensor
        if self._own is None:
            output = _PackedLoRA.apply(x, None, self._anchor, self)  # type: ignore[no-untyped-call]
            return output
        flat = x.reshape(-1, x.shape[-1])
        output = _PackedLoRA.apply(flat, self._own(flat), self._anchor, self)  # type: ignore[no-untyped-call]
        return output.view(*x.shape[:-1], -1)


class _PackedLoRA(torch.autograd.Function):
    """The layer with its adapters; writes the gradients of A and B into `layer.grads`."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, own: Tensor | None, anchor: Tensor, layer: PackedLinear
    ) -> Tensor:
        """Return (..., D_out).  The anchor makes autograd call `backward` if x needs no grad.

        The layer's `own` output, if it is given, becomes the result, and has its own backward.
        """
        flat = x.reshape(-1, x.shape[-1])  # (rows · positions, D_in)
        positions = flat.shape[0] // layer.rows
        ctx.is_own = own is not None
        whole: Tensor
        if own is None:
            # no view, since some models change a layer's output in place
            whole = torch.ops.aten._unsafe_view(layer.frozen(flat), (*x.shape[:-1], -1))
        else:
            whole = own
            ctx.mark_dirty(own)
        y = whole.detach().view(flat.shape[0], -1)
        products: list[Tensor] = []
        for lora in layer.lora_runs:
            x_k, y_k = lora.run.of(flat, positions), lora.run.of(y, positions)
            A, B = lora.pair(layer.read, x.dtype)
            h = torch.bmm(lora.drop(x_k, layer.keys, positions), A.mT)  # (k, n, r)
            y_k.baddbmm_(h, B.mT)
            if lora.begins_in_weight:
                A0, B0 = lora.pair(layer.initial, x.dtype)
                y_k.baddbmm_(torch.bmm(x_k, A0.mT), B0.mT, alpha=-1)
            products.append(h)
        ctx.save_for_backward(x, *products)
        ctx.layer, ctx.positions = layer, positions
        ctx.lora_runs, ctx.keys = layer.lora_runs, layer.keys
        return whole

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        """Return the gradients of x and of the layer's own output; add those of A and B."""
        layer: PackedLinear = ctx.layer
        x, *products = ctx.saved_tensors
        flat = x.reshape(-1, x.shape[-1])
        grad_y = grads[0].reshape(-1, grads[0].shape[-1])  # (rows · positions, D_out)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = torch.zeros_like(flat) if ctx.is_own else grad_y @ weight_matrix(layer.linear)
        for lora, h in zip(ctx.lora_runs, products, strict=True):
            A, B = lora.pair(layer.read, x.dtype)
            g_y = lora.run.of(grad_y, ctx.positions)  # (k, n, D_out)
            g_h = torch.bmm(g_y, B)  # (k, n, r)
            read = lora.run.of(flat, ctx.positions)
            if grad_x is not None:
                g_x = lora.run.of(grad_x, ctx.positions)
                if lora.limits is None:
                    g_x.baddbmm_(g_h, A)
                else:
                    of_x = torch.bmm(g_h, A)
                    read = lora.drop_and_add(read, of_x, g_x, ctx.keys, ctx.positions)
            else:
                read = lora.drop(read, ctx.keys, ctx.positions)
            _add_at(layer.grads.A, lora, torch.bmm(g_h.mT, read), lora.gain)
            _add_at(layer.grads.B.mT, lora, torch.bmm(h.mT, g_y))
            if grad_x is None:
                continue
            if lora.begins_in_weight:
                A0, B0 = lora.pair(layer.initial, x.dtype)
                g_x.baddbmm_(torch.bmm(g_y, B0), A0, alpha=-1)
        shaped = None if grad_x is None else grad_x.view(*grads[0].shape[:-1], -1)
        return shaped, grads[0] if ctx.is_own else None, None, None


def _add_at(total: Tensor, lora: LoraRun, grad: Tensor, gain: Tensor | None = None) -> None:
    """Add grad (k, r, D), times a gain (k, 1, 1), to the run's slots and ranks of total."""
    at_run = total[lora.slots, : lora.rank]  # a view if the slots are neighbours
    if gain is None:
        at_run += grad
    else:
        at_run.addcmul_(grad, gain)
    if not isinstance(lora.slots, slice):
        total[lora.slots, : lora.rank] = at_run
