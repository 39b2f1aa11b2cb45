"""Which modules of an architecture a method adapts, and whether a model has them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from study.bases.load import BaseModel
from study.errors import InputError
from study.kinds.methods import INITIAL_WEIGHTS, METHODS
from study.kinds.optimizers import OPTIMIZERS
from study.kinds.table_names import imported
from study.spec.hyperparameters import MethodSpec, TrainingSpec
from study.spec.sections import StudySpec

TARGET_SETS = ("qv", "attention", "attention+ffn")

# PEFT has no default target modules for m2m_100 and others, so they are named here.
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
# one linear layer computes query, key and value
_MODERNBERT = ("attn.Wqkv",), ("attn.Wqkv", "attn.Wo"), ("mlp.Wi", "mlp.Wo")
# without the blocks' ff_out: PEFT would also adapt the output head of the same name
_LLADA = ("q_proj", "v_proj"), ("q_proj", "k_proj", "v_proj", "attn_out"), ("ff_proj", "up_proj")
_T5 = ("q", "v"), ("q", "k", "v", "o"), ("wi", "wi_0", "wi_1", "wo")

LINEAR_NAMES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "m2m_100": _M2M,
    "mbart": _M2M,
    "bart": _M2M,
    "marian": _M2M,
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "eurobert": _LLAMA,
    "bert": _BERT,
    "roberta": _BERT,
    "xlm-roberta": _BERT,
    "distilbert": _DISTILBERT,
    "modernbert": _MODERNBERT,
    "t5": _T5,
    "llada": _LLADA,
}
"""model_type -> names of the query and value, all attention, and feed-forward layers."""

_IA3_BART = ("k_proj", "v_proj"), ("fc2",)
_IA3_LLAMA = ("k_proj", "v_proj"), ("down_proj",)
_IA3_BERT = ("key", "value"), ("output.dense",)

IA3_NAMES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    **dict.fromkeys(("m2m_100", "mbart", "bart", "marian"), _IA3_BART),
    **dict.fromkeys(("llama", "mistral", "qwen2", "eurobert"), _IA3_LLAMA),
    **dict.fromkeys(("bert", "roberta", "xlm-roberta"), _IA3_BERT),
    "distilbert": (("k_lin", "v_lin"), ("lin2",)),
    "t5": (("k", "v"), ("wo",)),
}
"""model_type -> layers whose output IA³ scales, and feed-forward ones whose input it scales."""


def target_modules(named: str, model_type: str) -> list[str]:
    """Return the module names in a set, or in a comma-separated list.

    Raises:
        InputError: the set is not known for this architecture.
    """
    if named not in TARGET_SETS:
        return [name.strip() for name in named.split(",") if name.strip()]
    if model_type not in LINEAR_NAMES:
        raise InputError(
            f"method.target_modules: the set {named!r} is unknown for {model_type!r} models; "
            f"name the modules, as in 'q_proj,v_proj'; sets are known for {', '.join(LINEAR_NAMES)}"
        )
    qv, attention, feed_forward = LINEAR_NAMES[model_type]
    return list(
        {"qv": qv, "attention": attention, "attention+ffn": attention + feed_forward}[named]
    )


def check_targets(model: Any, named: Iterable[str]) -> None:
    """Raise InputError for target modules that the model lacks or that take no adapter."""
    for choice in named:
        targets = target_modules(choice, model.config.model_type)
        names = [f".{name}" for name, _ in model.named_modules()]
        matches = {t: [n[1:] for n in names if n.endswith(f".{t}")] for t in targets}
        missing = [] if choice in TARGET_SETS else [t for t in targets if not matches[t]]
        if missing or not any(matches.values()):
            raise InputError(
                f"method.target_modules: {', '.join(map(repr, missing)) or repr(choice)} matches "
                f"no module of this {model.config.model_type!r} model; allowed: "
                f"{', '.join(TARGET_SETS)}, or names of its linear layers"
            )
        if choice not in TARGET_SETS:
            _check_linear(model, [name for matching in matches.values() for name in matching])


def _check_linear(model: Any, names: Sequence[str]) -> None:
    """Refuse embeddings, norms, whole blocks, and the output head, which may be tied."""
    from torch import nn

    for name in names:
        module = model.get_submodule(name)
        linear = isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"
        if not linear or module is model.get_output_embeddings():
            kind = "the vocabulary's layer" if linear else type(module).__name__
            raise InputError(
                f"method.target_modules: {name!r} takes no adapter, got {kind}; allowed: "
                f"{', '.join(TARGET_SETS)}, or names of this model's linear layers"
            )


def check_methods(model: Any, spec: StudySpec) -> None:
    """Raise InputError if a method of the study has no modules in this model."""
    checks = dict.fromkeys(METHODS[name].check for name in spec.methods)
    for check in filter(None, checks):
        imported(check)(model, spec)


def check_lora(model: Any, spec: StudySpec) -> None:
    """Check the targets and ranks of LoRA and its variants."""
    check_targets(model, spec.values_of("target_modules"))
    check_ranks(model, spec)


def check_ia3(model: Any, spec: StudySpec) -> None:
    """Raise InputError if IA³'s modules are unknown for this architecture."""
    ia3_modules(model.config.model_type)


