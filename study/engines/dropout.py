"""Dropout without stored masks: whether an element is kept is a hash of where it stands.

A mask depends on the trial's seed, the module, the step, the row of the trial's batch, the position
in the row and the channel, and on nothing else.  It is therefore the same on every device, in every
packing and in passes of any size, and the backward pass hashes again instead of keeping it.  Rows
are padded on the right, so that a position is a column, and padding changes no mask.

A row has a key and an odd multiplier, hashed from seed, step and row; a table that all share has a
word for every four channels of every position, hashed from its index alone:

    word  = (key xor table[position, channel // 4]) * multiplier    modulo 2**64
    word  = word xor (word >> 32)                                   with its sign
    keeps = 15 of the channel's 16 bits < limit                     four channels share 64 bits

Integers wrap alike everywhere.  On a GPU with Triton, `dropped` is one kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

LANES = 4  # channels that share a word
GOLDEN = 0x9E3779B97F4A7C15  # 2**64 over the golden ratio, whose multiples are spread evenly


def mixed(h: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return a hash of every 64-bit number: SplitMix64's, Steele et al. 2014, "Fast splittable".

    Every bit of the result depends on every bit of the number.
    """
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return h ^ (h >> np.uint64(31))


def row_keys(seeds: ArrayLike, steps: ArrayLike, rows: ArrayLike) -> Tensor:
    """Return keys and multipliers (..., 2) of rows, in int64; the three are broadcast.

    A seed is a trial's for one module, and a row is numbered within its trial's batch.
    """
    seed, step, row = (np.asarray(part, dtype=np.uint64) for part in (seeds, steps, rows))
    one, golden = np.uint64(1), np.array([GOLDEN], dtype=np.uint64)
    of_step = mixed(seed[..., None] + golden * (step[..., None] + one))
    key = mixed(of_step + golden * (row[..., None] + one))
    both = np.concatenate([key, mixed(key + golden) | one], axis=-1)
    return torch.from_numpy(both.view(np.int64))


def limit_of(probability: float) -> int:
    """Return how many of the 2**15 draws keep an element, at least one; int16 wraps 2**15."""
    count = max(round((1.0 - probability) * 2**15), 1)
    return count - 2**16 if count == 2**15 else count


