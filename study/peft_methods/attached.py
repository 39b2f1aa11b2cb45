"""Every method on a shared base: attached, trained by whoever asks, taken off without a trace."""

from __future__ import annotations

from typing import Protocol

from torch import nn

from study.bases.load import BaseModel
from study.kinds.methods import METHODS
from study.kinds.table_names import imported
from study.spec.hyperparameters import MethodSpec
from study.trials import AdapterFiles


class Attached(Protocol):
    """What a method trains on a base, from its seed alone."""

    @property
    def other_weights(self) -> list[nn.Parameter]:
        """All that is trained but LoRA's B."""

    @property
    def lora_b(self) -> list[nn.Parameter]:
        """LoRA's matrices B, which LoRA+ moves faster."""

    @property
    def weights(self) -> list[nn.Parameter]:
        """All that is trained."""

    def begin_step(self, step: int) -> None:
        """Turn dropout on, with the masks of this step."""

    def files(self) -> AdapterFiles:
        """Return what was trained, as its library writes it."""

    def detach(self) -> None:
        """Give the base back, bit for bit as it was."""


def attach(base: BaseModel, method: MethodSpec, seed: int) -> Attached:
    """Put a method on a base, ready to be trained."""
    attached: Attached = imported(METHODS[method.name].attach)(base, method, seed)
    return attached
