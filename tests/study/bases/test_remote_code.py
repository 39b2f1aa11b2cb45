"""A model with code of its own, written as LLaDA's: refused without the flag, studied with it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from study.bases.load import load_base
from study.errors import InputError
from study.preparing.trial_cost import trial_cost
from study.spec.sections import StudySpec
from study.tasks.masked_diffusion import MaskedDiffusionTask
from study.trials import search_config
from tests.engine_runs import Bench, assert_same_result, bench_of

CONFIGURATION = """
from transformers import PretrainedConfig


class OwnConfig(PretrainedConfig):
    model_type = "llada"

    def __init__(self, d_model=8, vocab_size=300, weight_tying=False, masks=False, **others):
        self.d_model, self.vocab_size = d_model, vocab_size
        self.weight_tying, self.masks = weight_tying, masks
        super().__init__(**others)
"""

MODELING = """
import torch
from torch import nn
from torch.nn import functional as F
from transformers import AutoModel, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from .configuration_own import OwnConfig


class Block(nn.Module):
    def __init__(self, D):
        super().__init__()
        self.q_proj = nn.Linear(D, D, bias=False)
        self.k_proj = nn.Linear(D, D, bias=False)
        self.v_proj = nn.Linear(D, D, bias=False)
        self.attn_out = nn.Linear(D, D, bias=False)
        self.ff_proj = nn.Linear(D, 2 * D, bias=False)
        self.up_proj = nn.Linear(D, 2 * D, bias=False)
        self.ff_out = nn.Linear(2 * D, D, bias=False)

    def forward(self, x, mask):
        q, k, v = (p(x)[:, None] for p in (self.q_proj, self.k_proj, self.v_proj))
        x = x + self.attn_out(F.scaled_dot_product_attention(q, k, v, attn_mask=mask)[:, 0])
        return x + self.ff_out(F.silu(self.ff_proj(x)) * self.up_proj(x))


class Inner(nn.Module):
    def __init__(self, config):
        super().__init__()
        D = config.d_model
        self.masks = config.masks
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(config.vocab_size, D),
                "wpe": nn.Embedding(128, D),
                "blocks": nn.ModuleList([Block(D), Block(D)]),
                "ff_out": nn.Linear(D, config.vocab_size, bias=False),
            }
        )

    def forward(self, input_ids, attention_mask):
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        x = self.transformer.wte(input_ids) + self.transformer.wpe(places)
        mask = None
        if self.masks and attention_mask is not None:
            mask = attention_mask[:, None, None].bool()
        for block in self.transformer.blocks:
            x = block(x, mask)
        return self.transformer.ff_out(x)


class OwnModelLM(PreTrainedModel):
    config_class = OwnConfig
    base_model_prefix = "model"

    def __init__(self, config):
        super().__init__(config)
        self.model = Inner(config)

    def forward(self, input_ids=None, attention_mask=None, labels=None):
        return CausalLMOutputWithPast(logits=self.model(input_ids, attention_mask))

    def can_generate(self):
        return True

    def get_input_embeddings(self):
        return self.model.transformer.wte

    def get_output_embeddings(self):
        return self.model.transformer.ff_out

    def tie_weights(self):
        if self.config.weight_tying:
            self.model.transformer.ff_out = self.model.transformer.wte


