"""The PEFT methods by name: what a method has, what its name decides, and which code does it."""

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
"""How LoRA begins -> what takes A₀ and B₀ out of the base's weight; None where B₀ is zero."""

InitialWeights = Annotated[str, NameIn(INITIAL_WEIGHTS)]


@dataclass(frozen=True)
class Method:
    """What a method's name stands for.

    `own` are its hyperparameters in `[method]`; `decides` are those that the name itself sets.
    At all the values in `plain_at` it is no more than LoRA.
    """

    title: str
    own: tuple[str, ...] = ()
    decides: Mapping[str, Any] = field(default_factory=dict)
    peft_type: str | None = "LORA"  # what PEFT calls it; None where it trains the base itself
    config: str | None = "study.peft_methods.configs:lora_config"  # path, as all below
    attach: str = "study.peft_methods.adapters:attach_adapter"
    check: str | None = "study.peft_methods.targets:check_lora"  # what it needs of a model
    model_classes: tuple[str, ...] = ()  # those that it can be put on; empty: any
    packs: bool = False  # many trials in one pass over the base
    merges: bool = True  # into the base's weights
    quantizes: bool = False  # the base, while it trains
    decomposes: bool = False  # the weight into magnitude and direction
    plain_at: Mapping[str, Any] = field(default_factory=dict)

    def has(self, name: str) -> bool:
        """Say whether a hyperparameter of `[method]` means something to it."""
        return name in self.own or name in self.decides

    def fits(self, model_class: str) -> bool:
        """Say whether it can be put on what transformers loads as such a class."""
        return not self.model_classes or model_class in self.model_classes

    @property
    def is_adapter(self) -> bool:
        """Whether it leaves the base's own weights as they are."""
        return self.peft_type is not None

    @property
    def is_lora(self) -> bool:
        """Whether it trains matrices of a rank."""
        return self.has("rank")


_LORA = ("rank", "alpha", "dropout", "target_modules")
_SWITCHES = ("use_rslora", "loraplus_lr_ratio")
_ENCODER_DECODER = "AutoModelForSeq2SeqLM"

METHODS: Mapping[str, Method] = {
    "lora": Method("LoRA", (*_LORA, *_SWITCHES, "init_lora_weights"), packs=True),
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
        quantizes=True,
    ),
    "ia3": Method(
        "IA³",
        peft_type="IA3",
        config="study.peft_methods.configs:ia3_config",
        check="study.peft_methods.targets:check_ia3",
        model_classes=(_ENCODER_DECODER, "AutoModelForSequenceClassification"),
    ),
    "prefix": Method(
        "prefix tuning",
        ("num_virtual_tokens",),
        peft_type="PREFIX_TUNING",
        config="study.peft_methods.configs:prefix_config",
        attach="study.peft_methods.prefix:attach_prefix",
        check=None,
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
"""A method's name in a study file -> what it is.  docs/methods.md says the same in words."""

MethodName = Annotated[str, NameIn(METHODS)]
