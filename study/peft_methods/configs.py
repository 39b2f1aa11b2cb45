"""PEFT's configurations of the methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from study.bases.load import BaseModel
from study.kinds.methods import METHODS
from study.kinds.table_names import imported
from study.peft_methods.ia3 import ia3_targets
from study.peft_methods.targets import TASK_TYPES, find_targets, suffixes_of
from study.spec.hyperparameters import MethodSpec

Tokens = Mapping[str, Sequence[int]] | None


def peft_config(method: MethodSpec, base: BaseModel, tokens: Tokens = None) -> Any:
    """Return PEFT's configuration of a method on a base.

    The base's head is trained in full; in the layers of `tokens`, only the given rows are trained.
    """
    path = METHODS[method.name].config
    assert path is not None, "full fine-tuning has no PEFT configuration"
    config = imported(path)(method, base, base.head or None, tokens)
    config.base_model_name_or_path = base.name
    return config


def name_loader(config: Any, base: BaseModel) -> None:
    """Write into a configuration which of PEFT's one-line loaders opens the adapter.

    Where PEFT has a task type, it is `AutoPeftModelFor…`; otherwise `AutoPeftModel`, which is told
    the class of transformers.  Do this after attaching: some task types make PEFT train more.
    """
    config.task_type = TASK_TYPES.get(base.loader)
    if base.loader and config.task_type is None:
        config.auto_mapping = {"base_model_class": base.loader, "parent_library": "transformers"}


def lora_config(method: MethodSpec, base: BaseModel, head: list[str] | None, tokens: Tokens) -> Any:
    """LoRA: Hu et al. 2021 (arXiv:2106.09685), and its variants."""
    from peft import LoraConfig
    from transformers.pytorch_utils import Conv1D

    targets = find_targets(base, method.target_modules)
    modules, weights = suffixes_of(base, targets.names)
    layers = [base.model.get_submodule(name) for name in targets.modules]
    return LoraConfig(
        r=method.rank,
        lora_alpha=int(method.alpha) if method.alpha.is_integer() else method.alpha,
        lora_dropout=method.dropout,
        target_modules=modules,
        target_parameters=weights or None,
        fan_in_fan_out=any(isinstance(layer, Conv1D) for layer in layers),
        use_rslora=method.use_rslora,
        use_dora=METHODS[method.name].decomposes,
        modules_to_save=head,
        trainable_token_indices={name: list(rows) for name, rows in (tokens or {}).items()} or None,
        bias="none",
    )


def ia3_config(method: MethodSpec, base: BaseModel, head: list[str] | None, tokens: Tokens) -> Any:
    """IA³: Liu et al. 2022 (arXiv:2205.05638)."""
    from peft import IA3Config

    scaled, feed_forward = ia3_targets(base)
    return IA3Config(
        target_modules=scaled + feed_forward, feedforward_modules=feed_forward, modules_to_save=head
    )


def prefix_config(
    method: MethodSpec, base: BaseModel, head: list[str] | None, tokens: Tokens
) -> Any:
    """Prefix tuning: Li & Liang 2021 (arXiv:2101.00190), without their reparametrisation."""
    from peft import PrefixTuningConfig

    return PrefixTuningConfig(
        task_type="SEQ_2_SEQ_LM", num_virtual_tokens=method.num_virtual_tokens
    )
