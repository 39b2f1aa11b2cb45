"""Logits only where they are needed: the output head is computed at chosen tokens.

The head over the vocabulary is half of a small model's work and most of a large one's memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

OUTPUT_HEADS: Mapping[str, tuple[str, ...]] = {
    "m2m_100": ("lm_head",),
    "llama": ("lm_head",),
    "mistral": ("lm_head",),
    "qwen2": ("lm_head",),
    "eurobert": ("lm_head",),
    "bert": ("cls",),
    "roberta": ("lm_head",),
    "xlm-roberta": ("lm_head",),
    "distilbert": ("vocab_transform", "activation", "vocab_layer_norm", "vocab_projector"),
    "modernbert": ("head", "decoder"),
}
"""model_type -> the modules that compute logits from the last hidden states, in order."""


def output_head(model: Any) -> list[Any]:
    """Return the modules of a model's head in order; none for an unknown architecture."""
    return [model.get_submodule(name) for name in OUTPUT_HEADS.get(model.config.model_type, ())]


def token_states(model: Any, inputs: Mapping[str, Any], chosen: Tensor) -> Tensor:
    """Return the last hidden states of the chosen tokens.

    `chosen` is a mask (B, T), which gives (n, D) row by row, or columns (B, A): (B, A, D).
    """
    return _at(model.base_model(**inputs).last_hidden_state, chosen)


def token_logits(
    model: Any, inputs: Mapping[str, Any], chosen: Tensor, head: Sequence[Any] | None = None
) -> Tensor:
    """Return the logits of the chosen tokens, (n, V) or (B, A, V); `chosen` as in `token_states`.

    `head` are the modules to compute them with, if the caller knows that they suffice.  Otherwise
    an unknown or adapted head sees whole rows, on which an adapter's dropout depends.
    """
    if head is None:
        head = output_head(model)
        if not head or any(_is_adapted(module) for module in head):
            return _at(model(**inputs).logits, chosen)
    states = token_states(model, inputs, chosen)
    for module in head:
        states = module(states)
    return states


def _at(values: Tensor, chosen: Tensor) -> Tensor:
    """Return the values (B, T, D) at a mask (B, T) or at columns (B, A)."""
    if chosen.dtype == torch.bool:
        return values[chosen]
    return values.gather(1, chosen[:, :, None].expand(-1, -1, values.shape[2]))


def _is_adapted(head: Any) -> bool:
    """Return whether the module contains an adapter."""
    return any(
        "forward" in vars(module) or type(module).__module__.startswith("peft.")
        for module in head.modules()
    )


@torch.no_grad()
def hides_padding(model: Any, mask: int, end: int) -> bool:
    """Return whether padding that the mask hides leaves a model's logits unchanged.

    It does not in LLaDA's own code of 2025, which turns a mask that hides something into a causal
    one, or ignores it.  A skeleton has no logits to change.
    """
    if model.device.type == "meta":
        return True
    ids = torch.tensor([[end, mask, end, end]], device=model.device)
    unpadded = model(input_ids=ids[:, :2]).logits
    seen = torch.tensor([[1, 1, 0, 0]], device=model.device)
    padded = model(input_ids=ids, attention_mask=seen).logits[:, :2]
    rounding = float(torch.finfo(unpadded.dtype).eps) ** 0.5 * float(unpadded.abs().max())
    return torch.allclose(unpadded, padded, rtol=0.0, atol=rounding)
