"""A pack of trials against PEFT used by hand, and against the sequential engine."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load
from torch import Tensor

from study.base_models import load_base
from study.data.embedded import Pair
from study.engines.adapters import Adapter
from study.engines.packed_bank import AdapterBank
from study.engines.packed_rows import Rows
from study.seeds import derive_seed
from study.spec import StudySpec
from study.tasks.base import stacked
from study.trials import AdapterFiles, TrialConfig, TrialResult, search_config
from tests.engine_runs import Bench, bench_of, move_away

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


FEW = [
    wide(1e-5, 32, 128, "attention+ffn"),
    wide(1e-3, 4, 8, "qv"),
    wide(1e-2, 8, 64, "attention"),
    wide(1e-1, 16, 32, "qv"),
]
CORNERS = [
    wide(rate, rank, alpha, targets)
    for rate, rank, alpha, targets in product(
        (1e-5, 1e-4, 1e-3, 1e-2, 1e-1), (4, 32), (8, 128), TARGETS
    )
]
METHODS = [
    wide(1e-3, 4, 128, "qv", loraplus_lr_ratio=8.0),
    wide(1e-3, 16, 8, "attention+ffn", use_rslora=True, weight_decay=0.1),
    wide(2e-3, 8, 16, "attention", batch_size=6),
    wide(1e-3, 5, 12, "fc1,k_proj", use_rslora=True, loraplus_lr_ratio=4.0, max_grad_norm=0.01),
]


def configs_of(spec: StudySpec, points: Sequence[dict[str, Any]]) -> list[TrialConfig]:
    """Return a trial a point."""
    return [search_config(spec, number, point, number) for number, point in enumerate(points)]


# ---------------------------------------------------------------- PEFT by hand


def peft_by_hand(spec: StudySpec, config: TrialConfig) -> TrialResult:
    """Train with PEFT's model and LoRA+ optimizer, transformers' loss and schedule."""
    from peft import get_peft_model_state_dict
    from peft.optimizers import create_loraplus_optimizer
    from safetensors.torch import save
    from transformers import get_linear_schedule_with_warmup

    training = config.training
    model, tokenizer = _peft_model(spec, config)
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
    for rows in _batches(spec, config):
        loss = model(**_encoded(tokenizer, rows)).loss
        losses.append(loss.item())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, training.max_grad_norm)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
    every = spec.training.report_every
    means = [
        (n, float(np.mean(losses[n - every : n]))) for n in range(every, len(losses) + 1, every)
    ]
    tensors = {name: t.contiguous() for name, t in get_peft_model_state_dict(model).items()}
    return TrialResult(adapter=AdapterFiles("", save(tensors)), losses=tuple(means))


def _peft_model(spec: StudySpec, config: TrialConfig) -> tuple[Any, Any]:
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
    for name, module in _adapted(base.model).items():
        weight = module.lora_A["default"].weight
        generator = torch.Generator().manual_seed(derive_seed(config.seed, "A", name))
        bound = 1 / math.sqrt(weight.shape[1])
        drawn = torch.empty(weight.shape, dtype=torch.float64)
        weight.data = drawn.uniform_(-bound, bound, generator=generator).to(weight.dtype)
    return model, base.tokenizer


def _adapted(model: Any) -> dict[str, Any]:
    return {name: module for name, module in model.named_modules() if hasattr(module, "lora_A")}


def _batches(spec: StudySpec, config: TrialConfig) -> list[list[Pair]]:
    """Return every step's pairs: shuffled epochs, one behind the other."""
    from study.data.readers import load_corpus

    pairs, size = load_corpus(spec.data).train, config.training.batch_size
    generator = torch.Generator().manual_seed(derive_seed(config.seed, "data"))
    order: list[int] = []
    while len(order) < size * config.training.steps:
        order += torch.randperm(len(pairs), generator=generator).tolist()
    starts = range(0, size * config.training.steps, size)
    return [[pairs[i] for i in order[start : start + size]] for start in starts]


def _encoded(tokenizer: Any, rows: Sequence[Pair]) -> Any:
    """Return what transformers' model reads to give its own loss."""
    sources, targets = [p.source for p in rows], [p.target for p in rows]
    batch = tokenizer(sources, text_target=targets, padding=True, return_tensors="pt")
    batch["labels"][batch["labels"] == tokenizer.pad_token_id] = -100
    return batch


# ---------------------------------------------------------------- how far apart


def apart(found: TrialResult, wanted: TrialResult) -> np.ndarray[Any, Any]:
    """Return the relative distances (reports + 1,) of training losses, and of weights at the end.

    Matrices are compared by their largest elements; after a failure the distance is infinite.
    """
    distances = np.full(len(wanted.losses) + 1, np.inf)
    for at, ((_, a), (_, b)) in enumerate(zip(found.losses, wanted.losses, strict=False)):
        distances[at] = abs(a - b) / b
    if found.failure is None:
        assert found.adapter is not None
        assert wanted.adapter is not None
        tensors, others = load(found.adapter.weights), load(wanted.adapter.weights)
        assert tensors.keys() == others.keys()
        distances[-1] = max(
            float((tensors[n] - t).abs().max() / t.abs().max().clamp(min=1e-30))
            for n, t in others.items()
        )
    return distances


