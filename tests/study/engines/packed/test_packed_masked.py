"""Masked diffusion in a pack, alone, and by PEFT used by hand: the same to 1e-9."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from study.bases.load import load_base
from study.data.instructions import InstructionFormat, Row
from study.data.readers import load_corpus
from study.seeds import derive_seed
from study.spec.sections import StudySpec
from study.trials import AdapterFiles, TrialConfig, TrialResult, search_config
from tests.engine_cases import CASES
from tests.engine_runs import Bench, assert_same_tensors, bench_of


@pytest.fixture(scope="module")
def bench(make_masked_spec: Callable[..., StudySpec]) -> Bench:
    """Return the tiny base in double precision, with noise in its generation."""
    return bench_of(make_masked_spec({"diffusion.temperature": 1.0, "diffusion.cfg_scale": 0.5}))


@pytest.mark.whole
def test_a_trial_is_what_peft_trains_by_hand(bench: Bench) -> None:
    """LLaDA's loss, written out over transformers' logits, gives the same weights and losses."""
    for point in CASES["masked diffusion"].points[:3:2]:
        config = search_config(bench.spec, 0, {**point, "dropout": 0.0}, 0)
        found, by_hand = bench.alone(config), by_peft(bench.spec, config)
        assert_same_tensors(found.adapter, with_config(by_hand, found))
        losses = [loss for _, loss in found.losses]
        np.testing.assert_allclose(losses, [loss for _, loss in by_hand.losses], rtol=1e-9)


def with_config(result: TrialResult, other: TrialResult) -> AdapterFiles:
    """Return tensors under another's configuration, which is not compared here."""
    assert result.adapter is not None
    assert other.adapter is not None
    return AdapterFiles(other.adapter.config, result.adapter.weights)


def by_peft(spec: StudySpec, config: TrialConfig) -> TrialResult:
    """Train with PEFT's model, torch's AdamW and transformers' schedule, a row at a time."""
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
    from safetensors.torch import save
    from transformers import get_linear_schedule_with_warmup

    method, training = config.method, config.training
    assert method is not None
    base = load_base(spec.base.model, spec.base, "masked_diffusion")
    names = {"qv": ["query", "value"]}
    names["attention"] = [*names["qv"], "key", "attention.output.dense"]
    lora = LoraConfig(
        r=method.rank, lora_alpha=int(method.alpha), target_modules=names[method.target_modules]
    )
    model = get_peft_model(base.model, lora).eval()
    for name, module in base.model.named_modules():
        if hasattr(module, "lora_A"):
            weight = module.lora_A["default"].weight
            generator = torch.Generator().manual_seed(derive_seed(config.seed, "A", name))
            drawn = torch.empty(weight.shape, dtype=torch.float64)
            weight.data = drawn.uniform_(
                -(weight.shape[1] ** -0.5), weight.shape[1] ** -0.5, generator=generator
            )
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=training.learning_rate, weight_decay=0.0)
    warmup = math.ceil(training.steps * training.warmup_fraction)
    scheduler = get_linear_schedule_with_warmup(optimizer, warmup, training.steps)
    losses = []
    for rows in drawn_batches(spec, config, base.tokenizer):
        loss = sum(row_loss(model, base.tokenizer, *row) for row in rows) / len(rows)
        losses.append(loss.item())  # type: ignore[union-attr]
        loss.backward()  # type: ignore[union-attr]
        torch.nn.utils.clip_grad_norm_(weights, training.max_grad_norm)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
    tensors = {name: t.contiguous() for name, t in get_peft_model_state_dict(model).items()}
    means = [(step, float(np.mean(losses[step - 2 : step]))) for step in (2, 4)]
    return TrialResult(adapter=AdapterFiles("", save(tensors)), losses=tuple(means))


def drawn_batches(
    spec: StudySpec, config: TrialConfig, tokenizer: Any
) -> Iterator[list[tuple[Row, float, torch.Tensor]]]:
    """Yield every step's rows, each with its p and masks (A,)."""
    assert spec.diffusion is not None
    form = InstructionFormat(tokenizer, spec.data, spec.diffusion)
    pairs, size = load_corpus(spec.data).train, config.training.batch_size
    generator = torch.Generator().manual_seed(derive_seed(config.seed, "data"))
    order: list[int] = []
    for _ in range(config.training.steps):
        while len(order) < size:
            order += torch.randperm(len(pairs), generator=generator).tolist()
        chosen, order = [pairs[i] for i in order[:size]], order[size:]
        chosen.sort(key=lambda pair: len(form.row(pair).prompt))
        rows = [form.row(pair, config.training.cutoff_tokens) for pair in chosen]
        yield [(row, *noise(row, spec.diffusion.eps, generator)) for row in rows]


def noise(row: Row, eps: float, generator: torch.Generator) -> tuple[float, torch.Tensor]:
    """Return the probability of a mask, and masks (A,)."""
    t = torch.rand(1, generator=generator, dtype=torch.float64).item()
    p = (1 - eps) * t + eps
    drawn = torch.rand(len(row.answer), 1, generator=generator, dtype=torch.float64)
    return p, drawn[:, 0] < p


def row_loss(model: Any, tokenizer: Any, row: Row, p: float, masks: torch.Tensor) -> Any:
    """Return one row's loss: no batch, no padding."""
    answer = torch.tensor(row.answer)
    noisy = answer.masked_fill(masks, tokenizer.mask_token_id)
    ids = torch.cat([torch.tensor(row.prompt), noisy])[None]
    logits = model(input_ids=ids).logits[0, len(row.prompt) :]
    by_token = torch.nn.functional.cross_entropy(logits, answer, reduction="none")
    return (by_token * masks).sum() / p / len(answer)
