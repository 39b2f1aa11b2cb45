"""Optimizers are what their papers say; those that pack train a row as they train matrices."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from study.engines.lion import Lion
from study.engines.packed import updates
from study.engines.packed.updates import Move, SlotOptimizers
from study.kinds.optimizers import OPTIMIZERS


@pytest.mark.parametrize("name", [name for name, row in OPTIMIZERS.items() if row.packs])
@pytest.mark.parametrize("bytes_at_once", [1, 2**20])
def test_packed_slots_move_as_pytorch_moves_each(
    name: str, bytes_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slots of other rates, decays and ages, one at a time and as neighbours; others stay still."""
    monkeypatch.setitem(updates.BLOCK_BYTES, "cpu", bytes_at_once)
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(6, 10, dtype=torch.float64, generator=generator)
    grads, before = torch.zeros_like(weights), weights.clone()
    optimizers = SlotOptimizers(weights, grads, b_start=6)
    ages = {0: 1, 1: 3, 2: 1, 4: 1}  # by slot: the step at which it begins; 3 and 5 are empty
    alone = {}
    for slot in ages:
        parts = weights[slot, :6].clone(), weights[slot, 6:].clone()
        groups = [{"params": [nn.Parameter(part)]} for part in parts]
        alone[slot] = OPTIMIZERS[name].make(groups, 1.0, 0.1 * slot)
        optimizers.begin(slot, name)
    for step in range(1, 6):
        given = grads.normal_(generator=generator).clone()
        going = [slot for slot, first in ages.items() if step >= first]
        rates = {slot: 0.01 * (slot + 1) / step for slot in going}
        of_b = {slot: rate * (4 if slot == 2 else 1) for slot, rate in rates.items()}
        moves = [
            Move(s, name, rates[s], of_b[s], 0.1 * s, step - ages[s] + 1) for s in reversed(going)
        ]
        for block in optimizers.blocks(moves):
            optimizers.make(block)
        for slot in going:
            groups = alone[slot].param_groups
            for group, columns, rate in zip(
                groups, (slice(6), slice(6, None)), (rates[slot], of_b[slot]), strict=True
            ):
                group["lr"] = rate
                group["params"][0].grad = given[slot, columns]
            alone[slot].step()
    for slot, optimizer in alone.items():
        wanted = torch.cat([group["params"][0].detach() for group in optimizer.param_groups])
        torch.testing.assert_close(weights[slot], wanted, rtol=1e-12, atol=1e-12)
    assert torch.equal(weights[[3, 5]], before[[3, 5]])


def test_lion_moves_as_its_paper_says() -> None:
    """Decay, then a step by the sign of 0.9 m + 0.1 g, then m = 0.99 m + 0.01 g."""
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64))
    optimizer = Lion([weight], lr=0.1, betas=(0.9, 0.99), weight_decay=0.5)
    expected, momentum = weight.detach().clone(), torch.zeros(3, dtype=torch.float64)
    for step in range(20):
        gradient = torch.tensor([1.0, -0.5, 2.0 - step], dtype=torch.float64)
        weight.grad = gradient.clone()
        optimizer.step()
        expected -= 0.1 * ((0.9 * momentum + 0.1 * gradient).sign() + 0.5 * expected)
        momentum = 0.99 * momentum + 0.01 * gradient
    torch.testing.assert_close(weight.detach(), expected, rtol=1e-12, atol=0)
    optimizer.zero_grad()
    optimizer.step()
    torch.testing.assert_close(weight.detach(), expected, rtol=1e-12, atol=0)