def allowed(
    bench: Bench, config: TrialConfig, alone: TrialResult, floor: float, chaos: float
) -> np.ndarray[Any, Any]:
    """Return how far (reports + 1,) runs may lie apart that round differently.

    That is ten times what a change of A by one unit in the last place becomes, at the start or
    at every step, one report later.  Once that is more than `chaos` no two programs agree.
    """
    nudged = []
    for steps in (range(1), range(config.training.steps)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Adapter, "begin_step", _nudging(Adapter.begin_step, steps))
            nudged.append(apart(bench.alone(config), alone))
    worst = np.maximum.accumulate(np.max(nudged, axis=0))
    worst = np.append(worst[1:], worst[-1])
    return np.where(worst > chaos, np.inf, np.maximum(floor, 10 * worst))


def _nudging(begin: Callable[..., None], steps: range) -> Callable[..., None]:
    """Return a `begin_step` that moves A to neighbouring numbers, up or down at random."""

    def begin_step(adapter: Adapter, step: int) -> None:
        begin(adapter, step)
        generator = torch.Generator().manual_seed(step)
        for weight in adapter.other_weights if step in steps else ():
            signs = torch.randint(0, 2, weight.shape, generator=generator) * 2 - 1
            weight.data = torch.nextafter(weight.data, signs.to(weight) * torch.inf)

    return begin_step


def hold(bench: Bench, points: Sequence[dict[str, Any]], floor: float, chaos: float) -> None:
    """Compare a pack, and PEFT by hand, with every trial's run in the sequential engine."""
    configs = configs_of(bench.spec, points)
    packed = bench.together(configs)
    problems, compared = [], []
    for config, point in zip(configs, points, strict=True):
        alone = bench.alone(config)
        others = packed[config.number], peft_by_hand(bench.spec, config)
        distances = np.array([apart(other, alone) for other in others])
        limit = np.full(distances.shape[1], floor)
        if (distances > floor).any():
            limit = allowed(bench, config, alone, floor, chaos)
        compared.append(np.isfinite(limit))
        too_far = np.argwhere(distances > limit).tolist()
        problems += [(point, at, distances[*at], limit[at[1]]) for at in too_far]
    assert not problems
    assert np.mean(compared) > 0.5


def hundred_steps(make_spec: Callable[..., StudySpec], dtype: str) -> Bench:
    """Return the tiny study over the wide space at a hundred steps."""
    changes = {"training.steps": 100, "training.report_every": 5, "base.dtype": dtype}
    measured = {"evaluation.metrics": ["loss"], "evaluation.objective": "loss"}
    return bench_of(make_spec({**changes, **measured, "search.space": "lora-wide"}))


def test_packed_alone_and_by_hand_are_the_same_in_double_precision(
    make_spec: Callable[..., StudySpec],
) -> None:
    """Over 100 steps losses and weights agree to 1e-9, wherever rounding does not decide."""
    hold(hundred_steps(make_spec, "float64"), FEW, floor=1e-9, chaos=1e-6)


def test_packed_alone_and_by_hand_are_the_same_in_single_precision(
    make_spec: Callable[..., StudySpec],
) -> None:
    """Over 100 steps they agree to ten times what one unit in the last place becomes."""
    hold(hundred_steps(make_spec, "float32"), FEW[:2], floor=1e-6, chaos=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "floor", "chaos"), [("float64", 1e-9, 1e-6), ("float32", 1e-6, 1e-4)]
)
def test_every_corner_of_the_wide_space(
    make_spec: Callable[..., StudySpec], dtype: str, floor: float, chaos: float
) -> None:
    """Sixty corners, all packed at once, are the trials that PEFT trains by hand."""
    hold(hundred_steps(make_spec, dtype), CORNERS, floor, chaos)


def test_one_pack_of_several_methods_is_trained_as_peft_trains_each(bench: Bench) -> None:
    """LoRA+ rates, rsLoRA scales, decay, clipping and batch sizes of one's own: PEFT's weights."""
    configs = configs_of(bench.spec, METHODS)
    packed = bench.together(configs)
    for config in configs:
        by_hand = peft_by_hand(bench.spec, config)
        assert (apart(packed[config.number], by_hand) <= 1e-9).all(), config.values


# ---------------------------------------------------------------- gradients


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
    model, tokenizer = _peft_model(spec, config)
    layers = _adapted(model.get_base_model())
    for name, layer in layers.items():
        weights, rank = bank._lora[name].weights, bank._lora[name].adapters[slot].rank
        layer.lora_A["default"].weight.data = weights.A[slot, :rank]
        layer.lora_B["default"].weight.data = weights.B[slot, :, :rank].contiguous()
        if config.method is not None and config.method.init_lora_weights == "pissa":
            U, S, Vh = torch.linalg.svd(layer.weight.data, full_matrices=False)
            layer.weight.data -= (U[:, :rank] * S[:rank]) @ Vh[:rank]
    batch = _encoded(tokenizer, rows)
    tokens = int((batch["labels"] != -100).sum())
    (model(**batch).loss * tokens).backward()
    return {
        name: (layer.lora_A["default"].weight.grad, layer.lora_B["default"].weight.grad.mT)
        for name, layer in layers.items()
    }