def kept(keys: Tensor, limits: Tensor, T: int, D: int) -> Tensor:
    """Return masks (R, T, D) of int16, all bits set where kept.

    `keys` (R, 2) and `limits` (R,), int16, are of R rows.
    """
    words = T * -(-D // LANES)
    h = torch.bitwise_xor(keys[:, :1], _table(words, keys))
    h *= keys[:, 1:]
    h ^= h >> 32  # the sign that is shifted in is a bit that no draw has
    h &= 0x7FFF7FFF7FFF7FFF
    drawn = h.view(torch.int16).view(len(keys), T, -1)[..., :D]
    drawn -= limits[:, None, None]
    drawn >>= 15  # only the sign
    return drawn


_tables: dict[torch.device, Tensor] = {}


def _table(words: int, like: Tensor) -> Tensor:
    """Return the first words of the table that all rows share."""
    table = _tables.get(like.device)
    if table is None or len(table) < words:
        count = max(1024, 1 << (words - 1).bit_length())
        hashes = mixed(np.arange(1, count + 1, dtype=np.uint64) * np.uint64(GOLDEN))
        table = torch.from_numpy(hashes.view(np.int64)).to(like.device)
        if type(like) is Tensor:  # no tensor of a mode without data
            _tables[like.device] = table
    return table[:words]


BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # by the bytes of a number


def _dropped(xs: Sequence[Tensor], keys: Tensor, limits: Tensor) -> list[Tensor]:
    bits = BITS[xs[0].itemsize]
    mask = kept(keys, limits, xs[0].shape[1], xs[0].shape[2]).to(bits)  # with its sign
    *first, last = (x.view(bits) for x in xs)
    left = [x & mask for x in first]
    return [part.view(xs[0].dtype) for part in (*left, mask.bitwise_and_(last))]


def dropped_by_element(x: Tensor, keys: Tensor, limits: Tensor, table: Tensor) -> Tensor:
    """Compute `dropped` as a compiler likes it: every element hashes its own word.

    Uncompiled, it takes 8 bytes an element for every step of the formula.
    """
    return torch.where(_kept_by_element(x, keys, limits, table), x, 0.0)


def both_by_element(
    x: Tensor, grad: Tensor, total: Tensor, keys: Tensor, limits: Tensor, table: Tensor
) -> Tensor:
    """Compute `dropped_and_added` as a compiler likes it, with one hash for both."""
    keeps = _kept_by_element(x, keys, limits, table)
    total.add_(torch.where(keeps, grad, 0.0))
    return torch.where(keeps, x, 0.0)


def _kept_by_element(x: Tensor, keys: Tensor, limits: Tensor, table: Tensor) -> Tensor:
    R, T, D = x.shape
    channel = torch.arange(D, device=x.device)
    position = torch.arange(T, device=x.device)[:, None]
    words = table[position * -(-D // LANES) + channel // LANES]  # (T, D)
    h = (keys[:, 0].view(R, 1, 1) ^ words) * keys[:, 1].view(R, 1, 1)
    drawn = ((h ^ (h >> 32)) >> (16 * (channel % LANES))) & 0x7FFF
    return drawn < (limits.to(torch.int64).view(R, 1, 1) & 0xFFFF)


@cache
def _compiled(function: Callable[..., Tensor]) -> Callable[..., Tensor] | None:
    return torch.compile(function, dynamic=True) if find_spec("triton") else None


@torch.library.custom_op("optuna_study::dropped", mutates_args=(), device_types="cuda")
def _dropped_on_gpu(x: Tensor, keys: Tensor, limits: Tensor) -> Tensor:
    compiled = _compiled(dropped_by_element)
    if compiled is None:
        return _dropped([x], keys, limits)[0]
    return compiled(x.contiguous(), keys, limits, _table_of(x, keys))


def _table_of(x: Tensor, keys: Tensor) -> Tensor:
    """Return the table's words for x (R, T, D)."""
    return _table(x.shape[1] * -(-x.shape[2] // LANES), keys)


@_dropped_on_gpu.register_fake
def _(x: Tensor, keys: Tensor, limits: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


@torch.library.custom_op(
    "optuna_study::dropped_and_added", mutates_args=("total",), device_types="cuda"
)
def _both_on_gpu(x: Tensor, grad: Tensor, total: Tensor, keys: Tensor, limits: Tensor) -> Tensor:
    compiled = _compiled(both_by_element)
    if compiled is None:
        return _both(x, grad, total, keys, limits)
    return compiled(x.contiguous(), grad, total, keys, limits, _table_of(x, keys))


@_both_on_gpu.register_fake
def _(x: Tensor, grad: Tensor, total: Tensor, keys: Tensor, limits: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _both(x: Tensor, grad: Tensor, total: Tensor, keys: Tensor, limits: Tensor) -> Tensor:
    read, left = _dropped([x, grad], keys, limits)
    total += left
    return read


def dropped_and_added(
    x: Tensor, grad: Tensor, total: Tensor, keys: Tensor, limits: Tensor
) -> Tensor:
    """Return x without what rows drop, as `dropped`; add grad without it to the total."""
    compute = _both_on_gpu if x.device.type == "cuda" else _both
    return compute(x, grad, total, keys, limits)


def dropped(x: Tensor, keys: Tensor, limits: Tensor) -> Tensor:
    """Return x (R, T, D) with zeros where rows with keys (R, 2) and limits (R,) drop it."""
    if x.device.type == "cuda":
        read: Tensor = _dropped_on_gpu(x, keys, limits)
        return read
    return _dropped([x], keys, limits)[0]


class SeededDropout(nn.Module):
    """The dropout of one trial in one module."""

    def __init__(self, probability: float, seed: int) -> None:
        super().__init__()
        self._probability = probability
        self._seed = seed
        self.step = 0
        self.first = 0  # row of the trial's batch

    def forward(self, x: Tensor) -> Tensor:
        """Zero elements of x (B, T, D) or (B, D) and scale the rest, in training only."""
        if not self.training:
            return x
        B, D = x.shape[0], x.shape[-1]
        keys = row_keys(self._seed, self.step, np.arange(self.first, self.first + B)).to(x.device)
        limits = torch.full((B,), limit_of(self._probability), dtype=torch.int16, device=x.device)
        rows = x.reshape(B, -1, D)
        kept_rows: Tensor = _Dropped.apply(rows, keys, limits)  # type: ignore[no-untyped-call]
        return kept_rows.view(x.shape) / (1.0 - self._probability)


class _Dropped(torch.autograd.Function):
    """`dropped`, hashed again in the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, keys: Tensor, limits: Tensor) -> Tensor:
        """Return x (R, T, D) without what is dropped."""
        ctx.save_for_backward(keys, limits)
        return dropped(x, keys, limits)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        """Return the gradient of x."""
        return dropped(grads[0], *ctx.saved_tensors), None, None
