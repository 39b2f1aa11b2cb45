"""The logits of some tokens of a bidirectional model: its output head is computed there only.

Half of a small model's work, and most of a large one's memory, is the head over the vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

OUTPUT_HEADS: Mapping[str, tuple[str, ...]] = {
    "eurobert": ("lm_head",),
    "bert": ("cls",),
    "roberta": ("lm_head",),
    "xlm-roberta": ("lm_head",),
    "distilbert": ("vocab_transform", "activation", "vocab_layer_norm", "vocab_projector"),
    "modernbert": ("head", "decoder"),
}
"""model_type -> the modules that make logits of the last hidden states, one after the other."""


def token_logits(model: Any, inputs: Mapping[str, Tensor], chosen: Tensor) -> Tensor:
    """Return the logits (n, V) of the n tokens that are `chosen` (B, T), row by row."""
    heads = [model.get_submodule(name) for name in OUTPUT_HEADS.get(model.config.model_type, ())]
    if not heads or any(_is_adapted(head) for head in heads):
        logits: Tensor = model(**inputs).logits
        return logits[chosen]
    states: Tensor = model.base_model(**inputs).last_hidden_state[chosen]  # (n, D)
    for head in heads:
        states = head(states)
    return states


def _is_adapted(head: Any) -> bool:
    """Say whether an adapter is in it, which must see whole rows: its dropout goes by them."""
    return any(
        "forward" in vars(module) or type(module).__module__.startswith("peft.")
        for module in head.modules()
    )


@torch.no_grad()
def hides_padding(model: Any, mask: int, end: int) -> bool:
    """Say whether a model's logits are the same with padding that its mask hides as without.

    LLaDA's own code of 2025 is not such a model: of a mask that hides something it makes a causal
    one, or nothing.
    """
    ids = torch.tensor([[end, mask, end, end]], device=model.device)
    alone = model(input_ids=ids[:, :2]).logits
    seen = torch.tensor([[1, 1, 0, 0]], device=model.device)
    padded = model(input_ids=ids, attention_mask=seen).logits[:, :2]
    rounding = float(torch.finfo(alone.dtype).eps) ** 0.5 * float(alone.abs().max())
    return torch.allclose(alone, padded, rtol=0.0, atol=rounding)
