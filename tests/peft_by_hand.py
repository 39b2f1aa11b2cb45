"""PEFT used by hand, as anybody would: what the engines are held against, and points to try."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from study.bases.load import load_base
from study.data.embedded import Pair
from study.data.readers import load_corpus
from study.seeds import derive_seed
from study.spec.sections import StudySpec
from study.trials import AdapterFiles, TrialConfig, TrialResult, search_config

ATTENTION = ["q_proj", "k_proj", "v_proj", "out_proj"]
TARGETS = {
    "qv": ["q_proj", "v_proj"],
    "attention": ATTENTION,
    "attention+ffn": [*ATTENTION, "fc1", "fc2"],
}


def wide(rate: float, rank: int, alpha: int, targets: str, **more: Any) -> dict[str, Any]:
    """Return a point of the wide space without dropout."""
    values = {"learning_rate": rate, "rank": rank, "alpha": alpha, "target_modules": targets}
    return {"dropout": 0.0, **values, **more}


METHODS = [
    wide(1e-3, 4, 128, "qv", loraplus_lr_ratio=8.0),
    wide(1e-3, 16, 8, "attention+ffn", use_rslora=True, weight_decay=0.1),
    wide(2e-3, 8, 16, "attention", batch_size=6),
    wide(1e-3, 5, 12, "fc1,k_proj", use_rslora=True, loraplus_lr_ratio=4.0, max_grad_norm=0.01),
]


def configs_of(spec: StudySpec, points: Sequence[dict[str, Any]]) -> list[TrialConfig]:
    """Return a trial a point."""
    return [search_config(spec, number, point, number) for number, point in enumerate(points)]


def peft_by_hand(spec: StudySpec, config: TrialConfig) -> TrialResult:
    """Train with PEFT's model and LoRA+ optimizer, transformers' loss and schedule.

    Returns the adapter, and the training losses averaged as the engines report them, without steps.
    """
    from peft import get_peft_model_state_dict
    from peft.optimizers import create_loraplus_optimizer
    from safetensors.torch import save
    from transformers import get_linear_schedule_with_warmup

    training = config.training
    model, tokenizer = peft_model(spec, config)
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = create_loraplus_optimizer(
        model,
        torch.optim.AdamW,
        lr=training.learning_rate,
        loraplus_lr_ratio=config.method.loraplus_lr_ratio,
        loraplus_weight_decay=training.weight_decay,
    )
    warmup = math.ceil(training.steps * 0.05)
    scheduler = get_linear_schedule_with_warmup(optimizer, warmup, training.steps)
    losses: list[float] = []
    for rows in batches(spec, config):
        loss = model(**encoded(tokenizer, rows)).loss
        losses.append(loss.item())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, training.max_grad_norm)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
    every = spec.training.report_every
    parts = [losses[start : start + every] for start in range(0, len(losses), every)]
    means = [(0, float(np.mean(part))) for part in parts]
    tensors = {name: t.contiguous() for name, t in get_peft_model_state_dict(model).items()}
    return TrialResult(adapter=AdapterFiles("", save(tensors)), losses=tuple(means))


def peft_model(spec: StudySpec, config: TrialConfig) -> tuple[Any, Any]:
    """Return PEFT's model with our initial A, and the tokenizer."""
    from peft import LoraConfig, get_peft_model

    method = config.method
    assert method is not None
    base = load_base(spec.base.model, spec.base)
    base.tokenizer.src_lang, base.tokenizer.tgt_lang = "eng_Latn", "fra_Latn"
    lora = LoraConfig(
        r=method.rank,
        lora_alpha=int(method.alpha),
        target_modules=TARGETS.get(method.target_modules, method.target_modules.split(",")),
        use_rslora=method.use_rslora,
    )
    model = get_peft_model(base.model, lora).eval()
    for name, module in adapted(base.model).items():
        weight = module.lora_A["default"].weight
        generator = torch.Generator().manual_seed(derive_seed(config.seed, "A", name))
        bound = 1 / math.sqrt(weight.shape[1])
        drawn = torch.empty(weight.shape, dtype=torch.float64)
        weight.data = drawn.uniform_(-bound, bound, generator=generator).to(weight.dtype)
    return model, base.tokenizer


def adapted(model: Any) -> dict[str, Any]:
    """Return the layers that carry an adapter, by name."""
    return {name: module for name, module in model.named_modules() if hasattr(module, "lora_A")}


def batches(spec: StudySpec, config: TrialConfig) -> list[list[Pair]]:
    """Return every step's pairs: shuffled epochs, one behind the other."""
    pairs, size = load_corpus(spec.data).train, config.training.batch_size
    generator = torch.Generator().manual_seed(derive_seed(config.seed, "data"))
    order: list[int] = []
    while len(order) < size * config.training.steps:
        order += torch.randperm(len(pairs), generator=generator).tolist()
    starts = range(0, size * config.training.steps, size)
    return [[pairs[i] for i in order[start : start + size]] for start in starts]


def encoded(tokenizer: Any, rows: Sequence[Pair]) -> Any:
    """Return what transformers' model reads to give its own loss."""
    sources, targets = [p.source for p in rows], [p.target for p in rows]
    batch = tokenizer(sources, text_target=targets, padding=True, return_tensors="pt")
    batch["labels"][batch["labels"] == tokenizer.pad_token_id] = -100
    return batch
