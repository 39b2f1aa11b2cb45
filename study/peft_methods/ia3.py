"""Which layers of a model IA³ scales."""

from __future__ import annotations

from collections.abc import Mapping

from study.bases.load import BaseModel
from study.errors import InputError
from study.peft_methods.targets import (
    adaptable_names,
    is_trained_in_full,
    readable_endings,
    suffixes_of,
)
from study.spec.sections import StudySpec

IA3_BY_TYPE: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "xlm-roberta": (("key", "value"), ("output.dense",)),  # as PEFT's own for roberta
}
"""Model type -> layers whose output IA³ scales, and feed-forward ones whose input it scales."""


def check_ia3(base: BaseModel, spec: StudySpec) -> None:
    """Raise InputError if this model lacks the layers that IA³ scales."""
    ia3_targets(base)


def ia3_targets(base: BaseModel) -> tuple[list[str], list[str]]:
    """Return the endings of the layers whose output IA³ scales, and of those whose input.

    These are PEFT's own for the model type; otherwise keys, values, and the feed-forward layers
    that lead back to the model's width.

    Raises:
        InputError: the model has no such layers.
    """
    from peft.utils import (
        TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING as INPUTS,
    )
    from peft.utils import TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING as ALL

    from study.peft_methods.layers import (
        KEY,
        VALUE,
        endings_of,
        linear_layers,
        mixture_weights,
        named_like,
        part_of,
        second_feed_forward,
    )

    layers = linear_layers(base.model)
    endings = {ending for name in layers for ending in endings_of(name)}
    if base.model_type in ALL and endings.issuperset(ALL[base.model_type]):
        inputs = [*INPUTS.get(base.model_type, [])]
        return [name for name in ALL[base.model_type] if name not in inputs], inputs
    if base.model_type in IA3_BY_TYPE:
        outputs, inputs = map(list, IA3_BY_TYPE[base.model_type])
        return outputs, inputs
    layers = {name: layers[name] for name in layers if not is_trained_in_full(base, name)}
    attention = [name for name in layers if part_of(base.model, name) == "attention"]
    keys, values = named_like(attention, KEY), named_like(attention, VALUE)
    second = second_feed_forward(base.model, layers)
    if not (keys and values and second) or mixture_weights(base.model):
        got = ", ".join(readable_endings(base, adaptable_names(base)))
        raise InputError(
            "method.name: 'ia3' needs separate key and value layers and linear feed-forward "
            f"layers, got a {base.model_type!r} model with {got}; allowed: lora"
        )
    return suffixes_of(base, keys + values)[0], suffixes_of(base, second)[0]
