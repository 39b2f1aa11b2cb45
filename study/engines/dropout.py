"""Dropout whose masks depend only on the trial's seed, the module, the step and the row.

Rows are drawn in groups of `GROUP`, which engines never split, and position by position within a
group, so more padding only adds draws at the end.  A trial therefore drops the same elements
whether it trains alone, beside longer texts, or in passes of any number of groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

GROUP = 4  # rows
LANES = 4  # 64 random bits serve four elements, since drawing is the expensive part
_STEP, _GROUP = 0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F  # odd numbers spread seeds over 2**63


@dataclass(frozen=True)
class Draw:
    """One trial's dropout in one module and one step, from row `first`, a multiple of GROUP."""

    probability: float
    seed: int
    step: int
    first: int = 0


def kept(draws: Sequence[Draw], B: int, T: int, D: int, device: torch.device) -> Tensor:
    """Return masks (k, B, T, D) of 0 and 1 in uint8, 1 for kept, for k trials of B rows each."""
    k, groups = len(draws), -(-B // GROUP)
    lanes = T * GROUP * D
    words = torch.zeros(k * groups, lanes // LANES, dtype=torch.int64, device=device)
    generator = torch.Generator(device)
    for place, of_group in enumerate(words.unbind()):
        draw, group = draws[place // groups], place % groups
        if draw.probability:
            number = group + draw.first // GROUP
            seed = (draw.seed + draw.step * _STEP + number * _GROUP) % 2**63
            of_group.random_(-(2**63), None, generator=generator.manual_seed(seed))
    drawn = words.view(torch.int16).view(k, groups, T, GROUP, D)  # uniform in ±2**15
    # a share below 2**-17 would keep nothing, which is one below what the integers reach
    limits = [max(round((1.0 - d.probability) * 2**16), 1) - 2**15 - 1 for d in draws]
    is_kept = drawn <= drawn.new_tensor(limits).view(-1, 1, 1, 1, 1)
    by_row = is_kept.view(torch.uint8).transpose(2, 3)  # times float, uint8 is faster than bool
    return by_row.reshape(k, groups * GROUP, T, D)[:, :B]


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
        draw = Draw(self._probability, self._seed, self.step, self.first)
        mask = kept([draw], B, x.numel() // (B * D), D, x.device).view(x.shape)
        return x * mask / (1.0 - self._probability)
