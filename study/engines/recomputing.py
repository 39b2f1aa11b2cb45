"""Recompute a model's blocks in the backward pass, instead of keeping what is inside them.

Only the input of every block is kept, (rows, T, D).  A training step then takes a third more time
and a fraction of the memory: Chen et al. 2016, "Training deep nets with sublinear memory cost"
(arXiv:1604.06174).  Losses and gradients are the same, since dropout masks are hashed again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

NO_CACHE = {"use_cache": False, "past_key_values": None, "past_key_value": None}
"""What a block must not fill twice."""


@contextmanager
def recomputed_blocks(model: nn.Module) -> Iterator[int]:
    """Recompute the model's blocks while this is open; yields their number, 0 if there are none."""
    blocks = blocks_of(model)
    for block in blocks:
        vars(block)["forward"] = partial(_recomputed, block.forward, block)
    try:
        yield len(blocks)
    finally:
        for block in blocks:
            del vars(block)["forward"]


def blocks_of(model: nn.Module) -> list[nn.Module]:
    """Return the blocks that transformers says can be recomputed, no block within another.

    A model with code of its own may name none: then they are the members of its outermost lists.
    """
    blocks = _outermost(model, lambda module: isinstance(module, GradientCheckpointingLayer))
    if blocks:
        return blocks
    lists = _outermost(model, lambda module: isinstance(module, nn.ModuleList))
    return [block for blocks in lists for block in blocks.children()]


def _outermost(model: nn.Module, is_wanted: Callable[[nn.Module], bool]) -> list[nn.Module]:
    found: list[nn.Module] = []
    for child in model.children():
        found += [child] if is_wanted(child) else _outermost(child, is_wanted)
    return found


def _recomputed(forward: Callable[..., Any], block: nn.Module, *args: Any, **kwargs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    kwargs |= {name: value for name, value in NO_CACHE.items() if name in kwargs}
    return checkpoint(
        partial(forward, **kwargs),
        *args,
        use_reentrant=False,
        preserve_rng_state=block.training,  # only the base's own dropout draws from PyTorch's
    )
