"""Blocks that are computed again in the backward pass change nothing but memory."""

from __future__ import annotations

import copy
from contextlib import closing, nullcontext

import torch
from torch import Tensor

from study.engines.packed.bank import AdapterBank
from study.engines.packed.batch_rows import Rows
from study.engines.recomputing import blocks_of, recomputed_blocks
from study.tasks.base import stacked
from tests.engine_cases import CASES
from tests.engine_runs import Bench, move_away


def packed_pass(bench: Bench, recomputes: bool) -> tuple[Tensor, Tensor, int]:
    """Return losses and gradients of a step with dropout in three slots, and the bytes kept."""
    configs = CASES["lora"].configs(bench.spec)[:3]
    methods = [config.method for config in configs if config.method]
    bank = AdapterBank(bench.base, methods, len(configs))
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with closing(bank):
        for slot, config in enumerate(configs):
            bank.attach(slot, methods[slot].model_copy(update={"dropout": 0.2}), config.seed)
            move_away(bank, slot, 0.1)
        bank.open()
        bank.lay_out([Rows(slot, 5, 0, 3) for slot in range(len(configs))])
        batches = [
            bench.task.collate(bench.task.examples("train")[:5], config, torch.Generator())
            for config in configs
        ]
        again = recomputed_blocks(bench.base.model) if recomputes else nullcontext()
        with again, torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            losses = bench.task.loss(bench.base.model, stacked(batches))[:, 0]
            in_all = sum(kept.values())
            torch.autograd.backward(losses.sum())
    return losses.detach(), copy.copy(bank.grads), in_all


def test_recomputed_blocks_give_the_same_gradients(bench: Bench) -> None:
    """To the last bits of float64, with dropout, and with far fewer bytes kept."""
    bench.task.loss(bench.base.model, a_batch(bench))  # proves the head, outside of the count
    losses, grads, kept = packed_pass(bench, recomputes=False)
    again, grads_again, kept_again = packed_pass(bench, recomputes=True)
    torch.testing.assert_close(again, losses, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(grads_again, grads, rtol=1e-12, atol=1e-12)
    assert grads.any()
    assert kept_again < kept / 2


def a_batch(bench: Bench) -> object:
    """Return one row."""
    config = CASES["lora"].configs(bench.spec)[0]
    return bench.task.collate(bench.task.examples("train")[:1], config, torch.Generator())


def test_the_model_is_given_back(bench: Bench) -> None:
    """Every block of encoder and decoder is recomputed, and has its own forward afterwards."""
    config = bench.base.model.config
    with recomputed_blocks(bench.base.model) as count:
        assert count == config.encoder_layers + config.decoder_layers
    assert not any("forward" in vars(block) for block in blocks_of(bench.base.model))


def test_a_model_that_names_no_blocks_has_its_lists() -> None:
    """Members of the outermost lists are its blocks, whatever lists are in them."""
    inner = torch.nn.ModuleList([torch.nn.Linear(1, 1)])
    block = torch.nn.ModuleDict({"experts": inner})
    assert blocks_of(torch.nn.ModuleDict({"layers": torch.nn.ModuleList([block])})) == [block]
    assert blocks_of(torch.nn.Linear(1, 1)) == []
