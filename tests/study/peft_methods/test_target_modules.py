"""The sets of target modules are found in a model, and PEFT adapts exactly these."""

from __future__ import annotations

from dataclasses import replace

import pytest
import transformers
from peft import LoraConfig, get_peft_model
from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as PEFT_DEFAULTS

from benchmarks.tiny_models import tiny_config
from study.bases.load import BaseModel
from study.errors import InputError
from study.peft_methods import targets
from study.peft_methods.attached import attach
from study.peft_methods.configs import peft_config
from study.peft_methods.ia3 import ia3_targets
from study.peft_methods.layers import shortest_suffixes
from study.peft_methods.targets import (
    TASK_TYPES,
    Targets,
    check_lora,
    find_targets,
    suffixes_of,
    why_not_packed,
)
from study.spec.files import load_spec
from study.spec.hyperparameters import MethodSpec, TrainingSpec
from tests.tiny_architectures import TINY, random_base

_M2M = ("q_proj", "v_proj"), ("q_proj", "k_proj", "v_proj", "out_proj"), ("fc1", "fc2")
_LLAMA = (
    ("q_proj", "v_proj"),
    ("q_proj", "k_proj", "v_proj", "o_proj"),
    ("gate_proj", "up_proj", "down_proj"),
)
_BERT = (
    ("query", "value"),
    ("query", "key", "value", "attention.output.dense"),
    ("intermediate.dense", "output.dense"),
)
_DISTILBERT = ("q_lin", "v_lin"), ("q_lin", "k_lin", "v_lin", "out_lin"), ("lin1", "lin2")
_T5 = ("q", "v"), ("q", "k", "v", "o"), ("wi", "wi_0", "wi_1", "wo")
BY_HAND = {
    **dict.fromkeys(("m2m_100", "mbart", "bart", "marian", "pegasus"), _M2M),
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "gemma2", "eurobert"), _LLAMA),
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "electra"), _BERT),
    "distilbert": _DISTILBERT,
    **dict.fromkeys(("t5", "mt5"), _T5),
    "modernbert": ((), ("attn.Wqkv", "attn.Wo"), ("mlp.Wi", "mlp.Wo")),
    "gpt2": ((), ("attn.c_attn", "attn.c_proj"), ("mlp.c_fc", "mlp.c_proj")),
    "opt": (("q_proj", "v_proj"), ("q_proj", "k_proj", "v_proj", "out_proj"), ("fc1", "fc2")),
    "phi": (("q_proj", "v_proj"), ("q_proj", "k_proj", "v_proj", "dense"), ("fc1", "fc2")),
    "phi3": ((), ("qkv_proj", "o_proj"), ("gate_up_proj", "down_proj")),
    "bloom": ((), ("query_key_value", "self_attention.dense"), ("dense_h_to_4h", "dense_4h_to_h")),
    "falcon": ((), ("query_key_value", "self_attention.dense"), ("dense_h_to_4h", "dense_4h_to_h")),
    "gpt_neox": ((), ("query_key_value", "attention.dense"), ("dense_h_to_4h", "dense_4h_to_h")),
    "deberta-v2": (
        ("query_proj", "value_proj"),
        ("query_proj", "key_proj", "value_proj", "pos_key_proj", "attention.output.dense"),
        ("intermediate.dense", "output.dense"),
    ),
    "albert": (
        ("query", "value"),
        ("query", "key", "value", "attention.dense"),
        ("ffn", "ffn_output"),
    ),
}
"""Model type -> names of the query and value, the attention, and the feed-forward layers."""

EXPERTS = ["down_proj", "gate_up_proj"]


def ending_in(base: object, names: tuple[str, ...]) -> set[str]:
    """Return the model's modules whose names end in one of these."""
    endings = tuple(f".{name}" for name in names)
    modules = base.model.named_modules()  # type: ignore[attr-defined]
    return {name for name, _ in modules if name.endswith(endings)}


