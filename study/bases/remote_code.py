"""Models that bring code of their own, which is run only where the study file allows it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from study.errors import InputError
from study.spec.sections import BaseModelSpec

MAPPED = ("AutoModelForMaskedLM", "AutoModel", "AutoModelForCausalLM")
"""Under which names a model that gives logits of every token is found, the surest first."""


def refuse_named_code(location: str, spec: BaseModelSpec) -> None:
    """Raise InputError where a base's folder names code or another model beside its own weights.

    transformers attaches the adapter of an `adapter_config.json` and loads the base that it names,
    and fetches an attention kernel from the hub where `config.json` names one.
    """
    from transformers import PreTrainedConfig
    from transformers.utils.peft_utils import find_adapter_config_file

    revision = spec.revision or "main"
    if find_adapter_config_file(location, revision=revision) is not None:
        raise InputError("it holds an adapter_config.json; name the plain model it belongs to")
    config, _ = PreTrainedConfig.get_config_dict(location, revision=revision)
    kernel = next(_kernels(config), None)
    if kernel is not None and not spec.trust_remote_code:
        raise InputError(
            f"its config.json names the kernel {kernel!r}, which is code from the hub; "
            "remove that key"
        )


def _kernels(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield the hub repositories that a configuration takes its layers' code from."""
    for key, value in config.items():
        nested = isinstance(value, Mapping)
        if key.endswith("_implementation"):
            named = value.values() if nested else [value]
            yield from (name for name in named if isinstance(name, str) and "/" in name)
        elif nested:
            yield from _kernels(value)


def own_class(location: str, config: Any, spec: BaseModelSpec) -> Any | None:
    """Return the class of a model with code of its own; None where transformers has the code."""
    from transformers.dynamic_module_utils import get_class_from_dynamic_module

    mapped = getattr(config, "auto_map", None) or {}
    reference = next((mapped[name] for name in MAPPED if name in mapped), None)
    if reference is None or not spec.trust_remote_code:
        return None
    revision = spec.revision or "main"
    found = get_class_from_dynamic_module(reference, location, revision=revision)
    return _as_of_transformers_5(found)


def _as_of_transformers_5(model_class: Any) -> Any:
    """Let transformers 5 load a class that was written for version 4, as LLaDA's was.

    Such a class ties its weights without being told which are missing, and counts none as tied.
    """
    if not hasattr(model_class, "all_tied_weights_keys"):
        model_class.all_tied_weights_keys = {}
    own = model_class.tie_weights
    if "missing_keys" not in inspect.signature(own).parameters:
        model_class.tie_weights = lambda self, *_, **__: own(self)
    return model_class


def why_not_loaded(error: Exception, spec: BaseModelSpec) -> str:
    """Return what an error of transformers says, in a line."""
    message = " ".join(str(error).split())
    if "trust_remote_code" in message and not spec.trust_remote_code:
        return (
            "it brings code of its own, which is not run unless you have read it and set "
            "base.trust_remote_code = true"
        )
    return message[:300]
