"""Full fine-tuning on a shared base: every weight is trained, and restored afterwards."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from study.bases.load import BaseModel, draw_fresh
from study.spec.hyperparameters import MethodSpec
from study.trials import AdapterFiles


@dataclass(frozen=True)
class FullWeights:
    """All weights of a base in training and a copy of the originals; used like `Adapter`."""

    model: Any
    other_weights: list[nn.Parameter]
    lora_b: list[nn.Parameter]  # none
    before: Mapping[str, Tensor]

    @property
    def weights(self) -> list[nn.Parameter]:
        """All trained weights."""
        return self.other_weights

    def begin_step(self, step: int, first: int = 0) -> None:
        """Do nothing: there is no adapter dropout."""

    def files(self) -> AdapterFiles:
        """Return the whole model as `save_pretrained` writes it."""
        with tempfile.TemporaryDirectory() as folder:
            self.model.save_pretrained(folder, max_shard_size="1TB")
            config = (Path(folder) / "config.json").read_text(encoding="utf-8")
            weights = (Path(folder) / "model.safetensors").read_bytes()
        return AdapterFiles(config, weights, "config.json", "model.safetensors")

    def detach(self) -> None:
        """Restore the weights of the base."""
        self.model.load_state_dict(self.before)
        self.model.eval().requires_grad_(False)


def attach_full(base: BaseModel, method: MethodSpec, seed: int) -> FullWeights:
    """Make every weight of the base trainable; a new head is drawn from the seed."""
    model = base.model
    before = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    draw_fresh({name: model.get_parameter(name) for name in base.fresh}, model.config, seed)
    model.requires_grad_(True)
    return FullWeights(model, list(model.parameters()), [], before)
