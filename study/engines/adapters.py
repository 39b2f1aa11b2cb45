"""A PEFT adapter on a shared base: attached with its own seed, taken off without a trace."""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from study.base_models import BaseModel, draw_fresh
from study.errors import InputError
from study.hyperparameters import MethodSpec
from study.methods import peft_config
from study.seeds import derive_seed
from study.trials import AdapterFiles

ADAPTER = "default"  # PEFT's own name for the first adapter


class SeededDropout(nn.Module):
    """Dropout whose masks come from a generator of its own, not from PyTorch's global one."""

    def __init__(self, probability: float, seed: int) -> None:
        super().__init__()
        self._keep = 1.0 - probability
        self._seed = seed
        self._generator: torch.Generator | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Zero each element with the given probability and scale the rest, in training only."""
        if not self.training:
            return x
        if self._generator is None:
            self._generator = torch.Generator(x.device).manual_seed(self._seed)
        return x * self._drawn_mask(x)

    def _drawn_mask(self, x: Tensor) -> Tensor:
        """Return 0 or 1/keep an element; 64 random bits serve four, since drawing is what costs."""
        words = torch.empty(x.numel() // 4 + 1, dtype=torch.int64, device=x.device)
        words.random_(-(2**63), None, generator=self._generator)
        lanes = words.view(torch.int16)[: x.numel()].view(x.shape)  # uniform in ±2**15
        kept = lanes < round(self._keep * 2**16) - 2**15
        return kept.to(x.dtype) / self._keep


@dataclass(frozen=True)
class Adapter:
    """The trainable part of a base that carries a PEFT adapter."""

    peft_model: Any
    weights: list[nn.Parameter]
    dropouts: nn.ModuleList

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
    """Put a fresh LoRA adapter on the base; a classifier's head is trained in full beside it.

    A is drawn as PEFT does, uniform in ±1/sqrt(D_in), but from (seed, module name); B is zero.
    The head begins as the checkpoint's; what the checkpoint does not hold is drawn from the seed.

    Raises:
        InputError: the target modules are none of this model's.
    """
    from peft import get_peft_model

    config = peft_config(method, base.model_type, base.head, _token_rows(base))
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
    draw_fresh(_trained_copies(base), base.model.config, seed)
    weights = [p for p in base.model.parameters() if p.requires_grad]
    return Adapter(peft_model, weights, dropouts)


def _token_rows(base: BaseModel) -> dict[str, tuple[int, ...]]:
    """Return the layer whose rows of the trained tokens are trained, beginning as they are.

    That is the output head; where it shares the input embedding's weight, PEFT trains both as one.
    """
    if not base.trained_tokens:
        return {}
    tied = base.model.config.tie_word_embeddings
    layer = base.model.get_input_embeddings() if tied else base.model.get_output_embeddings()
    name = next(name for name, module in base.model.named_modules() if module is layer)
    return {name.rpartition(".")[2]: base.trained_tokens}


def _trained_copies(base: BaseModel) -> dict[str, nn.Parameter]:
    """Return the weights that stand in for the base's fresh ones, by the names of those."""
    copies = {}
    for name in base.fresh:
        parts = name.split(".")
        behind = next(i for i, part in enumerate(parts) if part in base.head) + 1
        parts[behind:behind] = ["modules_to_save", ADAPTER]
        copies[name] = base.model.get_parameter(".".join(parts))
    return copies


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
