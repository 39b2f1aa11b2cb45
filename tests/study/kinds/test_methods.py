"""A method's name means the right modules of every architecture."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from peft import inject_adapter_in_model

from study.errors import InputError
from study.peft_methods.configs import peft_config
from study.peft_methods.targets import (
    IA3_NAMES,
    LINEAR_NAMES,
    TARGET_SETS,
    ia3_modules,
    target_modules,
)
from study.spec.hyperparameters import MethodSpec

SMALL: dict[str, dict[str, Any]] = {
    "hidden": {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2},
    "bart": {
        "d_model": 8,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 8,
        "decoder_ffn_dim": 8,
    },
    "t5": {"d_model": 8, "num_layers": 2, "num_decoder_layers": 2, "num_heads": 2, "d_kv": 4},
    "distilbert": {"dim": 8, "n_layers": 2, "n_heads": 2, "hidden_dim": 8},
}
# model_type -> (settings, attention blocks, modules of qv / attention / attention+ffn a model)
EXPECTED: dict[str, tuple[str, tuple[int, int, int]]] = {
    "m2m_100": ("bart", (12, 24, 32)),  # 2 encoder and 2 x 2 decoder attentions, 4 feed-forwards
    "mbart": ("bart", (12, 24, 32)),
    "bart": ("bart", (12, 24, 32)),
    "marian": ("bart", (12, 24, 32)),
    "llama": ("hidden", (4, 8, 14)),
    "mistral": ("hidden", (4, 8, 14)),
    "qwen2": ("hidden", (4, 8, 14)),
    "eurobert": ("hidden", (4, 8, 14)),
    "bert": ("hidden", (4, 8, 12)),
    "roberta": ("hidden", (4, 8, 12)),
    "xlm-roberta": ("hidden", (4, 8, 12)),
    "modernbert": ("hidden", (2, 4, 8)),
    "distilbert": ("distilbert", (4, 8, 12)),
    "t5": ("t5", (12, 24, 32)),
}


def adapted(model_type: str, targets: str) -> list[str]:
    """The names of the modules that get an adapter."""
    common = {"vocab_size": 20, "pad_token_id": 1, "decoder_start_token_id": 2}
    settings = SMALL[EXPECTED[model_type][0]]
    if EXPECTED[model_type][0] == "hidden":
        settings = {**settings, "intermediate_size": 8, "num_key_value_heads": 2}
    config = transformers.AutoConfig.for_model(model_type, **common, **settings)
    with torch.device("meta"):
        model = transformers.AutoModel.from_config(config)
        inject_adapter_in_model(
            peft_config(MethodSpec(target_modules=targets), model_type), model, "default"
        )
    return [name for name, module in model.named_modules() if hasattr(module, "lora_A")]


def test_every_architecture_is_tried_here() -> None:
    """A model type that is added to the table gets its line in this test."""
    assert set(EXPECTED) | {"llada"} == set(LINEAR_NAMES)  # test_remote_code.py has that one


@pytest.mark.parametrize("model_type", EXPECTED)
def test_a_set_reaches_every_layer(model_type: str) -> None:
    """Q and V, all of attention, and the feed-forward linears are found in every layer."""
    found = tuple(len(adapted(model_type, targets)) for targets in TARGET_SETS)
    assert found == EXPECTED[model_type][1]


def test_a_list_of_modules_is_taken_as_it_is() -> None:
    """Names apart from the sets are module names, for any architecture."""
    assert target_modules("q_proj, v_proj", "unheard_of") == ["q_proj", "v_proj"]
    assert adapted("m2m_100", "fc1") == [
        f"{side}.layers.{i}.fc1" for side in ("encoder", "decoder") for i in range(2)
    ]


def test_empty_names_are_no_modules() -> None:
    """A comma too many does not add a module without a name."""
    assert target_modules("q_proj,,v_proj, ", "m2m_100") == ["q_proj", "v_proj"]


def test_a_set_of_an_unknown_architecture_is_refused() -> None:
    """The line says what to name instead, and for which architectures sets are known."""
    with pytest.raises(InputError) as refused:
        target_modules("attention", "gpt_neox")
    (line,) = refused.value.problems
    assert "'attention' is unknown for 'gpt_neox' models; name the modules" in line
    assert "m2m_100" in line


def test_the_config_is_the_methods() -> None:
    """Rank, α, dropout and rsLoRA arrive in PEFT's configuration, a whole α as an integer."""
    method = MethodSpec(rank=4, alpha=12, dropout=0.25, target_modules="qv", use_rslora=True)
    config = peft_config(method, "m2m_100")
    assert (config.r, config.lora_alpha, config.lora_dropout) == (4, 12, 0.25)
    assert isinstance(config.lora_alpha, int)
    assert config.use_rslora
    assert config.target_modules == {"q_proj", "v_proj"}
    assert peft_config(MethodSpec(alpha=1.5), "m2m_100").lora_alpha == 1.5


def test_ia3_is_known_for_every_architecture() -> None:
    """Keys, values and a feed-forward linear are named wherever they are linears of their own."""
    assert set(IA3_NAMES) == set(LINEAR_NAMES) - {"modernbert", "llada"}
    for model_type, (scaled, feed_forward) in IA3_NAMES.items():
        assert set(scaled) <= set(LINEAR_NAMES[model_type][1])
        assert set(feed_forward) <= set(LINEAR_NAMES[model_type][2])
    with pytest.raises(InputError, match="'ia3' does not know the modules of 'gpt_neox' models"):
        ia3_modules("gpt_neox")
