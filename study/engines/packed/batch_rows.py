"""The layout of a packed batch: rows slot by slot, in runs that are computed together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rows:
    """Rows of the trial in `slot`: `count` of them, starting at row `first` of its batch.

    `step` is the trial's step; None outside training.
    """

    slot: int
    count: int
    first: int = 0
    step: int | None = None


@dataclass(frozen=True)
class Run:
    """k consecutive slots with equally many rows, computed as one batch."""

    start: int  # first row
    members: tuple[Rows, ...]
    is_adapted: bool

    @property
    def slots(self) -> list[int]:
        """The k slots."""
        return [rows.slot for rows in self.members]

    def of(self, flat: Tensor, positions: int) -> Tensor:
        """Return the run's part (k, n, D) of all rows (rows · positions, D)."""
        stop = self.start + sum(rows.count for rows in self.members)
        part = flat[self.start * positions : stop * positions]
        return part.view(len(self.members), -1, flat.shape[-1])


def runs(layout: Sequence[Rows], is_adapted: Callable[[int], bool]) -> list[Run]:
    """Return the runs of a layout; a layer adapts all slots of a run or none."""
    in_order, start = [], 0
    for (adapted, count), group in groupby(
        layout, lambda rows: (is_adapted(rows.slot), rows.count)
    ):
        members = tuple(group)
        in_order.append(Run(start, members, adapted))
        start += count * len(members)
    return in_order


def index_of(slots: Sequence[int], device: torch.device) -> slice | Tensor:
    """Return an index of the slots in a tensor (K, ...): a slice if they are neighbours."""
    span = slice(slots[0], slots[0] + len(slots))
    if list(slots) == list(range(span.start, span.stop)):
        return span
    return torch.tensor(slots).to(device, non_blocking=True)


def on_device(values: Sequence[float], like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Return values as a tensor beside another, without waiting for the device."""
    return torch.tensor(values, dtype=dtype or like.dtype).to(like.device, non_blocking=True)
