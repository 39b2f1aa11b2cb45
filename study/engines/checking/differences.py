"""How much two passes differ, and how much of that rounding explains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from study.peft_methods.adapters import PREFIX
from study.peft_methods.layers import is_transposed
from study.tasks.token_logits import MOST, ROUNDING
from study.trials import Compared

AMPLIFIED = 10.0
SMALL_GRADIENT = 1e-3  # a gradient's difference is relative to this share of the largest at least


def tolerance_of(dtype: torch.dtype, noise: float) -> float:
    """Return the difference that rounding may make where one unit of it makes `noise`."""
    known = dtype if dtype in ROUNDING else torch.bfloat16
    return min(max(ROUNDING[known], AMPLIFIED * noise), MOST[known])


def difference_of(ours: Tensor, theirs: Tensor) -> float:
    """Return the largest difference of losses, relative to the largest loss; NaN equals NaN."""
    ours, theirs = ours.detach().double(), theirs.detach().double()
    differs = (ours != theirs) & ~(ours.isnan() & theirs.isnan())
    if not differs.any():
        return 0.0
    size = float(theirs.nan_to_num(posinf=0.0, neginf=0.0).abs().max())
    return float((ours - theirs)[differs].abs().max()) / (size or 1.0)


def gradient_difference(
    ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]
) -> tuple[float, str]:
    """Return the largest difference of a gradient relative to its norm, and that weight's name."""
    norms = {name: float(grad.double().norm()) for name, grad in theirs.items()}
    least = SMALL_GRADIENT * max(norms.values(), default=0.0)
    worst = (0.0, "")
    for name, grad in theirs.items():
        size = max(norms[name], least) or 1.0
        difference = float((ours[name].double() - grad.double()).norm()) / size
        if not difference <= worst[0]:
            worst = (difference, name.removeprefix(PREFIX))
    return worst


@contextmanager
def rounded_otherwise(model: nn.Module) -> Iterator[None]:
    """Move the output of every linear layer up or down by one unit of its precision."""
    generator = torch.Generator().manual_seed(0)

    def move(module: nn.Module, given: Any, output: Any) -> Any:
        if not isinstance(output, Tensor):  # Llama 4's router
            return output
        signs = torch.randint(0, 2, output.shape, generator=generator).to(output) * 2 - 1
        return output * (1 + torch.finfo(output.dtype).eps * signs)

    linears = [m for m in model.modules() if isinstance(m, nn.Linear) or is_transposed(m)]
    handles = [linear.register_forward_hook(move) for linear in linears]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def described(compared: Compared, first: tuple[str, float] | None = None) -> str:
    """Say what differs, by how much, and in which module it begins."""
    found = f"{compared.what} differ by {compared.difference:.2g}"
    allowed = f", at most {compared.tolerance:.2g} is rounding"
    return found + allowed + (f", beginning in {first[0]} with {first[1]:.2g}" if first else "")
