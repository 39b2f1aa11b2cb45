"""The optimizers by name, and whether they can train packed trials.

A packed trial's weights form one flat row.  An optimizer that updates each weight from its own
gradient gives the same result for a row as for matrices; one that uses rows and columns does not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from study.kinds.table_names import NameIn

if TYPE_CHECKING:  # reading a study file must not load torch
    import torch

Groups = list[dict[str, Any]]


@dataclass(frozen=True)
class Optimizer:
    """An optimizer: how to make it, and whether it can train packed trials."""

    make: Callable[[Groups, float, float], torch.optim.Optimizer]  # groups, rate, weight decay
    packs: bool = True


def _adamw(groups: Groups, rate: float, decay: float) -> torch.optim.Optimizer:
    """Decoupled weight decay: Loshchilov & Hutter 2019 (arXiv:1711.05101)."""
    import torch

    return torch.optim.AdamW(groups, lr=rate, weight_decay=decay, fused=True)


def _adam(groups: Groups, rate: float, decay: float) -> torch.optim.Optimizer:
    """Kingma & Ba 2015 (arXiv:1412.6980); weight decay is added to the gradient."""
    import torch

    return torch.optim.Adam(groups, lr=rate, weight_decay=decay, fused=True)


def _sgd(groups: Groups, rate: float, decay: float) -> torch.optim.Optimizer:
    """With momentum 0.9; weight decay is added to the gradient."""
    import torch

    return torch.optim.SGD(groups, lr=rate, momentum=0.9, weight_decay=decay)


def _lion(groups: Groups, rate: float, decay: float) -> torch.optim.Optimizer:
    """Chen et al. 2023 (arXiv:2302.06675)."""
    from study.engines.lion import Lion

    return Lion(groups, lr=rate, weight_decay=decay)


def _adafactor(groups: Groups, rate: float, decay: float) -> torch.optim.Optimizer:
    """Shazeer & Stern 2018 (arXiv:1804.04235), as in PyTorch: one mean per row and column."""
    import torch

    return torch.optim.Adafactor(groups, lr=rate, weight_decay=decay)


OPTIMIZERS: Mapping[str, Optimizer] = {
    "adamw": Optimizer(_adamw),
    "adam": Optimizer(_adam),
    "sgd": Optimizer(_sgd),
    "lion": Optimizer(_lion),
    "adafactor": Optimizer(_adafactor, packs=False),
}
"""An optimizer's name in a study file -> the optimizer."""

OptimizerName = Annotated[str, NameIn(OPTIMIZERS)]
