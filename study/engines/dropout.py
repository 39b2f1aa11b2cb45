"""Dropout whose masks depend on the trial's seed, the module and the step, and on nothing else.

A mask is drawn position by position (T first), so that padding a batch further adds draws at the
end and changes none: a trial drops the same elements alone and beside neighbours of longer texts.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

LANES = 4  # 64 random bits serve four elements, since drawing is what costs
_STEP = 0x9E3779B97F4A7C15  # odd, so that no two of 2**64 steps share a seed


def draw_lanes(words: Tensor, seed: int, step: int) -> None:
    """Fill int64 `words` (n,) with the random bits of one module in one step."""
    generator = torch.Generator(words.device).manual_seed((seed + step * _STEP) % 2**63)
    words.random_(-(2**63), None, generator=generator)


def words_for(elements: int) -> int:
    """Return how many int64 words hold a lane for each element."""
    return -(-elements // LANES)


def threshold(probability: float) -> int:
    """Return the int16 up to which a lane is kept; lanes are uniform in ±2**15."""
    return round((1.0 - probability) * 2**16) - 2**15 - 1


class SeededDropout(nn.Module):
    """The dropout of one trial in one module."""

    def __init__(self, probability: float, seed: int) -> None:
        super().__init__()
        self._probability = probability
        self._seed = seed
        self._step = 0

    def forward(self, x: Tensor) -> Tensor:
        """Zero elements of x (B, ..., D) and scale the rest, in training only; once a step."""
        if not self.training:
            return x
        kept = self._kept(x.numel() // x.shape[0] // x.shape[-1], x.shape[0], x.shape[-1], x.device)
        self._step += 1
        return x * kept.transpose(0, 1).reshape(x.shape) / (1.0 - self._probability)

    def _kept(self, T: int, B: int, D: int, device: torch.device) -> Tensor:
        words = torch.empty(words_for(T * B * D), dtype=torch.int64, device=device)
        draw_lanes(words, self._seed, self._step)
        lanes = words.view(torch.int16)[: T * B * D].view(T, B, D)
        return lanes <= threshold(self._probability)
