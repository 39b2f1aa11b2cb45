"""Gradients in a pack of mixed trials are those that autograd gives PEFT's layers."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

import torch
from torch import Tensor, nn

from study.data.embedded import Pair
from study.engines.packed.bank import AdapterBank
from study.engines.packed.batch_rows import Rows
from study.engines.packed.linear import MatrixPairs, PackedLinear, SlotAdapter, lora_runs
from study.spec.sections import StudySpec
from study.tasks.base import stacked
from study.trials import TrialConfig
from tests.engine_runs import Bench, move_away
from tests.peft_by_hand import METHODS, adapted, configs_of, encoded, peft_model, wide

MIXED = [*METHODS, wide(1e-3, 8, 64, "attention", init_lora_weights="pissa")]
MIXED += [wide(1e-3, 3, 64, "qv", init_lora_weights="pissa", use_rslora=True)]


def test_gradients_are_those_of_peft(bench: Bench) -> None:
    """In one pass of mixed ranks, targets, methods and rows each slot gets PEFT's gradients."""
    configs = configs_of(bench.spec, MIXED)
    pairs = [bench.task.examples("train")[n : n + 3 + n] for n in range(len(configs))]
    methods = [config.method for config in configs if config.method]
    bank = AdapterBank(bench.base, methods, len(configs))
    with closing(bank):
        for slot, method in enumerate(methods):
            bank.attach(slot, method, configs[slot].seed)
            move_away(bank, slot, 0.1)
        bank.open()
        bank.lay_out([Rows(slot, len(rows)) for slot, rows in enumerate(pairs)])
        collated = zip(pairs, configs, strict=True)
        batch = stacked([bench.task.collate(r, c, torch.Generator()) for r, c in collated])
        bench.task.loss(bench.base.model, batch)[:, 0].sum().backward()
    for slot, (config, rows) in enumerate(zip(configs, pairs, strict=True)):
        wanted = _gradients_by_hand(bench.spec, config, rows, bank, slot)
        assert wanted.keys() == {n for n, layer in bank._lora.items() if slot in layer.adapters}
        for name, pair in wanted.items():
            grads = bank._lora[name].grads
            rank = methods[slot].rank
            for found, grad in zip((grads.A[slot], grads.B[slot].mT), pair, strict=True):
                assert float(grad.abs().max()) > 0
                torch.testing.assert_close(found[:rank], grad, rtol=1e-9, atol=1e-11)
                assert not found[rank:].any()


def _gradients_by_hand(
    spec: StudySpec, config: TrialConfig, rows: Sequence[Pair], bank: AdapterBank, slot: int
) -> dict[str, tuple[Tensor, Tensor]]:
    """Return PEFT's gradients of A and of B transposed, both (R, D), at a slot's weights."""
    model, tokenizer = peft_model(spec, config)
    layers = adapted(model.get_base_model())
    for name, layer in layers.items():
        weights, rank = bank._lora[name].weights, bank._lora[name].adapters[slot].rank
        layer.lora_A["default"].weight.data = weights.A[slot, :rank]
        layer.lora_B["default"].weight.data = weights.B[slot, :, :rank].contiguous()
        if config.method is not None and config.method.init_lora_weights == "pissa":
            U, S, Vh = torch.linalg.svd(layer.weight.data, full_matrices=False)
            layer.weight.data -= (U[:, :rank] * S[:rank]) @ Vh[:rank]
    batch = encoded(tokenizer, rows)
    tokens = int((batch["labels"] != -100).sum())
    (model(**batch).loss * tokens).backward()
    return {
        name: (layer.lora_A["default"].weight.grad, layer.lora_B["default"].weight.grad.mT)
        for name, layer in layers.items()
    }


def test_an_output_may_be_changed_in_place() -> None:
    """As some models do with a layer's output: the gradient of the input is autograd's."""
    torch.manual_seed(0)
    linear = nn.Linear(4, 3).double().requires_grad_(False)
    pairs = [
        MatrixPairs(torch.randn(1, 2, 4).double(), torch.randn(1, 3, 2).double()) for _ in range(4)
    ]
    packed = PackedLinear(linear, *pairs)
    adapters = {0: SlotAdapter(2, 1.0, 0.0, begins_in_weight=False)}
    packed.lay_out(lora_runs([Rows(0, 2)], adapters, pairs[0].A), 2, None)
    x = torch.randn(2, 5, 4).double().requires_grad_()
    packed(x).mul_(3.0).sum().backward()
    A, B = pairs[2].A[0], pairs[2].B[0]  # what passes read
    by_hand = 3.0 * (linear.weight + B @ A).sum(dim=0)
    torch.testing.assert_close(x.grad, by_hand.expand(2, 5, 4))
