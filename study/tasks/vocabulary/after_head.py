"""What a model does to the outputs of its head: logits that are scaled, soft-capped or biased.

The settings are read from the model's configuration, but not believed: only the first
combination that gives the model's own logits bit for bit is used (`token_logits.head_proof`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor

FACTORS = ("logit_scale", "logits_scaling", "lm_head_multiplier", "output_multiplier")
DIVISORS = ("logits_scaling",)
CAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap", "softcap")
BIAS = "final_logits_bias"


@dataclass(frozen=True, eq=False)
class AfterHead:
    """Logits y = cap · tanh(x · factor / divisor / cap) + bias of a head's outputs x (..., V).

    What is None is left out.
    """

    factor: float | None = None
    divisor: float | None = None
    cap: float | None = None
    bias: Tensor | None = None  # (V,)

    def apply_(self, x: Tensor) -> Tensor:
        """Turn outputs into logits, in place and in the order of transformers' models."""
        if self.factor is not None:
            x.mul_(self.factor)
        if self.divisor is not None:
            x.div_(self.divisor)
        if self.cap is not None:
            x.div_(self.cap).tanh_().mul_(self.cap)
        if self.bias is not None:
            x.add_(self.bias)
        return x

    def backward_(self, grad: Tensor, logits: Tensor | None) -> Tensor:
        """Turn the gradient of the logits into that of the outputs, in place.

        The logits, which only a cap needs, are overwritten.
        """
        if self.cap is not None:
            assert logits is not None, "the slope of a cap depends on the logits"
            bounded = logits if self.bias is None else logits.sub_(self.bias)
            grad.addcmul_(bounded.div_(self.cap).square_(), grad, value=-1.0)
        if self.factor is not None:
            grad.mul_(self.factor)
        if self.divisor is not None:
            grad.div_(self.divisor)
        return grad


def candidates(model: Any) -> Iterator[AfterHead]:
    """Yield what the model's configuration suggests, the simplest first."""
    config = model.config
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    bias = getattr(model, BIAS, None)
    biases = [None] if bias is None else [None, bias.detach().flatten()]
    factors, divisors, caps = (_numbers(text, names) for names in (FACTORS, DIVISORS, CAPS))
    for values in product(factors, divisors, caps, biases):
        yield AfterHead(*values)


def _numbers(config: Any, names: Sequence[str]) -> list[float | None]:
    values = (getattr(config, name, None) for name in names)
    return [None, *(float(v) for v in values if isinstance(v, (int, float)) and v > 0)]


def proven(model: Any, outputs: Tensor, logits: Tensor) -> AfterHead | None:
    """Return what turns a head's outputs into the model's logits, bit for bit; None if unknown."""
    if outputs.shape != logits.shape:
        return None
    for after in candidates(model):
        if torch.equal(after.apply_(outputs.to(logits.dtype, copy=True)), logits):
            return after
    return None