def check_ranks(model: Any, spec: StudySpec) -> None:
    """Raise InputError for a rank larger than the smallest adapted weight allows."""
    in_weight = {name for name, pair in INITIAL_WEIGHTS.items() if pair is not None}
    by_key = in_weight & {*spec.values_of("init_lora_weights")}
    by_name = {m for m in spec.methods if METHODS[m].decides.get("init_lora_weights") in in_weight}
    methods = [
        m for m in spec.methods if m in by_name or (by_key and METHODS[m].has("init_lora_weights"))
    ]
    kinds = by_key | by_name
    for choice in spec.values_of("target_modules") if kinds else ():
        layers = targeted_modules(model, choice)
        name = min(layers, key=lambda n: min(layers[n].weight.shape))
        most, rank = min(layers[name].weight.shape), max(_ranks(spec, methods))
        if rank > most:
            raise InputError(
                f"method.rank: {' and '.join(sorted(kinds))}: the adapter begins in the weight, "
                f"got {rank}; allowed: at most {most}, the smaller side of {name!r}"
            )


def _ranks(spec: StudySpec, methods: Iterable[str]) -> tuple[int, ...]:
    """Return the ranks that trials of these methods may have."""
    if any("rank" in spec.search.parameters and spec.search.may_hold("rank", m) for m in methods):
        return spec.values_of("rank")
    return (spec.method.rank,)


def ia3_modules(model_type: str) -> tuple[list[str], list[str]]:
    """Return the layers whose output IA³ scales, and those whose input it scales."""
    if model_type not in IA3_NAMES:
        raise InputError(
            f"method.name: 'ia3' does not know the modules of {model_type!r} models; "
            f"allowed: {', '.join(IA3_NAMES)}"
        )
    scaled, feed_forward = IA3_NAMES[model_type]
    return list(scaled), list(feed_forward)


def targeted_modules(model: Any, named: str) -> dict[str, Any]:
    """Return the layers that PEFT would adapt, by name; `named` is as in the study file."""
    from peft import LoraConfig
    from peft.tuners.tuners_utils import check_target_module_exists

    config = LoraConfig(target_modules=target_modules(named, model.config.model_type))
    return {
        name: module
        for name, module in model.named_modules()
        if check_target_module_exists(config, name)
    }


def why_not_packed(method: MethodSpec, training: TrainingSpec, base: BaseModel) -> str | None:
    """Return why a training cannot share a forward pass with others, or None if it can."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    if not METHODS[method.name].packs:
        return f"method {method.name!r}"
    if training.base_dropout:
        return "training.base_dropout"
    if not OPTIMIZERS[training.optimizer].packs:
        return f"optimizer {training.optimizer!r}"
    adapted = targeted_modules(base.model, method.target_modules).values()
    heads = [base.model.get_submodule(name) for name in base.head]
    whole = [m for head in heads for m in head.modules() if list(m.parameters(recurse=False))]
    # by type: what a subclass computes in its own `forward` would be replaced
    others = sorted(
        {type(m).__name__ for m in adapted if type(m) not in (nn.Linear, Conv1D)}
        | {type(m).__name__ for m in whole if type(m) is not nn.Linear}
    )
    return f"{', '.join(others)} among the trained layers" if others else None
