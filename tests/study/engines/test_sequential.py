"""The sequential engine against PEFT and transformers used by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from study.bases.load import load_base
from study.data.readers import load_corpus
from study.engines.build import make_engine
from study.engines.dropout import SeededDropout
from study.engines.engine_choice import EngineChoice
from study.engines.schedules import learning_rate_factor
from study.spec.sections import StudySpec
from study.store.saved_adapters import save_adapter
from study.trials import Finished, TrialResult, search_config

POINT = {"rank": 8, "alpha": 32, "learning_rate": 5e-4, "dropout": 0.0}


def train(spec: StudySpec, base: Path, point: dict[str, Any]) -> TrialResult:
    """Train one trial to its end."""
    engine = make_engine(spec, str(base), None, EngineChoice("sequential"))
    engine.start(search_config(spec, 0, point, 0))
    while True:
        for event in engine.advance():
            if isinstance(event, Finished):
                return event.result


def test_the_adapter_loads_with_peft_to_the_same_losses(
    make_spec: Callable[..., StudySpec], tiny_base: Path, tmp_path: Path
) -> None:
    """`PeftModel.from_pretrained` on the saved folder reproduces the stored dev losses."""
    from peft import PeftModel

    spec = make_spec({"base.dtype": "float64"})
    result = train(spec, tiny_base, POINT)
    assert result.adapter is not None
    folder = save_adapter(tmp_path, "trial-00000", result.adapter)
    base = load_base(str(tiny_base), spec.base)
    model = PeftModel.from_pretrained(base.model, folder).eval()
    sums = [_token_loss(model, base.tokenizer, pair) for pair in load_corpus(spec.data).dev]
    stored = result.splits["dev"].statistics["loss"].values[:, 0]
    assert sums == pytest.approx(stored.tolist(), rel=1e-9)
    assert json.loads(result.adapter.config)["base_model_name_or_path"] == str(tiny_base)


def _token_loss(model: Any, tokenizer: Any, pair: Any) -> float:
    """Return transformers' own loss of one unpadded pair, summed over its tokens."""
    tokenizer.src_lang, tokenizer.tgt_lang = "eng_Latn", "fra_Latn"
    batch = tokenizer(pair.source, text_target=pair.target, return_tensors="pt")
    with torch.no_grad():
        return float(model(**batch).loss) * batch["labels"].shape[1]


def test_training_equals_a_plain_peft_loop(
    make_spec: Callable[..., StudySpec], tiny_base: Path
) -> None:
    """In float64 and at dropout 0 a hand-written PEFT loop on the same batches gives the same."""
    spec = make_spec({"base.dtype": "float64", "training.steps": 6})
    result = train(spec, tiny_base, POINT)
    assert result.adapter is not None
    by_hand = _peft_by_hand(spec, tiny_base)
    from safetensors.torch import load

    for name, tensor in load(result.adapter.weights).items():
        torch.testing.assert_close(tensor, by_hand[name], rtol=1e-9, atol=1e-12)


def _peft_by_hand(spec: StudySpec, folder: Path) -> dict[str, torch.Tensor]:
    """Train with transformers' own loss, scheduler and AdamW on the batches of trial 0."""
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
    from transformers import get_linear_schedule_with_warmup

    from study.seeds import derive_seed

    config = search_config(spec, 0, POINT, 0)
    base = load_base(str(folder), spec.base)
    targets = ["q_proj", "k_proj", "v_proj", "out_proj"]
    model = get_peft_model(base.model, LoraConfig(r=8, lora_alpha=32, target_modules=targets))
    model.eval()
    for name, module in base.model.named_modules():
        if hasattr(module, "lora_A"):
            weight = module.lora_A["default"].weight
            generator = torch.Generator().manual_seed(derive_seed(config.seed, "A", name))
            bound = 1 / math.sqrt(weight.shape[1])
            drawn = torch.empty(weight.shape, dtype=torch.float64)
            weight.data = drawn.uniform_(-bound, bound, generator=generator)
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=5e-4, weight_decay=0.0)
    scheduler = get_linear_schedule_with_warmup(optimizer, math.ceil(6 * 0.05), 6)
    tokenizer = base.tokenizer
    tokenizer.src_lang, tokenizer.tgt_lang = "eng_Latn", "fra_Latn"
    pairs = load_corpus(spec.data).train
    order = torch.randperm(
        len(pairs), generator=torch.Generator().manual_seed(derive_seed(config.seed, "data"))
    ).tolist()
    for step in range(6):
        rows = [pairs[i] for i in order[4 * step : 4 * step + 4]]
        batch = tokenizer(
            [p.source for p in rows],
            text_target=[p.target for p in rows],
            padding=True,
            return_tensors="pt",
        )
        batch["labels"][batch["labels"] == tokenizer.pad_token_id] = -100
        loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
    return dict(get_peft_model_state_dict(model))


