"""The optimizers by name, and how they train packed trials.

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

ADAM_BETAS, ADAM_EPSILON = (0.9, 0.999), 1e-8  # of AdamW too
MOMENTUM = 0.9  # of SGD
LION_BETAS = (0.9, 0.99)  # its authors'


@dataclass(frozen=True)
class Optimizer:
    """An optimizer: how to make it, and its update of packed trials, if it can train them."""

    make: Callable[[Groups, float, float], torch.optim.Optimizer]  # groups, rate, weight decay
    packed: str = ""  # package.module:name
    moments: int = 0  # numbers kept for each weight, which memory is counted by

    @property
    def packs(self) -> bool:
        """Whether it can train packed trials."""
        return bool(self.packed)


def _adamw(groups: Groups, rate: float, decay: float) -> torch.optim.Optimizer:
    """Decoupled weight decay: Loshchilov & Hutter 2019 (arXiv:1711.05101)."""
    import torch

    return torch.optim.AdamW(
        groups, lr=rate, betas=ADAM_BETAS, eps=ADAM_EPSILON, weight_decay=decay, fused=True
    )


def _adam(groups: Groups, rate: float, decay: float) -> torch.optim.Optimizer:
    """Kingma & Ba 2015 (arXiv:1412.6980); weight decay is added to the gradient."""
    import torch

    return torch.optim.Adam(
        groups, lr=rate, betas=ADAM_BETAS, eps=ADAM_EPSILON, weight_decay=decay, fused=True
    )


def _sgd(groups: Groups, rate: float, decay: float) -> torch.optim.Optimizer:
    """With momentum; weight decay is added to the gradient."""
    import torch

    return torch.optim.SGD(groups, lr=rate, momentum=MOMENTUM, weight_decay=decay)


def _lion(groups: Groups, rate: float, decay: float) -> torch.optim.Optimizer:
    """Chen et al. 2023 (arXiv:2302.06675)."""
    from study.engines.lion import Lion

    return Lion(groups, lr=rate, betas=LION_BETAS, weight_decay=decay)


def _adafactor(groups: Groups, rate: float, decay: float) -> torch.optim.Optimizer:
    """Shazeer & Stern 2018 (arXiv:1804.04235), as in PyTorch: one mean per row and column."""
    import torch

    return torch.optim.Adafactor(groups, lr=rate, weight_decay=decay)


OPTIMIZERS: Mapping[str, Optimizer] = {
    "adamw": Optimizer(_adamw, "study.engines.packed.updates:adamw", moments=2),
    "adam": Optimizer(_adam, "study.engines.packed.updates:adam", moments=2),
    "sgd": Optimizer(_sgd, "study.engines.packed.updates:sgd", moments=1),
    "lion": Optimizer(_lion, "study.engines.packed.updates:lion", moments=1),
    "adafactor": Optimizer(_adafactor),
}
"""An optimizer's name in a study file -> the optimizer."""

OptimizerName = Annotated[str, NameIn(OPTIMIZERS)]
