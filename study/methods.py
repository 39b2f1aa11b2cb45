"""The PEFT methods as data: what a method's name means for a given architecture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from study.base_models import BaseModel
from study.errors import InputError
from study.hyperparameters import MethodSpec, TrainingSpec

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
_T5 = ("q", "v"), ("q", "k", "v", "o"), ("wi", "wi_0", "wi_1", "wo")

LINEAR_NAMES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "m2m_100": _M2M,
    "mbart": _M2M,
    "bart": _M2M,
    "marian": _M2M,
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "bert": _BERT,
    "roberta": _BERT,
    "distilbert": _DISTILBERT,
    "t5": _T5,
}
"""model_type -> names of the query and value, of all attention, of the feed-forward linears."""


def target_modules(named: str, model_type: str) -> list[str]:
    """Return the module names of a set, or of a comma-separated list as it is.

    Raises:
        InputError: the set is not known for this architecture.
    """
    if named not in TARGET_SETS:
        return [name.strip() for name in named.split(",") if name.strip()]
    if model_type not in LINEAR_NAMES:
        raise InputError(
            f"method.target_modules: the set {named!r} is not known for {model_type!r} models; "
            f"name the modules, as in 'q_proj,v_proj'; sets are known for {', '.join(LINEAR_NAMES)}"
        )
    qv, attention, feed_forward = LINEAR_NAMES[model_type]
    return list(
        {"qv": qv, "attention": attention, "attention+ffn": attention + feed_forward}[named]
    )


def check_targets(model: Any, named: Iterable[str]) -> None:
    """Raise InputError for a set of target modules that matches nothing in the model."""
    names = [name for name, _ in model.named_modules()]
    for choice in named:
        targets = target_modules(choice, model.config.model_type)
        if not any(f".{name}".endswith(f".{target}") for name in names for target in targets):
            raise InputError(
                f"method.target_modules: {choice!r} matches no module of this "
                f"{model.config.model_type!r} model; allowed: {', '.join(TARGET_SETS)}, "
                "or names of its linear layers"
            )


def targeted_modules(model: Any, named: str) -> dict[str, Any]:
    """Return the layers that PEFT would adapt, by name, for targets as in the study file."""
    from peft import LoraConfig
    from peft.tuners.tuners_utils import check_target_module_exists

    config = LoraConfig(target_modules=target_modules(named, model.config.model_type))
    return {
        name: module
        for name, module in model.named_modules()
        if check_target_module_exists(config, name)
    }


def why_not_packed(method: MethodSpec, training: TrainingSpec, base: BaseModel) -> str | None:
    """Return why a training cannot share a forward pass with others, or None where it can."""
    from torch import nn

    if method.name != "lora":
        return f"method {method.name!r}"
    if training.base_dropout:
        return "training.base_dropout"
    named = list(targeted_modules(base.model, method.target_modules).values())
    heads = [base.model.get_submodule(name) for name in base.head]
    named += [m for head in heads for m in head.modules() if list(m.parameters(recurse=False))]
    others = sorted({type(m).__name__ for m in named if type(m) is not nn.Linear})
    return f"{', '.join(others)} among the trained layers" if others else None


def peft_config(
    method: MethodSpec,
    model_type: str,
    head: Sequence[str] = (),
    tokens: Mapping[str, Sequence[int]] | None = None,
) -> Any:
    """Return PEFT's configuration of a method on an architecture.

    `head` is trained in full; of the layers in `tokens` the named rows are.
    """
    from peft import LoraConfig

    return LoraConfig(
        r=method.rank,
        lora_alpha=int(method.alpha) if method.alpha.is_integer() else method.alpha,
        lora_dropout=method.dropout,
        target_modules=target_modules(method.target_modules, model_type),
        use_rslora=method.use_rslora,
        modules_to_save=list(head) or None,
        trainable_token_indices={name: list(rows) for name, rows in (tokens or {}).items()} or None,
        bias="none",
    )
