"""A training in progress as bytes: weights, moments, step, place in the data and random state.

The bytes are a safetensors file whose notes hold the plain values, so reading them runs no code.
An engine takes up what an engine of its kind gave, whatever its slots and neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from study.engines.trial_state import Training
from study.store.safetensors_notes import notes_of, with_notes

PLAIN = "training"
WEIGHT, OWN = "weight.", "training."
UNUSABLE = (ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError)
"""What reading a damaged or foreign state raises, beside safetensors' own error."""


def to_bytes(training: Training, weights: Mapping[str, Tensor]) -> bytes:
    """Return a training, and the weights by name that it changes.

    In a packed engine, moments are among these weights.
    """
    from safetensors.torch import save

    plain, own = training.state()
    named = {WEIGHT + name: tensor.detach() for name, tensor in weights.items()}
    named |= {OWN + name: tensor for name, tensor in own.items()}
    whole = {name: tensor.cpu().clone().contiguous() for name, tensor in named.items()}
    return with_notes(save(whole), {PLAIN: plain})


@torch.no_grad()
def take_up(training: Training, weights: Mapping[str, Tensor], state: bytes) -> bool:
    """Bring a fresh training and its weights to a state; return whether it is one of theirs.

    If it is not, they may be half of it, and the training must begin anew.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors, plain = load(state), notes_of(state)[PLAIN]
        stored = _under(WEIGHT, tensors)
        if stored.keys() != weights.keys():
            return False
        if any(_kind(stored[name]) != _kind(weight) for name, weight in weights.items()):
            return False
        training.go_on_from(plain, _under(OWN, tensors))
        for name, weight in weights.items():
            weight.copy_(stored[name])
    except (*UNUSABLE, SafetensorError):
        return False
    return True


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def _kind(tensor: Tensor) -> tuple[torch.Size, torch.dtype]:
    return tensor.shape, tensor.dtype