@pytest.mark.parametrize("model_type", BY_HAND)
def test_sets_hold_the_layers_that_a_person_would_name(model_type: str) -> None:
    """Q and V, all of attention, and the feed-forward layers are found in every block."""
    qv, attention, feed_forward = BY_HAND[model_type]
    base = random_base(model_type)
    found = {
        named: set(find_targets(base, named).modules) for named in ("attention", "attention+ffn")
    }
    assert found["attention"] == ending_in(base, attention)
    assert found["attention+ffn"] == ending_in(base, attention + feed_forward)
    if qv:
        assert set(find_targets(base, "qv").modules) == ending_in(base, qv)


@pytest.mark.parametrize("model_type", [name for name, names in BY_HAND.items() if not names[0]])
def test_qv_needs_a_query_and_a_value_layer(model_type: str) -> None:
    """Where one layer computes both, one line says so and names what attention has."""
    with pytest.raises(InputError, match="'qv' needs separate query and value layers") as refused:
        find_targets(random_base(model_type), "qv")
    (line,) = refused.value.problems
    attention = suffixes_of(base := random_base(model_type), find_targets(base, "attention").names)[
        0
    ]
    assert ", ".join(attention) in line


AT_ONCE = ("m2m_100", "gpt2", "bert", "gemma3_text", "mixtral")
"""Types that the default tests try; `nox -s whole` tries the others."""


@pytest.mark.filterwarnings("ignore:The following .*_pattern keys")  # PEFT of mixtures
@pytest.mark.parametrize(
    "model_type",
    [
        pytest.param(name, marks=() if name in AT_ONCE else pytest.mark.whole)
        for name in TINY
        if name != "mamba"
    ],
)
def test_all_linear_and_default_are_what_peft_selects(model_type: str) -> None:
    """PEFT, asked with its own words and the task, adapts the same modules; a head is left out."""
    base = random_base(model_type)
    own = {"all-linear": "all-linear", "default": PEFT_DEFAULTS.get(model_type)}
    for named, modules in own.items():
        if modules is None:
            continue
        task = TASK_TYPES.get(base.loader)
        transposed = model_type == "gpt2"
        config = LoraConfig(target_modules=modules, task_type=task, fan_in_fan_out=transposed)
        config.modules_to_save = base.head or None
        fresh = random_base(model_type).model
        get_peft_model(fresh, config)
        adapted = {
            name.removesuffix(".base_layer")
            for name, module in fresh.named_modules()
            if hasattr(module, "lora_A")
        }
        found = find_targets(base, named)
        assert adapted == {*found.modules, *(name.rpartition(".")[0] for name in found.weights)}


@pytest.mark.parametrize(
    "model_type", ["gpt2", "mixtral", "qwen2_moe", "bert", "roberta", "modernbert", "bart", "mamba"]
)
def test_names_in_the_configuration_select_exactly_the_set(model_type: str) -> None:
    """A pooler, a head or another part of the same name gets no adapter."""
    sets = ("default", "all-linear") if model_type == "mamba" else ("attention", "attention+ffn")
    for named in sets:
        base = random_base(model_type)
        found = find_targets(base, named)
        attach(base, MethodSpec(target_modules=named), seed=0)
        adapted = [n for n, module in base.model.named_modules() if hasattr(module, "lora_A")]
        assert len(adapted) == len(found.names)
        assert {*found.modules} <= {*adapted}


def test_pefts_default_comes_first_then_qv_then_all_layers() -> None:
    """Fused GPT-2 has c_attn, M2M100 query and value, and Phi-3, unknown to PEFT, all of them."""
    suffixes = {
        name: suffixes_of(base := random_base(name), find_targets(base, "default").names)[0]
        for name in ("gpt2", "m2m_100", "distilbert", "llama", "phi", "phi3")
    }
    assert suffixes == {
        "gpt2": ["c_attn"],
        "m2m_100": ["q_proj", "v_proj"],
        "distilbert": ["q_lin", "v_lin"],
        "llama": ["q_proj", "v_proj"],
        "phi": ["fc1", "fc2", "q_proj", "v_proj"],
        "phi3": ["down_proj", "gate_up_proj", "o_proj", "qkv_proj"],
    }


