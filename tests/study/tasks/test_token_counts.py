"""Tokens per second count tokens: prompts and answers, without padding, in every task."""

from __future__ import annotations

import pytest
import torch

from study.engines.trial_state import Training
from study.tasks.base import Batch, stacked
from study.trials import search_config
from tests.engine_runs import bench_of

SPECS = ("make_spec", "make_pair_spec", "make_masked_spec", "make_llama_spec", "make_chat_spec")


@pytest.mark.parametrize("made", SPECS)
def test_a_batch_counts_what_each_example_has_alone(
    made: str, request: pytest.FixtureRequest
) -> None:
    """Padding to the longest row adds nothing, and rows are not mistaken for tokens."""
    bench = bench_of(request.getfixturevalue(made)({"training.batch_size": 4}))
    config = search_config(bench.spec, 0, {}, 0)
    examples = bench.task.examples("train")[:4]

    def tokens(some: object) -> int:
        return bench.task.collate(some, config, torch.Generator()).real_tokens  # type: ignore[arg-type]

    whole = bench.task.collate(examples, config, torch.Generator())
    assert whole.real_tokens == sum(tokens([example]) for example in examples)
    assert whole.real_tokens > 3 * len(examples)
    assert whole.real_tokens <= whole.inputs["input_ids"].numel() + whole.labels.numel()
    training = Training(config, bench.spec, bench.task)
    groups = training.next_groups()
    training.count_step()
    assert training.tokens == sum(group.real_tokens for group in groups) > 3 * 4


def test_a_task_of_ones_own_need_not_count() -> None:
    """Without a count, what the attention mask shows counts, and without a mask everything."""
    ids, mask = torch.ones(2, 5), torch.tensor([[1, 1, 0, 0, 0], [1, 1, 1, 1, 1]])
    labels = torch.zeros(2, 1)
    assert Batch({"input_ids": ids, "attention_mask": mask}, labels).real_tokens == 7
    assert Batch({"input_ids": ids}, labels).real_tokens == 10
    counted = [Batch({"input_ids": ids[:, :n]}, labels, tokens=n) for n in (2, 3)]
    assert stacked(counted[:1]).real_tokens == 2
