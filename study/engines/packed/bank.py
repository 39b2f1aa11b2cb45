"""All weights that K slots train: a matrix of weights and one of gradients, one row per slot.

A row holds the matrices A of its adapter, then what is trained in full, then the matrices B.
Without copying, an optimizer sees two flat tensors, and a layer (K, R, D_in) and (K, D_out, R).
Passes read a copy, made once per step for all layers: A times its gain, and A and B in the base's
precision if that is lower than float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from study.bases.load import BaseModel, draw_fresh
from study.engines.dropout import row_keys
from study.engines.packed.batch_rows import Rows, index_of, on_device
from study.engines.packed.copies import (
    PackedCopies,
    PackedLinearCopies,
    PackedTokenEmbedding,
    PackedTokenHead,
)
from study.engines.packed.linear import (
    LoraRun,
    PackedLinear,
    SlotAdapter,
    lora_runs,
)
from study.engines.packed.plan import TOKEN_ROWS, Key, RowPlan, linears_of, trained_in_full
from study.engines.packed.read_copy import ReadCopy
from study.peft_methods.adapters import (
    PREFIX,
    MatrixPair,
    adapter_config,
    adapter_files,
    initial_a,
    initial_pair,
    token_layer,
)
from study.peft_methods.init_adapter import stored_pairs
from study.peft_methods.layers import linear_shape
from study.peft_methods.targets import targeted_modules
from study.seeds import derive_seed
from study.spec.hyperparameters import MethodSpec
from study.trials import AdapterFiles


class AdapterBank:
    """Room for K adapters of any of the given methods on one base."""

    def __init__(self, base: BaseModel, methods: Iterable[MethodSpec], slots: int) -> None:
        methods = list(methods)
        self._base = base
        self._methods: dict[int, MethodSpec] = {}  # by slot
        self._adapters: dict[int, SlotAdapter] = {}  # by slot
        self._taken: list[nn.Module] = []
        self._layout: Sequence[Rows] = ()
        linears = linears_of(base, {method.target_modules for method in methods})
        self._begin_full = trained_in_full(base)
        self._rank = rank = max(method.rank for method in methods)
        self._plan = plan = RowPlan(linears, rank, self._begin_full)
        dtype = torch.promote_types(base.model.dtype, torch.float32)
        self.weights = torch.zeros(slots, plan.width, dtype=dtype, device=base.model.device)
        self.grads = torch.zeros_like(self.weights)
        has_initial = any(method.begins_in_weight for method in methods)
        self._initial = torch.zeros_like(self.weights) if has_initial else self.weights
        self._read = ReadCopy(self.weights, plan, base.model.dtype)
        self._initial_read = (
            ReadCopy(self._initial, plan, base.model.dtype) if has_initial else self._read
        )
        self._lora = {
            name: PackedLinear(
                linear,
                plan.pairs(self.weights, name),
                plan.pairs(self.grads, name),
                self._read.pairs(name),
                self._initial_read.pairs(name),
            )
            for name, linear in linears.items()
        }
        self._seeds = np.zeros((len(linears), slots), dtype=np.uint64)  # of dropout
        self._copies = {
            module: PackedCopies(plan.full(self.weights, module), plan.full(self.grads, module))
            for module in dict.fromkeys(module for module, _ in self._begin_full)
        }

    # ------------------------------------------------------------ the base's layers

    def open(self) -> None:
        """Take over the layers of the base."""
        self._base.model.keep_rows = self.keep_rows
        for layer in self._lora.values():
            self._take_over(layer.linear, layer)
        for name, copies in self._copies.items():
            module = self._base.model.get_submodule(name)
            if name == token_layer(self._base):
                self._open_tokens(module, copies)
            else:
                self._take_over(module, PackedLinearCopies(module, copies))

    def _open_tokens(self, layer: nn.Module, copies: PackedCopies) -> None:
        tokens = self._base.trained_tokens
        head = self._base.model.get_output_embeddings()
        self._take_over(head, PackedTokenHead(head, tokens, copies))
        if isinstance(layer, nn.Embedding):  # the head may share its weight
            self._take_over(layer, PackedTokenEmbedding(layer, tokens, copies))

    def _take_over(self, layer: nn.Module, forward: Callable[[Tensor], Tensor]) -> None:
        vars(layer)["forward"] = forward
        self._taken.append(layer)

    @property
    def is_open(self) -> bool:
        """Whether the layers are taken over."""
        return bool(self._taken)

    def close(self) -> None:
        """Restore the `forward` of the base's layers."""
        vars(self._base.model).pop("keep_rows", None)
        while self._taken:
            del vars(self._taken.pop())["forward"]

    def keep_rows(self, alive: Tensor) -> Tensor:
        """Return which of the rows to keep when only some are still `alive`.

        Slots without a live row are dropped.  The others keep as many rows as the slot with the
        most live ones, so that they remain one batch.
        """
        parts = torch.split(alive, [rows.count for rows in self._layout])
        count = max(int(part.sum()) for part in parts)
        kept, layout, start = [], [], 0
        for rows, part in zip(self._layout, parts, strict=True):
            if part.any():
                alive_first = part.int().argsort(descending=True, stable=True)
                kept.append(start + alive_first[:count])
                layout.append(Rows(rows.slot, len(kept[-1])))
            start += rows.count
        self.lay_out(layout)
        return torch.cat(kept)

    def lay_out(self, layout: Sequence[Rows]) -> None:
        """Tell every layer whose rows the next passes contain."""
        self._layout = layout
        is_training = any(rows.step is not None for rows in layout)
        self._cast(is_training)
        keys = self._row_keys(layout) if is_training else [None] * len(self._lora)
        count = sum(rows.count for rows in layout)
        shared: dict[tuple[bool, ...], list[LoraRun]] = {}
        for layer, its_keys in zip(self._lora.values(), keys, strict=True):
            adapted = tuple(rows.slot in layer.adapters for rows in layout)
            if adapted not in shared:
                shared[adapted] = lora_runs(layout, layer.adapters, self.weights)
            layer.lay_out(shared[adapted], count, its_keys)
        for copies in self._copies.values():
            copies.lay_out(layout)

    def _row_keys(self, layout: Sequence[Rows]) -> Sequence[Tensor | None]:
        """Return dropout's keys (rows, 2) for every layer; all None if no slot drops anything."""
        if not any(adapter.dropout for adapter in self._adapters.values()):
            return [None] * len(self._lora)
        slots = [rows.slot for rows in layout for _ in range(rows.count)]
        steps = [rows.step or 0 for rows in layout for _ in range(rows.count)]
        numbers = [rows.first + i for rows in layout for i in range(rows.count)]
        keys = row_keys(self._seeds[:, slots], steps, numbers)  # (layers, rows, 2)
        return keys.to(self.weights.device, non_blocking=True).unbind()

    def _cast(self, is_training: bool) -> None:
        """Bring what passes read up to date, if weights or gains have changed."""
        adapters = self._adapters.items()
        self._read.update({slot: adapter.gain(is_training) for slot, adapter in adapters})
        if self._initial_read is not self._read:
            scales = {slot: a.scale for slot, a in adapters if a.begins_in_weight}
            self._initial_read.update(scales)

    # ------------------------------------------------------------ slots

    def holds(self, method: MethodSpec) -> bool:
        """Return whether a slot has room for an adapter of this rank on these modules."""
        names = targeted_modules(self._base, method.target_modules)
        return method.rank <= self._rank and self._lora.keys() >= names.keys()

    def attach(self, slot: int, method: MethodSpec, seed: int) -> int:
        """Put a fresh adapter into a slot; return how many weights it trains."""
        self._methods[slot] = method
        self._adapters[slot] = SlotAdapter(
            method.rank, method.scale, method.dropout, method.begins_in_weight
        )
        for matrix in (self.weights, self.grads, self._initial):
            matrix[slot] = 0.0
        names = targeted_modules(self._base, method.target_modules)
        for number, (name, layer) in enumerate(self._lora.items()):
            if name in names:
                layer.adapters[slot] = self._adapters[slot]
                self._seeds[number, slot] = derive_seed(seed, "dropout", name)
                self._begin_lora(name, slot, method, seed)
        self._begin_copies(slot, seed)
        count = method.rank * sum(sum(linear_shape(layer)) for layer in names.values())
        return count + sum(weight.numel() for weight in self._begin_full.values())

    def _begin_lora(self, name: str, slot: int, method: MethodSpec, seed: int) -> None:
        A, B = self._pair(self.weights, name, slot)
        if not method.begins_in_weight:
            stored = stored_pairs(self._base, method)
            if name in stored:
                A.copy_(stored[name][0])
                B.copy_(stored[name][1])
            else:
                A.copy_(initial_a(A.shape, seed, name))
            return
        A0, B0 = initial_pair(self._base, name, method, seed)
        for pair in ((A, B), self._pair(self._initial, name, slot)):
            pair[0].copy_(A0)
            pair[1].copy_(B0)

    def _pair(self, matrix: Tensor, name: str, slot: int) -> MatrixPair:
        """Return one slot's A (rank, D_in) and B (D_out, rank), sharing memory."""
        pairs, rank = self._plan.pairs(matrix, name), self._methods[slot].rank
        return pairs.A[slot, :rank], pairs.B[slot, :, :rank]

    def _begin_copies(self, slot: int, seed: int) -> None:
        for copies in self._copies.values():
            copies.slots.add(slot)
        for key, weight in self._begin_full.items():
            self._full(key)[slot] = weight
        copies_by_name = {".".join(key): self._full(key)[slot] for key in self._begin_full}
        fresh = {name: copies_by_name[name] for name in self._base.fresh}
        draw_fresh(fresh, self._base.model.config, seed)

    def _full(self, key: Key) -> Tensor:
        return self._plan.of(self.weights, key)

    def release(self, slot: int) -> None:
        """Remove a slot's adapter."""
        self._methods.pop(slot, None)
        self._adapters.pop(slot, None)
        for layer in self._lora.values():
            layer.adapters.pop(slot, None)
        for copies in self._copies.values():
            copies.slots.discard(slot)

    def breadth(self, slot: int) -> int:
        """Return how many layers a slot's adapter has."""
        return sum(slot in layer.adapters for layer in self._lora.values())

    # ------------------------------------------------------------ training

    @property
    def b_start(self) -> int:
        """The first column of the matrices B."""
        return self._plan.b_start

    def zero(self, slots: Sequence[int]) -> None:
        """Set the gradients of some slots to zero."""
        self.grads[index_of(slots, self.grads.device)] = 0.0

    def average_and_clip(
        self,
        slots: Sequence[int],
        totals: Tensor,
        max_norms: Sequence[float],
        *,
        masks: bool = True,
    ) -> None:
        """Turn sums of gradients into means per token, clipped at each one's norm.

        Clips like `torch.nn.utils.clip_grad_norm_`, all slots at once, and reads nothing from the
        device.

        Args:
            slots: k of them, in order.
            totals: The loss and the weight of each one's tokens, (k, 2).
            max_norms: Of each.
            masks: Whether gradients are zero where the loss is not finite.
        """
        index = index_of(slots, self.grads.device)
        grads, weights = self.grads[index], totals[:, 1]
        norms = torch.linalg.vector_norm(grads, dim=1).to(weights) / weights
        clipped = (on_device(max_norms, weights) / (norms + 1e-6)).clamp(max=1.0)
        grads *= (clipped / weights).to(grads)[:, None]
        if masks:
            means = totals[:, :1] / totals[:, 1:]
            grads.masked_fill_(means - means != 0, 0.0)  # NaN, as infinity - infinity
        if not isinstance(index, slice):
            self.grads[index] = grads

    # ------------------------------------------------------------ files

    def files(self, slot: int) -> AdapterFiles:
        """Return a slot's adapter in PEFT's format."""
        method = self._methods[slot]
        principal = {
            name: self._pair(self._initial, name, slot)
            for name, layer in self._lora.items()
            if slot in layer.adapters and method.begins_in_weight
        }
        config = adapter_config(self._base, method)
        return adapter_files(config, self.named(slot, self.weights), principal)

    def named(self, slot: int, matrix: Tensor) -> dict[str, Tensor]:
        """Return a slot's part of `weights` or `grads` by PEFT's names, sharing memory."""
        tensors: dict[str, Tensor] = {}
        for name, layer in self._lora.items():
            if slot in layer.adapters:
                A, B = self._pair(matrix, name, slot)
                tensors |= {f"{PREFIX}{name}.lora_A.weight": A, f"{PREFIX}{name}.lora_B.weight": B}
        for name, key in self._begin_full:
            in_file = "token_adapter.trainable_tokens_delta" if key == TOKEN_ROWS else key
            tensors[f"{PREFIX}{name}.{in_file}"] = self._plan.of(matrix, (name, key))[slot]
        return tensors
