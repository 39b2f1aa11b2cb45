"""Prefix tuning on a shared base: keys and values that every decoder layer reads before its own.

PEFT stores the prefix and writes its files.  A hook passes it to the inner model, where PEFT's
wrapper would, so that losses and generation work on the base itself, whatever a task calls.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from study.bases.load import BaseModel
from study.errors import InputError, refusing
from study.peft_methods.adapters import ADAPTER, adapter_files
from study.peft_methods.configs import peft_config
from study.seeds import derive_seed
from study.spec.hyperparameters import MethodSpec
from study.spec.sections import StudySpec
from study.trials import AdapterFiles


@dataclass(frozen=True)
class Prefix:
    """A trainable prefix in front of a base's decoder; used like `Adapter`."""

    base: Any
    peft_model: Any
    other_weights: list[nn.Parameter]
    lora_b: list[nn.Parameter]  # none
    hook: RemovableHandle

    @property
    def weights(self) -> list[nn.Parameter]:
        """All trained weights: one matrix (virtual tokens, 2 · layers · D)."""
        return self.other_weights

    def begin_step(self, step: int, first: int = 0) -> None:
        """Do nothing: there is no dropout."""

    def files(self) -> AdapterFiles:
        """Return the prefix in PEFT's format."""
        from peft import get_peft_model_state_dict

        tensors = get_peft_model_state_dict(self.peft_model)
        return adapter_files(self.peft_model.peft_config[ADAPTER], tensors, {})

    def detach(self) -> None:
        """Remove the prefix."""
        self.hook.remove()
        self.base.eval().requires_grad_(False)


def check_prefix(base: BaseModel, spec: StudySpec) -> None:
    """Raise InputError if PEFT cannot put a prefix before this model's decoder."""
    kind = f"{base.model_type!r} model"
    with refusing(f"method.name: 'prefix' cannot be put on this {kind}, but lora can"):
        attached = attach_prefix(base, MethodSpec(name="prefix"), seed=0)
    attached.detach()
    config = attached.peft_model.peft_config[ADAPTER]
    width = config.token_dim // config.num_attention_heads
    own = getattr(base.model.config, "d_kv", width)
    if own != width:
        raise InputError(
            f"method.name: 'prefix' needs heads as wide as hidden size / heads = {width}, got a "
            f"{kind} with {own}; allowed: lora"
        )


def attach_prefix(base: BaseModel, method: MethodSpec, seed: int) -> Prefix:
    """Put a prefix, drawn from the seed as PEFT draws it, before an encoder-decoder's decoder."""
    from peft import get_peft_model

    config = peft_config(method, base)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peft_model = get_peft_model(base.model, config)
    weight = peft_model.prompt_encoder[ADAPTER].embedding.weight
    generator = torch.Generator().manual_seed(derive_seed(seed, "prefix"))
    weight.data = torch.randn(weight.shape, generator=generator, dtype=torch.float64).to(
        base.model.device, torch.promote_types(base.model.dtype, torch.float32)
    )
    hook = base.model.base_model.register_forward_pre_hook(
        lambda module, args, inputs: (args, _with_prefix(inputs, peft_model)), with_kwargs=True
    )
    return Prefix(base.model, peft_model, [weight], [], hook)


def _with_prefix(inputs: dict[str, Any], peft_model: Any) -> dict[str, Any]:
    """Return the model's inputs, with the prefix unless it already has a cache."""
    cache = inputs.get("past_key_values")
    if cache is not None and cache.get_seq_length():
        return inputs
    rows = len(inputs["decoder_input_ids"])
    return {**inputs, "past_key_values": peft_model.get_prompt(rows)}
