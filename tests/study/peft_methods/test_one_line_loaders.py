"""An adapter opens with PEFT's own loader of its task, and leaves the base as it was."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import Tensor

from study.bases.load import BaseModel
from study.errors import InputError
from study.peft_methods.attached import attach
from study.peft_methods.prefix import check_prefix
from study.spec.files import load_spec
from study.spec.hyperparameters import MethodSpec
from tests.tiny_architectures import random_base

pytestmark = pytest.mark.whole

LOADERS = {
    "AutoModelForCausalLM": peft.AutoPeftModelForCausalLM,
    "AutoModelForSeq2SeqLM": peft.AutoPeftModelForSeq2SeqLM,
    "AutoModelForSequenceClassification": peft.AutoPeftModelForSequenceClassification,
    "AutoModelForMaskedLM": peft.AutoPeftModel,
}
METHODS = {
    "lora": MethodSpec(rank=2, target_modules="attention"),
    "all layers": MethodSpec(rank=2, target_modules="attention+ffn"),
    "pissa": MethodSpec(name="pissa", rank=2),
    "dora": MethodSpec(name="dora", rank=2),
    "ia3": MethodSpec(name="ia3"),
    "prefix": MethodSpec(name="prefix", num_virtual_tokens=2),
}
CASES = [
    *(("gpt2", name) for name in ("lora", "all layers", "pissa", "dora")),  # weights transposed
    *(("bloom", "lora"), ("falcon", "all layers"), ("mixtral", "all layers")),
    *(("gpt_oss", "all layers"), ("qwen3_moe", "all layers"), ("gemma3_text", "lora")),
    *(("bert", "lora"), ("roberta", "ia3"), ("distilbert", "pissa"), ("albert", "all layers")),
    *(("bart", "lora"), ("t5", "ia3"), ("m2m_100", "prefix")),
    *(("eurobert", "lora"), ("eurobert", "pissa")),
]


def saved_base(model_type: str, folder: Path) -> BaseModel:
    """Return a random base, loaded from its files."""
    base = random_base(model_type, "cpu")
    base.model.save_pretrained(folder)
    model = type(base.model).from_pretrained(folder).eval().requires_grad_(False)
    return replace(base, model=model, name=str(folder))


@torch.no_grad()
def logits(model: Any) -> Tensor:
    """Return the model's outputs for two rows of tokens."""
    tokens = torch.arange(5, 15).view(2, 5)
    inputs: dict[str, Tensor] = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = tokens
    found: Tensor = model(**inputs).logits
    return found


@pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to")  # PEFT corrects it layer by layer
@pytest.mark.filterwarnings("ignore::FutureWarning")  # PEFT and transformers on each other
@pytest.mark.parametrize(("model_type", "name"), CASES)
def test_a_saved_adapter_opens_in_one_line(
    model_type: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loader of its task computes what was trained; the base has every bit back."""
    base = saved_base(model_type, tmp_path / "base")
    weights = {key: weight.clone() for key, weight in base.model.state_dict().items()}
    before = logits(base.model)
    attached = attach(base, METHODS[name], seed=0)
    generator = torch.Generator().manual_seed(1)
    for weight in attached.weights:
        weight.data += 0.1 * torch.randn(weight.shape, generator=generator)
    trained, files = logits(base.model), attached.files()
    attached.detach()
    after = base.model.state_dict()
    assert after.keys() == weights.keys()
    assert all(torch.equal(after[key], weight) for key, weight in weights.items())
    assert not torch.equal(trained, before)
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / files.config_name).write_text(files.config)
    (folder / files.weights_name).write_bytes(files.weights)
    monkeypatch.setattr("peft.auto.check_file_exists_on_hf_hub", lambda **_: False)
    opened = LOADERS[base.loader].from_pretrained(folder).eval()
    assert torch.allclose(logits(opened), trained, atol=1e-5)


def test_the_task_is_written_after_the_adapter_is_attached(tmp_path: Path) -> None:
    """PEFT would train a layer of its own choice, named `score` or `classifier`, for a task."""
    base = saved_base("roberta", tmp_path / "base")
    attached = attach(base, METHODS["lora"], seed=0)
    config = json.loads(attached.files().config)
    attached.detach()
    assert (config["task_type"], config["modules_to_save"]) == ("SEQ_CLS", ["classifier"])
    masked = saved_base("eurobert", tmp_path / "masked")
    attached = attach(masked, METHODS["lora"], seed=0)
    config = json.loads(attached.files().config)
    attached.detach()
    assert config["task_type"] is None
    assert config["auto_mapping"]["base_model_class"] == "AutoModelForMaskedLM"


def test_a_prefix_needs_heads_of_the_usual_width() -> None:
    """Some T5 models have others, and PEFT's keys would not fit; one line says so."""
    spec = load_spec("method-shootout")
    check_prefix(random_base("t5"), spec)
    check_prefix(random_base("m2m_100"), spec)
    with pytest.raises(InputError, match="'prefix' needs heads as wide as") as refused:
        check_prefix(random_base("t5", d_kv=4), spec)
    assert len(refused.value.problems) == 1
