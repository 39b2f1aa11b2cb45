"""Lion, which PyTorch does not have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class Lion(torch.optim.Optimizer):
    """Moves every weight by the learning rate, in the direction of its momentum's sign.

    Chen et al. 2023, "Symbolic discovery of optimization algorithms" (arXiv:2302.06675), with
    decoupled weight decay.
    """

    def __init__(
        self, params: Any, lr: float, betas: tuple[float, float], weight_decay: float
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move all weights that have a gradient."""
        assert closure is None, "the gradients are already computed"
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._move(weight, weight.grad, group)

    def _move(self, weight: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        momentum, (beta_1, beta_2) = state["momentum"], group["betas"]
        weight.mul_(1 - group["lr"] * group["weight_decay"])
        weight.add_(momentum.lerp(grad, 1 - beta_1).sign(), alpha=-group["lr"])
        momentum.lerp_(grad, 1 - beta_2)
