"""What passes read of the adapters: A times its gain, and both A and B in the base's precision.

Made once per step for all layers and slots, it saves each layer from casting and scaling.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from study.engines.packed.batch_rows import on_device
from study.engines.packed.linear import MatrixPairs
from study.engines.packed.plan import RowPlan


class ReadCopy:
    """A copy of a matrix (K, width) of weights; of the same precision, only its columns of A."""

    def __init__(self, weights: Tensor, plan: RowPlan, dtype: torch.dtype) -> None:
        self._weights = weights
        self._plan = plan
        self._casts = dtype != weights.dtype
        width = plan.width if self._casts else plan.b_start
        self._copy = weights.new_zeros(len(weights), width, dtype=dtype)
        self._made_of: tuple[int, Mapping[int, float]] | None = None

    def pairs(self, name: str) -> MatrixPairs:
        """Return what a layer reads, sharing memory."""
        of_b = self._copy if self._casts else self._weights
        return MatrixPairs(self._plan.of(self._copy, (name, "A")), self._plan.of(of_b, (name, "B")))

    def update(self, gains: Mapping[int, float]) -> None:
        """Bring the copy up to date, with factors on A by slot; slots without one are not read."""
        made_of = (self._weights._version, gains)
        if made_of == self._made_of or not gains:
            return
        self._made_of = made_of
        used, b_start = max(gains) + 1, self._plan.b_start
        gain = on_device([gains.get(slot, 0.0) for slot in range(used)], self._weights)
        A = self._weights[:used, :b_start]
        torch.mul(A, gain[:, None], out=self._copy[:used, :b_start])
        if self._casts:
            self._copy[:used, b_start:].copy_(self._weights[:used, b_start:])
