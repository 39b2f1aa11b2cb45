"""A PEFT adapter on a shared base: attached with its own seed, taken off without a trace."""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from study.base_models import BaseModel
from study.engines.dropout import SeededDropout
from study.errors import InputError
from study.hyperparameters import MethodSpec
from study.methods import peft_config
from study.seeds import derive_seed
from study.trials import AdapterFiles

ADAPTER = "default"  # PEFT's own name for the first adapter


@dataclass(frozen=True)
class Adapter:
    """The trainable part of a base that carries a PEFT adapter."""

    peft_model: Any
    other_weights: list[nn.Parameter]  # A, and what is trained beside LoRA
    lora_b: list[nn.Parameter]
    dropouts: nn.ModuleList

    @property
    def weights(self) -> list[nn.Parameter]:
        """All that is trained."""
        return [*self.other_weights, *self.lora_b]

    def files(self) -> AdapterFiles:
        """Return the adapter in PEFT's own format."""
        from peft import get_peft_model_state_dict
        from safetensors.torch import save

        tensors = get_peft_model_state_dict(self.peft_model)
        config = self.peft_model.peft_config[ADAPTER].to_dict()
        config |= {"inference_mode": True, "target_modules": sorted(config["target_modules"])}
        return AdapterFiles(
            config=json.dumps(config, indent=2, sort_keys=True, default=_plain),
            weights=save({name: t.contiguous() for name, t in tensors.items()}, {"format": "pt"}),
        )

    def detach(self) -> None:
        """Give the base its own layers and a clean configuration back."""
        base = self.peft_model.unload()
        if hasattr(base, "peft_config"):
            del base.peft_config
        base.eval().requires_grad_(False)


def attach_adapter(base: BaseModel, method: MethodSpec, seed: int) -> Adapter:
    """Put a fresh LoRA adapter on the base.

    A is drawn as PEFT does, uniform in ±1/sqrt(D_in), but from (seed, module name); B is zero.

    Raises:
        InputError: the target modules are none of this model's.
    """
    from peft import get_peft_model

    config = peft_config(method, base.model_type)
    config.base_model_name_or_path = base.name
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            peft_model = get_peft_model(base.model, config)
    except ValueError as error:
        message = " ".join(str(error).split())[:200]
        raise InputError(
            f"method.target_modules: got {method.target_modules!r}: {message}"
        ) from error
    dropouts = nn.ModuleList()
    for name, layer in base.model.named_modules():
        if hasattr(layer, "lora_A"):
            _seed_layer(layer, name, seed)
            if method.dropout:
                layer.lora_dropout[ADAPTER] = SeededDropout(
                    method.dropout, derive_seed(seed, "dropout", name)
                )
                dropouts.append(layer.lora_dropout[ADAPTER])
    trained = {name: p for name, p in base.model.named_parameters() if p.requires_grad}
    lora_b = [p for name, p in trained.items() if ".lora_B." in name]
    others = [p for name, p in trained.items() if ".lora_B." not in name]
    return Adapter(peft_model, others, lora_b, dropouts)


def _seed_layer(layer: Any, name: str, seed: int) -> None:
    a = layer.lora_A[ADAPTER].weight  # (R, D_in)
    generator = torch.Generator().manual_seed(derive_seed(seed, "A", name))
    drawn = torch.empty(a.shape, dtype=torch.float64)
    nn.init.kaiming_uniform_(drawn, a=math.sqrt(5), generator=generator)
    with torch.no_grad():
        a.copy_(drawn)


def _plain(value: Any) -> Any:
    """Turn PEFT's sets and enums into JSON."""
    return (
        sorted(value)
        if isinstance(value, (set, frozenset))
        else getattr(value, "value", str(value))
    )
