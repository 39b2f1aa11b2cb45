"""DPO's reference: the base with its adapters off, whose log-probabilities are computed once.

A reference is frozen, so each pair's margin under it is a number that all trials share.  It is
computed by a copy of the base's modules over the same weights, made before any adapter is attached:
whatever an engine puts on the base does not reach it, and it costs no memory.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from study.bases.load import BaseModel
from study.data.preference_rows import PreferenceExample
from study.peft_methods.init_adapter import stored_pairs
from study.spec.hyperparameters import MethodSpec
from study.tasks.base import Batch

TOGETHER = 16
"""Pairs per pass; passes are fixed, so that no result depends on the order."""
Collate = Callable[[Sequence[PreferenceExample]], Batch]


class Reference:
    """The margins of pairs under the base, or under the adapter that the study continues."""

    def __init__(
        self,
        base: BaseModel,
        method: MethodSpec,
        examples: Sequence[PreferenceExample],
        collate: Collate,
        sides: Callable[[Any, Batch], tuple[Tensor, Tensor]],
    ) -> None:
        """Take the bare base, every pair, and how the task reads them."""
        self._model = None if base.is_skeleton else sharing_weights(base.model)
        if self._model is not None:
            _put_on(self._model, base, method)
        self._collate, self._sides = collate, sides
        distinct = sorted(dict.fromkeys(examples), key=lambda pair: pair.tokens)
        groups = [tuple(distinct[at : at + TOGETHER]) for at in range(0, len(distinct), TOGETHER)]
        self._group_of = {pair: group for group in groups for pair in group}
        self._kept: dict[PreferenceExample, float] = {}

    def margins(self, examples: Sequence[PreferenceExample]) -> Tensor:
        """Return log r(chosen) − log r(rejected) in nats (B,), in float64."""
        if self._model is None:
            return torch.zeros(len(examples), dtype=torch.float64)
        for example in examples:
            if example not in self._kept:
                self._compute(self._group_of[example])
        return torch.tensor([self._kept[e] for e in examples], dtype=torch.float64)

    @torch.no_grad()
    def _compute(self, group: Sequence[PreferenceExample]) -> None:
        assert self._model is not None
        batch = self._collate(group).to(self._model.device)
        chosen, rejected = self._sides(self._model, batch)
        margins = (rejected[:, 0].double() - chosen[:, 0].double()).tolist()
        self._kept |= dict(zip(group, margins, strict=True))


def sharing_weights(model: nn.Module) -> Any:
    """Return a copy of a model's modules whose weights share the model's memory.

    A weight that is replaced in the model, as PiSSA does, stays in the copy as it was.
    """
    tensors = chain(model.parameters(), model.buffers())
    shared = {
        id(tensor): nn.Parameter(tensor.data, requires_grad=False)
        if isinstance(tensor, nn.Parameter)
        else tensor.detach()
        for tensor in tensors
    }
    return copy.deepcopy(model, dict(shared)).eval()


def _put_on(model: nn.Module, base: BaseModel, method: MethodSpec) -> None:
    """Let a model compute with the adapter that the study continues, if any."""
    for name, (A, B) in stored_pairs(base, method).items():
        layer = model.get_submodule(name)
        weight = layer.get_parameter("weight")
        vars(layer)["forward"] = _adapted(layer.forward, A.to(weight), B.to(weight), method.scale)


def _adapted(
    forward: Callable[[Tensor], Tensor], A: Tensor, B: Tensor, scale: float
) -> Callable[[Tensor], Tensor]:
    return lambda x: forward(x) + scale * (x @ A.T @ B.T)