def test_padding_does_not_change_a_row(tiny_spec: StudySpec, tiny_base: Path) -> None:
    """A pair has the same loss alone and in a batch with longer ones."""
    engine = make_engine(tiny_spec, str(tiny_base), None, EngineChoice("sequential"))
    task, model = engine._task, engine._base.model
    config = search_config(tiny_spec, 0, POINT, 0)
    generator = torch.Generator()
    pairs = sorted(task.examples("dev"), key=task.length)
    together = task.loss(model, task.collate(pairs, config, generator))[0]
    alone = task.loss(model, task.collate(pairs[:1], config, generator))[0]
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


def test_a_loss_that_is_no_number_fails_the_trial_alone(
    tiny_spec: StudySpec, tiny_base: Path
) -> None:
    """A diverging trial is FAIL with its step and reason, and the next one trains as ever."""
    engine = make_engine(tiny_spec, str(tiny_base), None, EngineChoice("sequential"))
    task = engine._task
    loss = task.loss
    task.loss = lambda model, batch: loss(model, batch) * math.nan  # type: ignore[method-assign]
    engine.start(search_config(tiny_spec, 0, POINT, 0))
    *_, event = engine.advance()
    assert isinstance(event, Finished)
    assert event.result.failure == "the training loss became nan at step 1"
    task.loss = loss  # type: ignore[method-assign]
    assert engine.free_slots == 1
    engine.start(search_config(tiny_spec, 1, POINT, 1))
    assert not any(isinstance(e, Finished) for e in engine.advance())


def test_running_out_of_memory_fails_the_trial_alone(tiny_spec: StudySpec, tiny_base: Path) -> None:
    """The trial's reason says how long the rows are that do not fit."""
    engine = make_engine(tiny_spec, str(tiny_base), None, EngineChoice("sequential"))

    def loss(model: Any, batch: Any) -> Any:
        raise torch.OutOfMemoryError("tried to allocate 900 GiB")

    engine._task.loss = loss  # type: ignore[method-assign]
    engine.start(search_config(tiny_spec, 0, POINT, 0))
    *_, event = engine.advance()
    assert isinstance(event, Finished)
    assert event.result.failure is not None
    assert event.result.failure.startswith("at step 0: out of memory in a pass over ")
    assert engine.free_slots == 1


def test_dropout_zeroes_the_stated_share_and_keeps_the_mean() -> None:
    """Seeded dropout scales what it keeps, repeats its masks, and rests in evaluation."""
    ones = torch.ones(100, 200)
    dropped = SeededDropout(0.3, seed=1)(ones)
    assert float((dropped == 0).double().mean()) == pytest.approx(0.3, abs=0.01)
    assert float(dropped.mean()) == pytest.approx(1.0, abs=0.02)
    assert torch.equal(dropped, SeededDropout(0.3, seed=1)(ones))
    assert not torch.equal(dropped, SeededDropout(0.3, seed=2)(ones))
    assert torch.equal(SeededDropout(0.3, seed=1).eval()(ones), ones)


def test_schedules_are_those_of_transformers(tiny_spec: StudySpec) -> None:
    """Warm-up, linear and cosine decay give transformers' factors at every step."""
    from transformers.optimization import (
        get_cosine_schedule_with_warmup,
        get_linear_schedule_with_warmup,
    )

    for schedule, reference in (
        ("linear", get_linear_schedule_with_warmup),
        ("cosine", get_cosine_schedule_with_warmup),
    ):
        training = tiny_spec.training.model_copy(
            update={"schedule": schedule, "steps": 50, "warmup_fraction": 0.1}
        )
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        factor = reference(optimizer, 5, 50).lr_lambdas[0]
        for step in range(50):
            assert learning_rate_factor(step, training) == pytest.approx(factor(step))
