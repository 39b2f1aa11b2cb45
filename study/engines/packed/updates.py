"""The optimizers of packed trials: one update of many slots, each with its own rate and decay.

Weights, gradients and moments are matrices (K, P), and an update is a few operations on k of their
rows.  What differs between slots is a column (k, 1), computed on the CPU: the host never waits for
the device.  The arithmetic is that of PyTorch's fused optimizers, in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from study.kinds.optimizers import ADAM_BETAS, ADAM_EPSILON, LION_BETAS, MOMENTUM, OPTIMIZERS
from study.kinds.table_names import imported

Column = NDArray[np.float64]
BLOCK_BYTES = {"cpu": 2**20, "cuda": 2**31}
"""The weights that are updated at once, with as much memory beside them.  A CPU's fit its cache."""


@dataclass(frozen=True)
class Move:
    """How far an optimizer moves one slot's weights in this step."""

    slot: int
    optimizer: str
    rate: float
    rate_of_b: float  # LoRA+'s
    decay: float
    step: int  # counted from 1


@dataclass(frozen=True)
class Matrices:
    """Columns of some slots: views (k, n) of weights, gradients and moments."""

    weights: Tensor
    grads: Tensor
    moments: Sequence[Tensor]


@dataclass(frozen=True)
class Scales:
    """What differs between the k slots, each (k,) in float64."""

    rate: Column
    decay: Column
    step: Column


def beside(weights: Tensor, *columns: Column) -> Sequence[Tensor]:
    """Return columns (k, 1) to be multiplied with weights (k, n), in one copy to their device."""
    together = torch.from_numpy(np.stack(columns)[:, :, None]).to(weights.dtype)
    return together.to(weights.device, non_blocking=True).unbind()


class SlotOptimizers:
    """The moments of K slots, made when the first trial needs them, and their updates.

    Args:
        weights: (K, P).
        grads: Their gradients.
        b_start: The first column of LoRA's matrices B, which may have a rate of their own.
    """

    def __init__(self, weights: Tensor, grads: Tensor, b_start: int) -> None:
        self._weights = weights
        self._grads = grads
        self._parts = (slice(0, b_start), slice(b_start, None))
        self.moments: list[Tensor] = []  # (K, P) each

    def begin(self, slot: int, optimizer: str) -> None:
        """Begin an optimizer in a slot: its moments are zero."""
        while len(self.moments) < OPTIMIZERS[optimizer].moments:
            self.moments.append(torch.zeros_like(self._weights))
        for moment in self.moments:
            moment[slot] = 0.0

    def blocks(self, moves: Sequence[Move]) -> Iterator[Sequence[Move]]:
        """Yield moves that are made together: of neighbours with the same optimizer."""
        per_slot = self._weights.shape[1] * self._weights.itemsize
        most = max(1, BLOCK_BYTES[self._weights.device.type] // per_slot)
        block: list[Move] = []
        for move in sorted(moves, key=lambda move: (move.optimizer, move.slot)):
            follows = block and (move.optimizer, move.slot) == (
                block[0].optimizer,
                block[-1].slot + 1,
            )
            if block and (not follows or len(block) == most):
                yield block
                block = []
            block.append(move)
        if block:
            yield block

    @torch.no_grad()
    def make(self, block: Sequence[Move]) -> None:
        """Move the weights of a block's slots by their gradients, which are used up."""
        update: Update = imported(OPTIMIZERS[block[0].optimizer].packed)
        of_slots = [(move.rate, move.rate_of_b, move.decay, float(move.step)) for move in block]
        rate, rate_of_b, decay, step = np.array(of_slots).T
        slots = slice(block[0].slot, block[-1].slot + 1)
        if (rate == rate_of_b).all():
            update(self._parts_of(slots, slice(None)), Scales(rate, decay, step))
            return
        for columns, own in zip(self._parts, (rate, rate_of_b), strict=True):
            update(self._parts_of(slots, columns), Scales(own, decay, step))

    def _parts_of(self, slots: slice, columns: slice) -> Matrices:
        matrices = (self._weights, self._grads, *self.moments)
        weights, grads, *moments = (matrix[slots, columns] for matrix in matrices)
        return Matrices(weights, grads, moments)


Update = Callable[[Matrices, Scales], None]


def adamw(of: Matrices, scales: Scales) -> None:
    """Decay the weights, then move them as Adam does; see `study.kinds.optimizers`."""
    (kept,) = beside(of.weights, 1 - scales.rate * scales.decay)
    of.weights.mul_(kept)
    _adam(of, scales)


def adam(of: Matrices, scales: Scales) -> None:
    """Add the decay to the gradients."""
    _decay_gradients(of, scales)
    _adam(of, scales)


def _decay_gradients(of: Matrices, scales: Scales) -> None:
    if scales.decay.any():
        of.grads.addcmul_(of.weights, *beside(of.weights, scales.decay))


def _adam(of: Matrices, scales: Scales) -> None:
    (mean, square), (beta_1, beta_2) = of.moments[:2], ADAM_BETAS
    mean.lerp_(of.grads, 1 - beta_1)
    square.mul_(beta_2).addcmul_(of.grads, of.grads, value=1 - beta_2)
    size, root = beside(
        of.weights,
        -scales.rate / (1 - beta_1**scales.step),
        np.sqrt(1 - beta_2**scales.step),
    )
    spread = square.sqrt().div_(root).add_(ADAM_EPSILON)
    of.weights.addcdiv_(torch.mul(mean, size, out=of.grads), spread)


def sgd(of: Matrices, scales: Scales) -> None:
    """With momentum; the decay is added to the gradients."""
    _decay_gradients(of, scales)
    momentum = of.moments[0].mul_(MOMENTUM).add_(of.grads)
    of.weights.addcmul_(momentum, *beside(of.weights, -scales.rate))


def lion(of: Matrices, scales: Scales) -> None:
    """As `study.engines.lion`."""
    momentum, (beta_1, beta_2) = of.moments[0], LION_BETAS
    kept, size = beside(of.weights, 1 - scales.rate * scales.decay, -scales.rate)
    sign = momentum.lerp(of.grads, 1 - beta_1).sign_()
    of.weights.mul_(kept).addcmul_(sign, size)
    momentum.lerp_(of.grads, 1 - beta_2)
