"""Attach a method to a shared base, to be trained and then removed without a trace."""

from __future__ import annotations

from typing import Protocol

from torch import nn

from study.bases.load import BaseModel
from study.kinds.methods import METHODS
from study.kinds.table_names import imported
from study.spec.hyperparameters import MethodSpec
from study.trials import AdapterFiles


class Attached(Protocol):
    """What a method trains on a base; depends only on the base, the method and the seed."""

    @property
    def other_weights(self) -> list[nn.Parameter]:
        """All trained weights but LoRA's B."""

    @property
    def lora_b(self) -> list[nn.Parameter]:
        """LoRA's matrices B, for which LoRA+ has a higher rate."""

    @property
    def weights(self) -> list[nn.Parameter]:
        """All trained weights."""

    def begin_step(self, step: int, first: int = 0) -> None:
        """Turn dropout on, with the masks of this step and of the batch's rows from `first` on."""

    def files(self) -> AdapterFiles:
        """Return what was trained, in its library's format."""

    def detach(self) -> None:
        """Restore the base bit for bit."""


def attach(base: BaseModel, method: MethodSpec, seed: int) -> Attached:
    """Put a method on a base, ready to be trained."""
    attached: Attached = imported(METHODS[method.name].attach)(base, method, seed)
    return attached
