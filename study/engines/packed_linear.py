"""One frozen linear layer and the LoRA adapters of K trials, in one forward and backward pass.

Rows come slot by slot.  With W (D_out, D_in) the frozen weight, and for slot k its n rows x_k, its
A_k (R, D_in), B_k (D_out, R), scale s_k and dropout mask m_k,

    y    = x Wᵀ + b                      one product over the rows of all slots
    y_k += s_k (m_k · x_k) A_kᵀ B_kᵀ     batched products (k, n, D_in) -> (k, n, R) -> (k, n, D_out)

LoRA is Hu et al. 2021 (arXiv:2106.09685), PiSSA Meng et al. 2024 (arXiv:2404.02948), here as
W + s BA - s B₀A₀ so that all slots share W.  docs/packing.md explains the whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own abbreviation

from study.engines.dropout import Draw, kept


@dataclass(frozen=True)
class Rows:
    """Whose rows these are: `count` rows of the trial in `slot`, `first` of its batch the first.

    `step` is the trial's own, and only given in training.
    """

    slot: int
    count: int
    first: int = 0
    step: int | None = None


@dataclass(frozen=True)
class Pairs:
    """The matrices A (K, R, D_in) and B (K, D_out, R) of K slots.

    An adapter of a smaller rank is filled up with zeros, in A and in B.  They stay zero, since the
    gradient of each is a product with the other.
    """

    A: Tensor
    B: Tensor


@dataclass(frozen=True)
class SlotAdapter:
    """What a layer must know of the adapter in one slot."""

    rank: int
    scale: float
    dropout: float
    dropout_seed: int
    is_pissa: bool


@dataclass(frozen=True)
class Run:
    """Consecutive slots with equally many rows: one batch of k."""

    start: int  # first row
    stop: int
    slots: slice | Tensor  # k of the K
    adapters: tuple[SlotAdapter, ...]
    draws: tuple[Draw, ...]  # of dropout; none where nothing is dropped
    rank: int  # the largest among them
    scale: Tensor  # (k, 1, 1); in training with 1 / (1 - dropout)
    pissa_scale: Tensor | None  # (k, 1, 1), zero where the slot has no B₀A₀

    def of(self, flat: Tensor, positions: int) -> Tensor:
        """Return the run's part (k, n, D) of all rows (rows · positions, D)."""
        part = flat[self.start * positions : self.stop * positions]
        return part.view(len(self.adapters), -1, flat.shape[-1])

    def pair(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """Return A (k, r, D_in) and B (k, D_out, r) without the rows that are zero in all."""
        return pairs.A[self.slots, : self.rank], pairs.B[self.slots, :, : self.rank]


class PackedLinear:
    """Takes the place of a linear layer's `forward`."""

    def __init__(self, linear: nn.Linear, weights: Pairs, grads: Pairs, initial: Pairs) -> None:
        self.linear = linear
        self.weights = weights
        self.grads = grads
        self.initial = initial  # PiSSA's A₀ and B₀
        self.adapters: dict[int, SlotAdapter] = {}  # by slot
        self.runs: list[Run] = []
        self.rows = 0
        self._anchor = torch.zeros((), requires_grad=True)

    def lay_out(self, layout: Sequence[Rows]) -> None:
        """Take over whose rows the coming passes hold."""
        self.runs = list(self._runs(layout))
        self.rows = sum(rows.count for rows in layout)

    def _runs(self, layout: Sequence[Rows]) -> Iterator[Run]:
        start = 0
        for (has_adapter, count), group in groupby(
            layout, lambda rows: (rows.slot in self.adapters, rows.count)
        ):
            members = list(group)
            if has_adapter:
                yield self._run(start, members)
            start += count * len(members)

    def _run(self, start: int, members: Sequence[Rows]) -> Run:
        slots = [rows.slot for rows in members]
        adapters = tuple(self.adapters[slot] for slot in slots)
        draws = tuple(
            Draw(
                adapter.dropout if rows.step is not None else 0.0,
                adapter.dropout_seed,
                rows.step or 0,
                rows.first,
            )
            for adapter, rows in zip(adapters, members, strict=True)
        )
        like = self.weights.A
        gains = [a.scale / (1.0 - d.probability) for a, d in zip(adapters, draws, strict=True)]
        pissa = [a.scale * a.is_pissa for a in adapters]
        return Run(
            start=start,
            stop=start + sum(rows.count for rows in members),
            slots=_consecutive(slots) or torch.tensor(slots, device=like.device),
            adapters=adapters,
            draws=draws if any(draw.probability for draw in draws) else (),
            rank=max(a.rank for a in adapters),
            scale=like.new_tensor(gains).view(-1, 1, 1),
            pissa_scale=like.new_tensor(pissa).view(-1, 1, 1) if any(pissa) else None,
        )

    def __call__(self, x: Tensor) -> Tensor:
        """Return the layer's output; x is (rows, T, D_in), (rows · T, D_in) or (rows, D_in).

        Generation with beams repeats every row; the slots' order stays.
        """
        if not self.runs:
            return F.linear(x, self.linear.weight, self.linear.bias)
        output: Tensor = _PackedLoRA.apply(x, self._anchor, self)  # type: ignore[no-untyped-call]
        return output

    def mask(self, run: Run, x_k: Tensor, positions: int) -> Tensor | None:
        """Return what dropout keeps of x_k (k, n, D_in), as 0 and 1; None keeps all."""
        if not run.draws:
            return None
        B, D = x_k.shape[1] // positions, x_k.shape[2]
        return kept(run.draws, B, positions, D, x_k.device).reshape(x_k.shape)


def _draw(adapter: SlotAdapter, rows: Rows) -> Draw:
    if rows.step is None:
        return Draw(0.0, 0, 0)
    return Draw(adapter.dropout, adapter.dropout_seed, rows.step, rows.first)


def _consecutive(slots: list[int]) -> slice | None:
    """Return the slots as a slice, which selects without a copy, where they are one."""
    span = slice(slots[0], slots[0] + len(slots))
    return span if slots == list(range(span.start, span.stop)) else None


class _PackedLoRA(torch.autograd.Function):
    """The layer with its adapters; writes the gradients of A and B straight into `layer.grads`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, anchor: Tensor, layer: PackedLinear) -> Tensor:
        """Return (..., D_out).  The anchor has autograd call `backward` where x needs no grad."""
        flat = x.reshape(-1, x.shape[-1])  # (rows · positions, D_in)
        positions = flat.shape[0] // layer.rows
        y = F.linear(flat, layer.linear.weight, layer.linear.bias)
        saved: list[Tensor | None] = []
        for run in layer.runs:
            x_k, y_k = run.of(flat, positions), run.of(y, positions)
            A, B = run.pair(layer.weights)
            mask = layer.mask(run, x_k, positions)
            read = x_k.to(A.dtype) if mask is None else x_k * mask
            h = torch.bmm(read, A.mT).mul_(run.scale)  # (k, n, r)
            _add_product(y_k, h, B.mT)
            if run.pissa_scale is not None:
                A0, B0 = run.pair(layer.initial)
                _add_product(y_k, torch.bmm(x_k.to(A.dtype), A0.mT) * -run.pissa_scale, B0.mT)
            saved += [read, h, mask]
        ctx.save_for_backward(*saved)
        ctx.layer, ctx.runs, ctx.positions = layer, layer.runs, positions
        return y.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, None]:
        """Return the gradient of x; add those of A and B to the layer's."""
        layer: PackedLinear = ctx.layer
        grad_y = grads[0].reshape(-1, grads[0].shape[-1])  # (rows · positions, D_out)
        grad_x = grad_y @ layer.linear.weight if ctx.needs_input_grad[0] else None
        for number, run in enumerate(ctx.runs):
            read, h, mask = ctx.saved_tensors[3 * number : 3 * number + 3]
            A, B = run.pair(layer.weights)
            g_y = run.of(grad_y, ctx.positions).to(A.dtype)  # (k, n, D_out)
            g_h = torch.bmm(g_y, B).mul_(run.scale)  # (k, n, r)
            _add_at(layer.grads.A, run, torch.bmm(g_h.mT, read))
            _add_at(layer.grads.B.mT, run, torch.bmm(h.mT, g_y))
            if grad_x is None:
                continue
            g_x = run.of(grad_x, ctx.positions)
            if mask is None:
                _add_product(g_x, g_h, A)
            else:
                g_x += torch.bmm(g_h, A).mul_(mask)
            if run.pissa_scale is not None:
                A0, B0 = run.pair(layer.initial)
                _add_product(g_x, torch.bmm(g_y, B0) * -run.pissa_scale, A0)
        return (grad_x if grad_x is None else grad_x.view(*grads[0].shape[:-1], -1)), None, None


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add left @ right, (k, n, r) @ (k, r, D); the base's precision may be lower than theirs."""
    if total.dtype == left.dtype:
        total.baddbmm_(left, right)
    else:
        total += torch.bmm(left, right)


def _add_at(total: Tensor, run: Run, grad: Tensor) -> None:
    """Add grad (k, r, D) to the run's slots and ranks of total (K, R, D)."""
    if isinstance(run.slots, slice):
        total[run.slots, : run.rank].add_(grad)
    else:
        total[run.slots, : run.rank] += grad
