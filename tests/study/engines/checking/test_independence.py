"""What a row's result must not depend on, in models that do depend on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from benchmarks.tiny_models import tiny_config
from study.bases.load import BaseModel
from study.engines.checking.comparisons import ALONE
from study.engines.checking.independence import Choices
from study.errors import InputError
from study.peft_methods.adapters import attach_adapter, lost_by_peft
from study.spec.evaluation import EvaluationSpec
from study.spec.hyperparameters import MethodSpec
from study.spec.sections import StudySpec
from study.tasks.base import Batch
from study.tasks.decoding import generated_answers, why_row_by_row
from study.trials import TrialConfig
from tests.engine_runs import Bench
from tests.study.engines.checking.test_self_check import Tokens, checked
from tests.study.engines.checking.test_self_check import spec as spec  # a fixture
from tests.tiny_architectures import random_base


class Prompts(Tokens):
    """Rows whose first token is the prompt, and whose loss may depend on their width."""

    by_width = 0.0

    def collate(
        self, examples: Sequence[Tensor], config: TrialConfig, generator: torch.Generator
    ) -> Batch:
        """Return a batch without a mask, as decoders read it."""
        batch = super().collate(examples, config, generator)
        rows = {"prompt_tokens": torch.ones(len(examples), dtype=torch.long)}
        return replace(batch, inputs={"input_ids": batch.inputs["input_ids"]}, rows=rows)

    def loss(self, model: Any, batch: Batch) -> Tensor:
        """Return (B, 2)."""
        width = batch.inputs["input_ids"].shape[1]
        return super().loss(model, batch) * (1.0 + self.by_width * width)


def tiny(model_type: str) -> BaseModel:
    """Return a random causal model of a type that no other test needs."""
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(tiny_config(model_type))
    frozen = model.float().eval().requires_grad_(False)
    return BaseModel(frozen, None, model_type, loader="AutoModelForCausalLM")


@pytest.mark.parametrize("is_decoder", [False, True])
def test_a_model_that_reads_ahead_is_refused(spec: StudySpec, is_decoder: bool) -> None:
    """BERT is a decoder only where its configuration says so."""
    base = random_base("bert", "cpu", "AutoModelForCausalLM", spread=0.2, is_decoder=is_decoder)
    bench = Bench(spec, base, Prompts(base.model))  # type: ignore[arg-type]
    if is_decoder:
        assert checked(bench).packs
    else:
        with pytest.raises(InputError, match=r"^base\.model: this 'bert' model sees the tokens"):
            checked(bench)


def test_losses_that_depend_on_padding_are_found(spec: StudySpec) -> None:
    """Such a model trains one trial at a time."""
    base = random_base("llama", "cpu", spread=0.2)
    bench = Bench(spec, base, Prompts(base.model))  # type: ignore[arg-type]
    assert checked(bench).packs
    bench.task.by_width = 0.001  # type: ignore[attr-defined]
    assert str(checked(bench).why_alone).startswith(f"{ALONE} differ by ")


@pytest.mark.parametrize(
    ("scores", "most", "expected"),
    [
        ([3.0, 0.0, 0.0, 1.0], 2, False),
        ([3.0, 0.0, 0.0, 1.0], 3, True),
        ([3.0, float("-inf"), float("-inf"), 1.0], 3, False),  # masked: either is ignored
        ([3.0, 0.0, 0.0], 2, False),  # not over the row's tokens
        ([0.0, 0.0, 0.0, 0.0], 4, False),  # all are chosen
    ],
)
def test_a_choice_between_equal_scores_is_seen(
    scores: list[float], most: int, expected: bool
) -> None:
    """Only where the last chosen score equals the best that is left."""
    with Choices(4) as choices:
        torch.tensor([scores]).topk(most)
    assert choices.are_arbitrary == expected


def test_adapters_that_peft_cannot_load_are_named() -> None:
    """Laguna's shared experts are renamed twice when PEFT loads them."""
    base = tiny("laguna")
    for targets, expected in (("attention", None), ("all-linear", "shared_experts")):
        adapter = attach_adapter(base, MethodSpec(rank=2, target_modules=targets), 0)
        lost = lost_by_peft(adapter)
        adapter.detach()
        assert (expected is None and lost is None) or expected in str(lost)


def test_rows_that_a_cache_mixes_are_generated_one_by_one() -> None:
    """RWKV's answers beside other rows are those that it gives alone; Llama's rows go together."""
    ids = torch.randint(5, 60, (3, 6), generator=torch.Generator().manual_seed(0))
    prompts = torch.tensor([3, 6, 4])
    model = tiny("rwkv").model
    how: dict[str, Any] = {"pad": 0, "ends": [2]}
    evaluation = EvaluationSpec(max_new_tokens=4)

    def answers(rows: slice) -> list[Any]:
        batch = Batch({"input_ids": ids[rows]}, ids[rows], {"prompt_tokens": prompts[rows]})
        return list(generated_answers(model, batch, evaluation, **how))

    alone = [answer for row in range(3) for answer in answers(slice(row, row + 1))]
    assert answers(slice(3)) == alone
    assert str(why_row_by_row(model, ids, prompts, 0)).startswith("logits of rows generated")
    assert why_row_by_row(random_base("llama", "cpu").model, ids, prompts, 0) is None
