"""The adapters of K slots as one matrix of weights and one of gradients, a row a slot.

A row holds all A of its adapter, then all B.  So an optimizer sees two flat tensors, and a layer
sees (K, R, D_in) and (K, D_out, R); nothing is copied from one form to the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from study.base_models import BaseModel
from study.engines.adapters import PREFIX, Pair, adapter_files, initial_a, principal_pair
from study.engines.packed_linear import PackedLinear, Pairs, Rows, SlotAdapter
from study.hyperparameters import MethodSpec
from study.methods import peft_config, targeted_modules
from study.seeds import derive_seed
from study.trials import AdapterFiles


class AdapterBank:
    """Room for K adapters of any of the given methods, attached to a base."""

    def __init__(self, base: BaseModel, methods: Iterable[MethodSpec], slots: int) -> None:
        methods = list(methods)
        self._base = base
        self._methods: dict[int, MethodSpec] = {}  # by slot
        self._rank = max(method.rank for method in methods)
        linears = {
            name: linear
            for targets in {method.target_modules for method in methods}
            for name, linear in targeted_modules(base.model, targets).items()
        }
        self._a_size = self._rank * sum(linear.in_features for linear in linears.values())
        b_size = self._rank * sum(linear.out_features for linear in linears.values())
        dtype = max_precision(base.model.dtype)
        device = base.model.device
        self.weights = torch.zeros(slots, self._a_size + b_size, dtype=dtype, device=device)
        self.grads = torch.zeros_like(self.weights)
        has_pissa = any(method.init_lora_weights == "pissa" for method in methods)
        self._initial = torch.zeros_like(self.weights) if has_pissa else self.weights
        self._layers = dict(self._packed(linears))

    def _packed(self, linears: dict[str, nn.Linear]) -> Iterator[tuple[str, PackedLinear]]:
        a_start, b_start = 0, self._a_size
        for name, linear in linears.items():
            a_shape = (self._rank, linear.in_features)
            b_shape = (linear.out_features, self._rank)
            pairs = [
                Pairs(_columns(matrix, a_start, a_shape), _columns(matrix, b_start, b_shape))
                for matrix in (self.weights, self.grads, self._initial)
            ]
            yield name, PackedLinear(linear, *pairs)
            a_start += a_shape[0] * a_shape[1]
            b_start += b_shape[0] * b_shape[1]

    # ------------------------------------------------------------ slots

    def attach(self, slot: int, method: MethodSpec, seed: int) -> int:
        """Put a fresh adapter into a slot; returns the number of its weights."""
        self._methods[slot] = method
        self.weights[slot], self.grads[slot] = 0.0, 0.0
        names = targeted_modules(self._base.model, method.target_modules)
        for name in names:
            layer = self._layers[name]
            layer.adapters[slot] = SlotAdapter(
                method.rank,
                method.scale,
                method.dropout,
                derive_seed(seed, "dropout", name),
                method.init_lora_weights == "pissa",
            )
            self._initialise(layer, slot, name, method, seed)
        return method.rank * sum(int(n.in_features + n.out_features) for n in names.values())

    def _initialise(
        self, layer: PackedLinear, slot: int, name: str, method: MethodSpec, seed: int
    ) -> None:
        A, B = _pair_of(layer.weights, slot, method.rank)
        if method.init_lora_weights == "default":
            A.copy_(initial_a(A.shape, seed, name))
            return
        A0, B0 = principal_pair(self._base, name, method)
        for pairs in (layer.weights, layer.initial):
            pairs.A[slot], pairs.B[slot] = 0.0, 0.0
            A, B = _pair_of(pairs, slot, method.rank)
            A.copy_(A0)
            B.copy_(B0)

    def release(self, slot: int) -> None:
        """Take a slot's adapter off."""
        self._methods.pop(slot, None)
        for layer in self._layers.values():
            layer.adapters.pop(slot, None)

    def breadth(self, slot: int) -> int:
        """Return how many layers a slot's adapter has."""
        return sum(slot in layer.adapters for layer in self._layers.values())

    def average_and_clip(self, slot: int, weight: float, max_norm: float) -> None:
        """Turn a sum of gradients over `weight` tokens into their mean, clipped at a norm.

        Clips as `torch.nn.utils.clip_grad_norm_`.
        """
        norm = self.grads[slot].norm().item() / weight
        self.grads[slot] *= min(1.0, max_norm / (norm + 1e-6)) / weight

    def lay_out(self, layout: Sequence[Rows]) -> None:
        """Tell every layer whose rows the coming passes hold."""
        for layer in self._layers.values():
            layer.lay_out(layout)

    def trained(self, slot: int) -> tuple[nn.Parameter, nn.Parameter]:
        """Return a slot's A and its B, flat, with gradients in place: for an optimizer."""
        parts = []
        for columns in (slice(0, self._a_size), slice(self._a_size, None)):
            weights = nn.Parameter(self.weights[slot, columns])
            weights.grad = self.grads[slot, columns]
            parts.append(weights)
        return parts[0], parts[1]

    def files(self, slot: int) -> AdapterFiles:
        """Return a slot's adapter in PEFT's own format."""
        method = self._methods[slot]
        tensors: dict[str, Tensor] = {}
        principal: dict[str, Pair] = {}
        for name, layer in self._layers.items():
            if slot not in layer.adapters:
                continue
            A, B = _pair_of(layer.weights, slot, method.rank)
            tensors |= {f"{PREFIX}{name}.lora_A.weight": A, f"{PREFIX}{name}.lora_B.weight": B}
            if method.init_lora_weights == "pissa":
                principal[name] = _pair_of(layer.initial, slot, method.rank)
        config = peft_config(method, self._base.model_type)
        config.base_model_name_or_path = self._base.name
        return adapter_files(config, tensors, principal)

    def open(self) -> None:
        """Take over the layers of the base."""
        for layer in self._layers.values():
            vars(layer.linear)["forward"] = layer

    def close(self) -> None:
        """Give the base's layers their own `forward` back."""
        for layer in self._layers.values():
            vars(layer.linear).pop("forward", None)


def max_precision(dtype: torch.dtype) -> torch.dtype:
    """Return the adapters' precision: as the base's, and at least float32."""
    return torch.promote_types(dtype, torch.float32)


def _columns(matrix: Tensor, start: int, shape: tuple[int, int]) -> Tensor:
    """Return columns of (K, P) as (K, *shape), sharing memory."""
    part = matrix[:, start : start + shape[0] * shape[1]]
    return part.view(len(matrix), *shape)


def _pair_of(pairs: Pairs, slot: int, rank: int) -> Pair:
    """Return one slot's A (rank, D_in) and B (D_out, rank), sharing memory."""
    return pairs.A[slot, :rank], pairs.B[slot, :, :rank]
