"""QLoRA: the base's linear layers are quantised, except its heads.

Dettmers et al. 2023 (arXiv:2305.14314): 4 bits as NormalFloat; 8 bits as in LLM.int8().  If all
trials of a study train over the same bits, the base is quantised once, saves memory and is shared
by packed trials.  Otherwise its layers are quantised while a trial's adapter is on it, and restored
afterwards.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from study.bases.load import BaseModel
from study.errors import InputError, refusing
from study.hardware import device_kind
from study.kinds.methods import METHODS
from study.peft_methods.adapters import Adapter, attach_adapter
from study.peft_methods.layers import quantized_bits
from study.spec.hyperparameters import MethodSpec
from study.spec.sections import StudySpec

PACKAGE = "bitsandbytes"


def check_quantized_methods(spec: StudySpec) -> None:
    """Raise InputError if this machine cannot train what a study quantizes."""
    if any(METHODS[name].quantizes for name in spec.methods):
        check_quantization(spec.values_of("quantization_bits"), spec.base.dtype)


def check_quantization(bits: Sequence[int], dtype: str) -> None:
    """Raise InputError if this machine cannot train over a base of these bits."""
    if find_spec(PACKAGE) is None:
        raise InputError(
            f"method.name: 'qlora' needs the package {PACKAGE}, which is not installed; "
            "run pip install 'optuna-study[quantized]'"
        )
    if dtype == "float64":
        raise InputError(
            "base.dtype: 'qlora' cannot compute in this type, got 'float64'; "
            "allowed: float32, bfloat16"
        )
    for width in bits:
        with refusing(f"method.quantization_bits: {width} bits do not work on this machine"):
            _try_out(width, torch.float32 if dtype == "auto" else getattr(torch, dtype))


def _try_out(bits: int, dtype: torch.dtype) -> None:
    device = torch.device(device_kind())
    layer = quantized_linear(nn.Linear(64, 64, dtype=dtype, device=device), bits)
    x = torch.ones(2, 64, dtype=dtype, device=device, requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        layer(x).sum().backward()


def attach_quantized(base: BaseModel, method: MethodSpec, seed: int) -> Adapter:
    """Quantise the base's linear layers if they are not yet, and put a LoRA adapter over them."""
    linears = {} if quantized_bits(base.model) else quantize(base, method.quantization_bits)
    adapter = attach_adapter(base, method, seed)
    return replace(adapter, replaced={**adapter.replaced, **linears})


def quantize_for(spec: StudySpec, base: BaseModel) -> None:
    """Quantise the base for good if all trials of a study train over the same bits."""
    bits = {*spec.values_of("quantization_bits")}
    if all(METHODS[name].quantizes for name in spec.methods) and len(bits) == 1:
        quantize(base, bits.pop())


def quantize(base: BaseModel, bits: int) -> dict[str, nn.Linear]:
    """Quantise the base's linear layers except its heads; return what they were, by name."""
    linears = _linears(base)
    for name, linear in linears.items():
        base.model.set_submodule(name, quantized_linear(linear, bits))
    return linears


def _linears(base: BaseModel) -> dict[str, nn.Linear]:
    heads = [base.model.get_submodule(name) for name in base.head]
    kept = {id(module) for head in heads for module in head.modules()}
    kept.add(id(base.model.get_output_embeddings()))
    return {
        name: module
        for name, module in base.model.named_modules()
        if type(module) is nn.Linear and id(module) not in kept
    }


def quantized_linear(linear: nn.Linear, bits: int) -> nn.Module:
    """Return a frozen layer like this one with its weight (D_out, D_in) in 4 or 8 bits."""
    from bitsandbytes import nn as bnb  # type: ignore[import-not-found,unused-ignore]

    shape, has_bias = (linear.in_features, linear.out_features), linear.bias is not None
    weight = linear.weight.detach().clone().to("cpu")  # quantised on its way to the device
    layer: Any
    if bits == 4:
        layer = bnb.Linear4bit(
            *shape, has_bias, compute_dtype=linear.weight.dtype, quant_type="nf4"
        )
        layer.weight = bnb.Params4bit(weight, requires_grad=False, quant_type="nf4")
        layer.support_avx512bf16_for_cpu = (
            False  # it packs weights in 64 columns, only for inference
        )
    else:
        layer = bnb.Linear8bitLt(*shape, has_bias, has_fp16_weights=False)
        layer.weight = bnb.Int8Params(weight, requires_grad=False, has_fp16_weights=False)
    layer.bias = linear.bias
    moved: nn.Module = layer.to(linear.weight.device).eval().requires_grad_(False)
    return moved
