"""Blocks that are computed again in the backward pass change nothing but memory."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from study.engines.base import Engine
from study.engines.packed.bank import AdapterBank
from study.engines.packed.batch_rows import Rows
from study.engines.pass_size import Rehearsal, measure_passes
from study.engines.passes import Part, Summation, TokenBudget, Totals, tokens_of
from study.engines.recomputing import blocks_of, can_recompute, recomputed_blocks
from study.engines.sequential import SequentialEngine
from study.tasks.base import Batch, stacked
from study.trials import TrialConfig
from tests.engine_cases import CASES, LORA, WIDE, Point, config_of, method_point
from tests.engine_runs import Bench, assert_same_result, bench_of, move_away, train_all
from tests.tiny_studies import MakeSpec


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
        again = recomputed_blocks(bench.base.model, recomputes)
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


POINTS: list[Point] = [
    *LORA[:2],
    {"rank": 4, "alpha": 16, "learning_rate": 1e-2, "dropout": 0.1, "base_dropout": True},
]


@pytest.mark.parametrize("engine", ["packed", pytest.param("sequential", marks=pytest.mark.slow)])
def test_an_engine_that_recomputes_gives_the_same_results(
    engine: str, make_dropping_spec: MakeSpec
) -> None:
    """Trials give what they give otherwise, with their own dropout and with the base's."""
    only_loss = {"evaluation.objective": "loss", "evaluation.metrics": ["loss"]}
    bench = bench_of(make_dropping_spec({**WIDE, **only_loss, "training.steps": 3}))
    configs = [config_of(bench.spec, number, point) for number, point in enumerate(POINTS)]
    budget = TokenBudget(recomputes=True)
    if engine == "packed":
        configs = [config for config in configs if not config.training.base_dropout]
        made: Engine = bench.packed(configs, budget=budget)
    else:
        made = SequentialEngine(bench.spec, bench.base, bench.task, budget)
    with closing(made), counting_blocks(bench) as computed:
        results, _ = train_all(made, configs)
        assert computed["again"] > 0
    for config in configs:
        assert_same_result(results[config.number], bench.alone(config))


@contextmanager
def counting_blocks(bench: Bench) -> Iterator[Counter[str]]:
    """Count how often the first block is computed in a backward pass."""
    counter: Counter[str] = Counter()

    def count(module: Any, given: Any, output: Any) -> None:
        counter["again"] += torch._C._current_graph_task_id() >= 0

    norm = next(m for m in blocks_of(bench.base.model)[0].modules() if not [*m.children()])
    handle = norm.register_forward_hook(count)
    yield counter
    handle.remove()


def test_a_prefix_is_not_lost(make_methods_spec: MakeSpec) -> None:
    """Blocks that read a prefix's keys and values are computed once, and train as ever."""
    bench = bench_of(
        make_methods_spec({"evaluation.objective": "loss", "evaluation.metrics": ["loss"]})
    )
    config = config_of(bench.spec, 0, method_point("prefix"))
    budget = TokenBudget(recomputes=True)
    with closing(SequentialEngine(bench.spec, bench.base, bench.task, budget)) as engine:
        assert_same_result(train_all(engine, [config])[0][0], bench.alone(config))


# ---------------------------------------------------------------- chosen by the budget


def rehearsed(budget: TokenBudget, kept: int) -> Rehearsal:
    """Return what a pass would take: so many bytes a token, a tenth of it if blocks recompute."""

    def rehearse(config: TrialConfig, batch: Batch) -> int:
        return tokens_of([batch], True) * (kept // 10 if budget.recomputes else kept)

    return rehearse


@pytest.mark.parametrize(
    ("free", "can", "recomputes", "training"),
    [
        (256_000, True, False, 256),  # enough
        (100_000, True, True, 1000),
        (100_000, False, False, 100),
        (5_000_000, True, False, 3072),
    ],
)
def test_blocks_are_recomputed_where_too_few_tokens_fit(
    bench: Bench, free: int, can: bool, recomputes: bool, training: int
) -> None:
    """Only then, only if it is possible, and with one line; evaluation keeps what fits without."""
    budget = TokenBudget(can_recompute=lambda: can)
    rehearse = rehearsed(budget, 1000)
    measure_passes(budget, rehearse, bench.spec, bench.base, bench.task, free, slots=64)
    assert (budget.recomputes, budget.training) == (recomputes, training)
    assert budget.evaluation == free // 1000
    lines = [notice.text for notice in budget.notices()]
    begin = "memory: only 100 tokens per pass would fit, so training computes each block again "
    assert len(lines) == recomputes
    assert all(line.startswith(begin) and line.endswith(": 1,000 fit") for line in lines)


def test_memory_that_runs_out_is_answered_by_recomputing_first(bench: Bench) -> None:
    """Passes that are hardly enough are not halved, and a lone row gets a second chance."""
    seen: list[tuple[int, bool]] = []
    for tokens, enough in ((100, 80), (1, 0)):
        budget = TokenBudget(tokens, enough=enough, can_recompute=lambda: True)

        def backward(parts: Sequence[Part], budget: TokenBudget = budget) -> Totals:
            seen.append((budget.training, budget.recomputes))
            if not budget.recomputes:
                raise torch.OutOfMemoryError("tried to allocate 9 GiB")
            return {part.slot: torch.ones(2) for part in parts}

        step = Summation(budget, True, lambda slots: None, backward)
        config = CASES["lora"].configs(bench.spec)[0]
        examples = bench.task.examples("train")[:4]
        batch = bench.task.collate(examples, config, torch.Generator())
        totals, failures = step.gradients({0: [batch]})
        assert (list(totals), failures) == ([0], {})
        assert seen[0] == (tokens, False)
        assert {*seen[1:]} == {(tokens, True)}
        (notice,) = budget.notices()
        assert notice.text.startswith("out of memory: training continues and computes each block")
        seen.clear()


def test_a_block_that_changes_something_else_is_not_recomputed(bench: Bench) -> None:
    """The check finds that its second result is another, and finds nothing wrong otherwise."""
    model, batch = bench.base.model, a_batch(bench)

    def loss() -> Tensor:
        return bench.task.loss(model, batch)[:, 0].sum()

    assert can_recompute(model, loss)
    assert not can_recompute(torch.nn.Linear(1, 1), loss)
    block, calls = blocks_of(model)[0], Counter[str]()
    forward = block.forward

    def counting(*args: Any, **kwargs: Any) -> Any:
        calls["of the block"] += 1
        return forward(args[0] * calls["of the block"], *args[1:], **kwargs)

    with patch.object(block, "forward", counting):
        assert not can_recompute(model, loss)
    assert all(not weight.requires_grad for weight in model.parameters())


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