def test_berts_pooler_is_linear_and_a_fresh_one_is_part_of_the_head() -> None:
    """PEFT's all-linear adapts it, unless it is new and therefore trained in full."""
    base = random_base("bert")
    assert "bert.pooler.dense" in find_targets(base, "all-linear").modules
    fresh = replace(base, fresh=frozenset({"bert.pooler.dense.weight"}))
    assert "bert.pooler.dense" not in find_targets(fresh, "all-linear").modules


@pytest.mark.parametrize("model_type", ["mixtral", "qwen3_moe", "gpt_oss", "qwen2_moe"])
def test_experts_and_routers_are_adapted_and_not_packed(model_type: str) -> None:
    """transformers stores them as parameters, which only PEFT adapts."""
    base = random_base(model_type)
    found = find_targets(base, "attention+ffn")
    router = {"gpt_oss": "router.weight"}.get(model_type, "gate.weight")
    assert suffixes_of(base, found.weights)[1] == sorted([*EXPERTS, router])
    reason = why_not_packed(MethodSpec(target_modules="attention+ffn"), TrainingSpec(), base)
    assert reason is not None
    assert "weights of a mixture of experts (down_proj, " in reason
    assert why_not_packed(MethodSpec(target_modules="attention"), TrainingSpec(), base) is None


def test_a_list_may_name_linear_layers_and_experts() -> None:
    """Names beside the sets are names of layers, whatever the architecture."""
    base = random_base("m2m_100")
    assert set(find_targets(base, "fc1").modules) == ending_in(base, ("fc1",))
    assert find_targets(base, "q_proj, v_proj,") == find_targets(base, "qv")
    assert suffixes_of(base := random_base("gpt2"), find_targets(base, "mlp.c_proj").names)[0] == [
        "mlp.c_proj"
    ]
    experts = find_targets(random_base("mixtral"), "experts.down_proj")
    assert (len(experts.modules), len(experts.weights)) == (0, 2)


@pytest.mark.parametrize(
    ("model_type", "named", "expected"),
    [
        ("m2m_100", "q_proj,nonsense", "'nonsense' matches no module"),
        ("m2m_100", "(q|v)_proj", "matches no module"),
        ("m2m_100", ".*", "matches no module"),
        ("m2m_100", ",", "matches no module"),
        ("m2m_100", "embed_tokens", "takes no adapter, got M2M100ScaledWordEmbedding"),
        ("m2m_100", "final_layer_norm", "takes no adapter, got LayerNorm"),
        ("m2m_100", "self_attn", "takes no adapter, got M2M100Attention"),
        ("gpt2", "lm_head", "takes no adapter, got the vocabulary's layer"),
        ("roberta", "classifier.dense", "got the head, which is trained in full"),
        ("mixtral", "mlp.gate", "takes no adapter, got MixtralTopKRouter"),
        ("mamba", "attention", "needs attention layers, got a 'mamba' model"),
    ],
)
def test_names_that_take_no_adapter_are_refused(model_type: str, named: str, expected: str) -> None:
    """One line says why; a regular expression is not searched for."""
    with pytest.raises(InputError) as refused:
        find_targets(random_base(model_type), named)
    (line,) = refused.value.problems
    assert expected in line


def test_a_space_with_a_set_that_the_model_lacks_is_refused_with_what_to_write() -> None:
    """GPT-2 computes query, key and value in one layer: the line has the sets that it has."""
    spec = load_spec("petroleum-wide", {"search.space": "lora-wide"})
    with pytest.raises(InputError) as refused:
        check_lora(random_base("gpt2"), spec)
    (line,) = refused.value.problems
    assert line.startswith("search.parameters.target_modules: 'qv' needs separate query and value")
    assert line.endswith('= { choices = ["attention", "attention+ffn"] }')
    kept = {"search.parameters.target_modules": {"choices": ["attention", "attention+ffn"]}}
    check_lora(random_base("gpt2"), load_spec("petroleum-wide", kept))


def test_a_name_shared_with_the_head_means_the_body() -> None:
    """In RoBERTa `dense` also names a part of the head, which is trained in full anyway."""
    base = random_base("roberta")
    assert not any("classifier" in name for name in find_targets(base, "dense").modules)


