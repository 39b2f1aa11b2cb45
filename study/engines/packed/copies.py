"""Weights that each trial trains in full beside its adapter: a classifier's head, rows of tokens.

They are small, so each slot has its own copy.  PEFT calls them `modules_to_save` and
`trainable_token_indices`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own abbreviation

from study.engines.packed.batch_rows import Rows, Run, index_of, on_device, runs


class PackedCopies:
    """The copies of a layer's weights, one per adapted slot, and their gradients."""

    def __init__(self, weights: dict[str, Tensor], grads: dict[str, Tensor]) -> None:
        self.weights = weights  # by name, each (K, ...)
        self.grads = grads
        self.slots: set[int] = set()
        self._anchor = torch.zeros((), requires_grad=True)
        self._runs: list[Run] = []
        self._rows = 0

    def lay_out(self, layout: Sequence[Rows]) -> None:
        """Store whose rows the next passes contain."""
        self._runs = runs(layout, self.slots.__contains__)
        self._rows = sum(rows.count for rows in layout)

    def of_run(self, run: Run, name: str) -> Tensor:
        """Return a weight (k, ...) of the slots in a run."""
        index = index_of(run.slots, self._anchor.device)
        copies: Tensor = _Copies.apply(self._anchor, self.weights[name], self.grads[name], index)  # type: ignore[no-untyped-call]
        return copies

    def at_rows(self, row: Tensor, name: str, frozen: Tensor) -> Tensor:
        """Return a weight (n, ...) for each of n rows: its slot's, or the frozen one."""
        members = [rows for run in self._runs for rows in run.members]
        owner = [number for number, rows in enumerate(members) for _ in range(rows.count)]
        of_slots = [
            self.of_run(run, name).to(frozen.dtype)
            if run.is_adapted
            else frozen.expand(len(run.members), *frozen.shape)
            for run in self._runs
        ]
        return torch.cat(of_slots)[on_device(owner, row)[row]]

    def by_run(self, x: Tensor, compute: Callable[[Run, Tensor], Tensor]) -> Tensor:
        """Compute each run's part (k, n, D) of x (rows, ..., D), and concatenate the results."""
        flat = x.reshape(-1, x.shape[-1])  # (rows · positions, D)
        positions = flat.shape[0] // self._rows
        parts = [compute(run, run.of(flat, positions)).flatten(0, 1) for run in self._runs]
        return torch.cat(parts).view(*x.shape[:-1], -1)


class _Copies(torch.autograd.Function):
    """Some slots' weights; adds their gradients to `grads`, where optimizers read them."""

    @staticmethod
    def forward(
        ctx: Any, anchor: Tensor, weights: Tensor, grads: Tensor, index: slice | Tensor
    ) -> Tensor:
        """Return (k, ...) of weights (K, ...); the anchor makes autograd call `backward`."""
        ctx.grads, ctx.index = grads, index
        return weights[index].clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, None, None, None]:
        """Return no gradients: they are already in place."""
        ctx.grads[ctx.index] += grads[0]
        return None, None, None, None


class PackedLinearCopies:
    """Replaces the `forward` of a linear layer that is trained in full."""

    def __init__(self, linear: nn.Linear, copies: PackedCopies) -> None:
        self._linear = linear
        self._copies = copies

    def __call__(self, x: Tensor) -> Tensor:
        """Return the layer's output."""
        return self._copies.by_run(x, self._of_run)

    def _of_run(self, run: Run, x_k: Tensor) -> Tensor:
        if not run.is_adapted:
            return F.linear(x_k, self._linear.weight, self._linear.bias)
        y = x_k @ self._copies.of_run(run, "weight").to(x_k.dtype).mT  # (k, n, D_out)
        if self._linear.bias is not None:
            y = y + self._copies.of_run(run, "bias").to(x_k.dtype)[:, None]
        return y


class PackedTokenHead:
    """Replaces the `forward` of an output head of which some rows are trained."""

    def __init__(self, head: nn.Linear, tokens: Sequence[int], copies: PackedCopies) -> None:
        self._head = head
        self._forward = head.forward  # the module's own, taken before it is replaced
        self.tokens = list(tokens)
        self._copies = copies

    def __call__(self, x: Tensor) -> Tensor:
        """Return logits (..., V)."""
        return self._copies.by_run(x, self._of_run)

    def _of_run(self, run: Run, x_k: Tensor) -> Tensor:
        y = self._forward(x_k)  # (k, n, V)
        if run.is_adapted:
            rows = self._copies.of_run(run, "rows").to(x_k.dtype)  # (k, tokens, D)
            y[..., self.tokens] = x_k @ rows.mT + self._bias
        return y

    @property
    def _bias(self) -> Tensor | float:
        return 0.0 if self._head.bias is None else self._head.bias[self.tokens]

    def own_logits(self, states: Tensor, row: Tensor) -> Tensor:
        """Return the trained tokens' logits (n, tokens) of states (n, D) in rows (n,) of a pass."""
        rows = self._copies.at_rows(row, "rows", self._head.weight[self.tokens])  # (n, tokens, D)
        return (rows @ states[:, :, None])[..., 0] + self._bias


class PackedTokenEmbedding:
    """Replaces the `forward` of an embedding of which some rows are trained."""

    def __init__(
        self, embedding: nn.Embedding, tokens: Sequence[int], copies: PackedCopies
    ) -> None:
        self._forward = embedding.forward  # the module's own, taken before it is replaced
        self._scale = getattr(embedding, "embed_scale", None)  # as PEFT scales trained rows
        self._tokens = list(tokens)
        self._copies = copies

    def __call__(self, ids: Tensor) -> Tensor:
        """Return embeddings (rows, T, D) of ids (rows, T)."""
        embedded = self._forward(ids)
        return self._copies.by_run(embedded, lambda run, part: self._of_run(run, part, ids))

    def _of_run(self, run: Run, embedded: Tensor, ids: Tensor) -> Tensor:
        if not run.is_adapted:
            return embedded
        rows = self._copies.of_run(run, "rows").to(embedded.dtype)  # (k, tokens, D)
        if self._scale is not None:
            rows = rows * torch.as_tensor(self._scale, dtype=rows.dtype, device=rows.device)
        ids_k = run.of(ids.reshape(-1, 1), ids.shape[-1])  # (k, n, 1)
        for number, token in enumerate(self._tokens):
            embedded = torch.where(ids_k == token, rows[:, number, None], embedded)
        return embedded
