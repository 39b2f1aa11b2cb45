"""Models with custom code, which runs only if the study file allows it."""

from __future__ import annotations

import inspect
from typing import Any

from study.bases.safe_weights import reason_in_words
from study.spec.base_and_data import BaseModelSpec

MAPPED = ("AutoModelForMaskedLM", "AutoModel", "AutoModelForCausalLM")
"""Keys of `auto_map` for a class that returns every token's logits, most specific first."""


def forget_unused_code(model: Any, tokenizer: Any) -> None:
    """Let a model that runs without its custom code not name it when it is saved again."""
    vars(model.config).pop("auto_map", None)
    tokenizer.init_kwargs.pop("auto_map", None)


def own_class(location: str, config: Any, spec: BaseModelSpec) -> Any | None:
    """Return the class of a model with custom code; None if transformers has the code."""
    from transformers.dynamic_module_utils import get_class_from_dynamic_module

    mapped = getattr(config, "auto_map", None) or {}
    reference = next((mapped[name] for name in MAPPED if name in mapped), None)
    if reference is None or not spec.trust_remote_code:
        return None
    revision = spec.revision or "main"
    custom_class = get_class_from_dynamic_module(reference, location, revision=revision)
    return _as_of_transformers_5(custom_class)


def _as_of_transformers_5(model_class: Any) -> Any:
    """Let transformers 5 load a class that was written for version 4, such as LLaDA's.

    Such a class ties its weights without knowing which are missing, and lists none as tied.
    """
    if not hasattr(model_class, "all_tied_weights_keys"):
        model_class.all_tied_weights_keys = {}
    tie_weights = model_class.tie_weights
    if "missing_keys" not in inspect.signature(tie_weights).parameters:
        model_class.tie_weights = lambda self, *_, **__: tie_weights(self)
    return model_class


def why_not_loaded(error: Exception, spec: BaseModelSpec) -> str:
    """Return the message of a transformers error on one line."""
    message = " ".join(str(error).split())
    if "trust_remote_code" in message and not spec.trust_remote_code:
        return "it contains custom code; review it, then set base.trust_remote_code = true"
    return reason_in_words(error)