def test_the_config_is_the_methods() -> None:
    """Rank, α, dropout and rsLoRA arrive in PEFT's configuration, a whole α as an integer."""
    base = random_base("m2m_100")
    method = MethodSpec(rank=4, alpha=12, dropout=0.25, target_modules="qv", use_rslora=True)
    config = peft_config(method, base)
    assert (config.r, config.lora_alpha, config.lora_dropout) == (4, 12, 0.25)
    assert isinstance(config.lora_alpha, int)
    assert config.use_rslora
    assert config.target_modules == {"q_proj", "v_proj"}
    assert peft_config(MethodSpec(alpha=1.5), base).lora_alpha == 1.5


def test_suffixes_are_as_short_as_possible() -> None:
    """A suffix that another module shares is lengthened until only the chosen ones have it."""
    names = ["a.attn.dense", "a.mlp.dense", "b.attn.dense", "b.mlp.dense", "pooler.dense", "a.out"]
    assert shortest_suffixes(["a.attn.dense", "b.attn.dense"], names) == ["attn.dense"]
    assert shortest_suffixes(["a.attn.dense"], names) == ["a.attn.dense"]
    assert shortest_suffixes([n for n in names if "dense" in n], names) == ["dense"]


@pytest.mark.parametrize(
    ("model_type", "outputs", "inputs"),
    [
        ("m2m_100", ["k_proj", "v_proj"], ["fc2"]),
        ("mbart", ["k_proj", "v_proj"], ["fc2"]),
        ("marian", ["k_proj", "v_proj"], ["fc2"]),
        ("llama", ["k_proj", "v_proj"], ["down_proj"]),
        ("eurobert", ["k_proj", "v_proj"], ["down_proj"]),
        ("bert", ["key", "value"], ["output.dense"]),
        ("xlm-roberta", ["key", "value"], ["output.dense"]),
        ("electra", ["key", "value"], ["0.output.dense", "1.output.dense"]),
        ("albert", ["key", "value"], ["ffn_output"]),
        ("distilbert", ["k_lin", "v_lin"], ["lin2"]),
        ("t5", ["k", "v"], ["wo"]),
        ("gpt2", ["c_attn"], ["mlp.c_proj"]),
        ("opt", ["q_proj", "k_proj"], ["fc2"]),
    ],
)
def test_ia3_scales_keys_values_and_what_leads_back(
    model_type: str, outputs: list[str], inputs: list[str]
) -> None:
    """PEFT's own modules come first; elsewhere they are read off the model."""
    assert ia3_targets(random_base(model_type)) == (outputs, inputs)


@pytest.mark.parametrize("model_type", ["modernbert", "phi3", "mixtral", "mamba"])
def test_ia3_is_refused_where_it_has_nothing_to_scale(model_type: str) -> None:
    """Fused keys and values, and experts that are parameters, are named in one line."""
    with pytest.raises(InputError, match="'ia3' needs separate key and value layers"):
        ia3_targets(random_base(model_type))


def test_equal_widths_leave_the_last_layer_of_each_block() -> None:
    """With an inner width like the outer one, the order tells which layer leads back."""
    base = random_base("electra", intermediate_size=16)
    assert ia3_targets(base)[1] == ["0.output.dense", "1.output.dense"]


def test_all_linear_leaves_out_routers() -> None:
    """Llama 4's router is a linear layer that returns two tensors."""
    model = transformers.AutoModelForCausalLM.from_config(tiny_config("llama4_text")).eval()
    names = find_targets(BaseModel(model, None, "", loader="AutoModelForCausalLM"), "all-linear")
    assert any("q_proj" in name for name in names.names)
    assert not [name for name in names.names if name.endswith("router")]


def test_all_linear_is_never_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where PEFT finds no linear layer, one line says so and what may be named."""
    monkeypatch.setattr(targets, "_selected_by_peft", lambda *_: Targets(()))
    with pytest.raises(InputError, match=r"PEFT finds none in this 'llama' model; allowed: def"):
        find_targets(random_base("llama"), "all-linear")


def test_target_modules_are_names_and_never_patterns() -> None:
    """A pattern that would backtrack without end is compared as it stands, and names nothing."""
    with pytest.raises(InputError, match="matches no module of this 'llama' model"):
        find_targets(random_base("llama"), "(.*)*(.*)*(.*)*(.*)*(.*)*x")
