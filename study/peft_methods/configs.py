"""PEFT's configurations of the methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from study.kinds.methods import METHODS
from study.kinds.table_names import imported
from study.peft_methods.targets import ia3_modules, target_modules
from study.spec.hyperparameters import MethodSpec

Tokens = Mapping[str, Sequence[int]] | None


def peft_config(
    method: MethodSpec, model_type: str, head: Sequence[str] = (), tokens: Tokens = None
) -> Any:
    """Return PEFT's configuration of a method on an architecture.

    `head` is trained in full; in the layers of `tokens`, only the given rows are trained.
    """
    path = METHODS[method.name].config
    assert path is not None, "full fine-tuning has no PEFT configuration"
    return imported(path)(method, model_type, list(head) or None, tokens)


def lora_config(method: MethodSpec, model_type: str, head: list[str] | None, tokens: Tokens) -> Any:
    """LoRA: Hu et al. 2021 (arXiv:2106.09685), and its variants."""
    from peft import LoraConfig

    return LoraConfig(
        r=method.rank,
        lora_alpha=int(method.alpha) if method.alpha.is_integer() else method.alpha,
        lora_dropout=method.dropout,
        target_modules=target_modules(method.target_modules, model_type),
        use_rslora=method.use_rslora,
        use_dora=METHODS[method.name].decomposes,
        modules_to_save=head,
        trainable_token_indices={name: list(rows) for name, rows in (tokens or {}).items()} or None,
        bias="none",
    )


def ia3_config(method: MethodSpec, model_type: str, head: list[str] | None, tokens: Tokens) -> Any:
    """IA³: Liu et al. 2022 (arXiv:2205.05638)."""
    from peft import IA3Config

    scaled, feed_forward = ia3_modules(model_type)
    return IA3Config(
        target_modules=scaled + feed_forward, feedforward_modules=feed_forward, modules_to_save=head
    )


def prefix_config(
    method: MethodSpec, model_type: str, head: list[str] | None, tokens: Tokens
) -> Any:
    """Prefix tuning: Li & Liang 2021 (arXiv:2101.00190), without their reparametrisation."""
    from peft import PrefixTuningConfig

    return PrefixTuningConfig(
        task_type="SEQ_2_SEQ_LM", num_virtual_tokens=method.num_virtual_tokens
    )
