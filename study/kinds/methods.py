"""The PEFT methods by name: hyperparameters, values implied by the name, and code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from study.kinds.table_names import NameIn

INITIAL_WEIGHTS: Mapping[str, str | None] = {
    "default": None,
    "pissa": "study.peft_methods.adapters:pissa_pair",
    "olora": "study.peft_methods.adapters:olora_pair",
}
"""LoRA's initialization -> what computes A₀ and B₀ from the base's weight; None: B₀ is zero."""

InitialWeights = Annotated[str, NameIn(INITIAL_WEIGHTS)]


@dataclass(frozen=True)
class Method:
    """A fine-tuning method.

    `own` lists its hyperparameters in `[method]`; `decides` holds those that the name itself sets.
    With all the values in `plain_at`, the method is the same as LoRA.
    """

    title: str
    own: tuple[str, ...] = ()
    decides: Mapping[str, Any] = field(default_factory=dict)
    peft_type: str | None = "LORA"  # PEFT's name; None if it trains the base itself
    config: str | None = (
        "study.peft_methods.configs:lora_config"  # package.module:name, like those below
    )
    attach: str = "study.peft_methods.adapters:attach_adapter"
    check: str | None = "study.peft_methods.targets:check_lora"  # checks that a model suits it
    model_classes: tuple[str, ...] = ()  # the classes it supports; empty: all
    packs: bool = False  # trains many trials in one pass over the base
    merges: bool = True  # can be merged into the base's weights
    quantizes: bool = False  # quantizes the base during training
    continues: bool = False  # can begin at an existing adapter
    decomposes: bool = False  # splits the weight into magnitude and direction
    plain_at: Mapping[str, Any] = field(default_factory=dict)

    def has(self, name: str) -> bool:
        """Say whether the method uses a hyperparameter of `[method]`."""
        return name in self.own or name in self.decides

    def fits(self, model_class: str) -> bool:
        """Say whether the method supports models of a transformers class."""
        return not self.model_classes or model_class in self.model_classes

    @property
    def is_adapter(self) -> bool:
        """Whether it leaves the base's weights unchanged."""
        return self.peft_type is not None

    @property
    def is_lora(self) -> bool:
        """Whether it trains low-rank matrices."""
        return self.has("rank")


_LORA = ("rank", "alpha", "dropout", "target_modules")
_EXISTING = ("init_adapter", "init_adapter_sha256")
_SWITCHES = ("use_rslora", "loraplus_lr_ratio")
_ENCODER_DECODER = "AutoModelForSeq2SeqLM"

METHODS: Mapping[str, Method] = {
    "lora": Method(
        "LoRA",
        (*_LORA, *_SWITCHES, "init_lora_weights", *_EXISTING),
        check="study.peft_methods.init_adapter:check_continued",
        packs=True,
        continues=True,
    ),
    "rslora": Method("rsLoRA", _LORA, {"use_rslora": True}, packs=True),
    "loraplus": Method(
        "LoRA+", (*_LORA, "loraplus_lr_ratio"), packs=True, plain_at={"loraplus_lr_ratio": 1.0}
    ),
    "pissa": Method("PiSSA", (*_LORA, "pissa_niter"), {"init_lora_weights": "pissa"}, packs=True),
    "olora": Method("OLoRA", _LORA, {"init_lora_weights": "olora"}, packs=True),
    "dora": Method("DoRA", (*_LORA, *_SWITCHES), decomposes=True),
    "qlora": Method(
        "QLoRA",
        (*_LORA, *_SWITCHES, "quantization_bits"),
        attach="study.peft_methods.quantized:attach_quantized",
        packs=True,
        quantizes=True,
    ),
    "ia3": Method(
        "IA³",
        peft_type="IA3",
        config="study.peft_methods.configs:ia3_config",
        check="study.peft_methods.ia3:check_ia3",
        model_classes=(_ENCODER_DECODER, "AutoModelForSequenceClassification"),
    ),
    "prefix": Method(
        "prefix tuning",
        ("num_virtual_tokens",),
        peft_type="PREFIX_TUNING",
        config="study.peft_methods.configs:prefix_config",
        attach="study.peft_methods.prefix:attach_prefix",
        check="study.peft_methods.prefix:check_prefix",
        model_classes=(_ENCODER_DECODER,),
        merges=False,
    ),
    "full": Method(
        "full fine-tuning",
        peft_type=None,
        config=None,
        attach="study.peft_methods.full:attach_full",
        check=None,
    ),
}
"""A method's name in a study file -> the method.  docs/methods.md describes them."""

MethodName = Annotated[str, NameIn(METHODS)]
