"""Recompute a model's blocks in the backward pass, instead of keeping what is inside them.

Only the input of every block is kept, (rows, T, D).  A training step then takes a third more time
and a fraction of the memory: Chen et al. 2016, "Training deep nets with sublinear memory cost"
(arXiv:1604.06174).  Losses and gradients are the same, since dropout masks are hashed again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointError, checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from study.engines.memory import is_out_of_memory

NO_CACHE = {"use_cache": False, "past_key_values": None, "past_key_value": None}
"""What a block must not fill twice."""
SAME = 1e-2  # relative: a block that computes something else is much further off


@contextmanager
def recomputed_blocks(model: nn.Module, wanted: bool = True) -> Iterator[int]:
    """Recompute the model's blocks while this is open, if `wanted`; yields their number."""
    blocks = blocks_of(model) if wanted else []
    before = [vars(block).get("forward") for block in blocks]
    for block in blocks:
        vars(block)["forward"] = partial(_recomputed, block.forward, block)
    try:
        yield len(blocks)
    finally:
        for block, own in zip(blocks, before, strict=True):
            del vars(block)["forward"]
            if own is not None:
                vars(block)["forward"] = own


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
    if not torch.is_grad_enabled() or _reads_cache(kwargs):
        return forward(*args, **kwargs)
    kwargs |= {name: value for name, value in NO_CACHE.items() if name in kwargs}
    return checkpoint(
        partial(forward, **kwargs),
        *args,
        use_reentrant=False,
        preserve_rng_state=block.training,  # only the base's own dropout draws from PyTorch's
    )


def _reads_cache(kwargs: Mapping[str, Any]) -> bool:
    """Say whether a block is given keys and values to read, as by prefix tuning."""
    caches = (kwargs.get(name) for name in NO_CACHE)
    return any(getattr(cache, "get_seq_length", int)() for cache in caches)


def can_recompute(model: nn.Module, loss: Callable[[], Tensor]) -> bool:
    """Say whether the model has blocks, and a loss the same gradients when they are recomputed.

    A block that changes something outside of itself would compute something else the second time.
    The gradients compared are those of what the blocks read.
    """
    if not blocks_of(model):
        return False
    try:
        plain, again = (_gradients(model, loss, wanted) for wanted in (False, True))
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error) or isinstance(error, CheckpointError):
            return False
        raise
    is_known = 0 < plain.numel() == again.numel()
    return bool(is_known and (again - plain).norm() <= SAME * plain.norm())


def _gradients(model: nn.Module, loss: Callable[[], Tensor], recomputes: bool) -> Tensor:
    grads: list[Tensor] = []

    def keep(grad: Tensor) -> None:
        grads.append(grad.detach().float().cpu().flatten())

    def watch(block: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        x, *others = given or (None,)
        if not isinstance(x, Tensor):
            return given
        x = x if x.requires_grad else x.detach().requires_grad_()
        x.register_hook(keep)  # type: ignore[no-untyped-call]
        return (x, *others)

    with ExitStack() as stack:
        for block in blocks_of(model):
            stack.callback(block.register_forward_pre_hook(watch).remove)
        stack.enter_context(torch.random.fork_rng())
        stack.enter_context(recomputed_blocks(model, recomputes))
        torch.manual_seed(0)  # of the base's own dropout
        torch.autograd.backward(loss())
    return torch.cat([torch.empty(0), *grads])