AutoModel.register(OwnConfig, OwnModelLM)
"""

BLOCK = {
    **dict.fromkeys(("q_proj", "k_proj", "v_proj", "attn_out"), (8, 8)),
    "ff_proj": (16, 8),
    "up_proj": (16, 8),
    "ff_out": (8, 16),
}


def write_checkpoint(folder: Path, tokenizer_from: Path, masks: bool) -> Path:
    """Write weights, a tokenizer and code, as LLaDA's repository holds them."""
    folder.mkdir()
    (folder / "configuration_own.py").write_text(CONFIGURATION)
    (folder / "modeling_own.py").write_text(MODELING)
    mapped = {"AutoConfig": "configuration_own.OwnConfig", "AutoModel": "modeling_own.OwnModelLM"}
    config = {"model_type": "llada", "auto_map": mapped, "masks": masks, "vocab_size": 300}
    (folder / "config.json").write_text(json.dumps(config))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tokenizer_from / name, folder / name)
    generator = torch.Generator().manual_seed(0)
    shapes = {"wte": (300, 8), "wpe": (128, 8), "ff_out": (300, 8)}
    shapes |= {f"blocks.{n}.{name}": shape for n in (0, 1) for name, shape in BLOCK.items()}
    tensors = {
        f"model.transformer.{name}.weight": 0.3 * torch.randn(shape, generator=generator)
        for name, shape in shapes.items()
    }
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


MakeSpec = Callable[..., StudySpec]


@pytest.fixture(scope="module", params=[False, True], ids=["reads padding", "hides padding"])
def own_spec(
    request: pytest.FixtureRequest,
    tiny_masked: Path,
    make_masked_spec: MakeSpec,
    tmp_path_factory: pytest.TempPathFactory,
) -> MakeSpec:
    """Return a function that makes a study of a model with its own code."""
    folder = tmp_path_factory.mktemp("own") / f"own_{request.param}"
    write_checkpoint(folder, tiny_masked / "base", masks=request.param)

    def make(trusted: bool = True) -> StudySpec:
        return make_masked_spec({"base.model": str(folder), "base.trust_remote_code": trusted})

    return make


def test_code_is_not_run_without_the_flag(own_spec: MakeSpec) -> None:
    """One line says what to read and what to set, wherever the model is asked for."""
    spec = own_spec(trusted=False)
    asked: list[Callable[[], Any]] = [
        lambda: bench_of(spec),
        lambda: load_base(spec.base.model, spec.base, spec.task, skeleton=True),
        lambda: trial_cost(spec),
    ]
    for ask in asked:
        with pytest.raises(InputError, match=r"set base.trust_remote_code = true") as refused:
            ask()
        assert len(refused.value.problems) == 1


def test_a_model_with_its_own_code_is_studied_as_any_other(own_spec: MakeSpec) -> None:
    """Packed or alone trials are equal, also where the model reads its padding."""
    bench: Bench = bench_of(own_spec())
    points: list[dict[str, Any]] = [  # Adam would enlarge what rounding leaves of no gradient
        {"rank": 4, "alpha": 8, "target_modules": "attention", "optimizer": "sgd"},
        {"rank": 2, "alpha": 8, "target_modules": "attention+ffn", "optimizer": "sgd"},
    ]
    configs = [search_config(bench.spec, n, point, n) for n, point in enumerate(points)]
    packed = bench.together(configs)
    for config in configs:
        assert_same_result(packed[config.number], bench.alone(config))


def test_what_it_costs_is_known_without_its_weights(own_spec: MakeSpec) -> None:
    """`check` builds the model's own class on no memory."""
    found = trial_cost(own_spec())
    assert found["base_parameters"] == 300 * 8 * 2 + 128 * 8 + 2 * (4 * 64 + 3 * 128)


def test_padding_that_is_read_makes_all_rows_one_width(own_spec: MakeSpec) -> None:
    """A row's answer is the same whatever it is batched with, whether or not masks are obeyed."""
    bench = bench_of(own_spec())
    assert isinstance(bench.task, MaskedDiffusionTask)
    dev = bench.task.examples("dev")
    config = search_config(bench.spec, 0, {}, 0)
    alone = [
        bench.task.predict(
            bench.base.model, bench.task.collate([example], config, torch.Generator())
        )[0]
        for example in dev[:4]
    ]
    together = bench.task.collate(dev[:4], config, torch.Generator())
    assert bench.task.predict(bench.base.model, together) == alone
    hides = bench.base.model.config.masks
    assert ("attention_mask" in together.inputs) == hides
