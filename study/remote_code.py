"""Models that bring code of their own, which is run only where the study file allows it."""

from __future__ import annotations

import inspect
from typing import Any

from study.safe_weights import reason_in_words
from study.spec import BaseModelSpec

MAPPED = ("AutoModelForMaskedLM", "AutoModel", "AutoModelForCausalLM")
"""Under which names a model that gives logits of every token is found, the surest first."""


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
    return reason_in_words(error)
