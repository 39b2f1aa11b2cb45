"""Which tokens of an answer are masked, and the weight of the loss at them.

Nie et al. 2025, "Large language diffusion models" (arXiv:2502.09992).  As ε goes to 0, both ways
have the same expectation: an upper bound of -log p(answer | prompt) per token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def bernoulli_masks(tokens: int, eps: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return masks (A, 1) of A tokens and their weight (1,), as LLaDA does in training.

    t ~ U(0, 1), and each token is masked with probability p = (1 - ε) t + ε; the weight is
    1 / (p · A).
    """
    import torch

    t = torch.rand(1, generator=generator, dtype=torch.float64)
    p = (1 - eps) * t + eps
    masks = torch.rand(tokens, 1, generator=generator, dtype=torch.float64) < p
    return masks, 1 / (p * tokens)


def counted_masks(tokens: int, draws: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return masks (A, S) of A tokens and the weights (S,) of S draws that together are one.

    The number of masked tokens is drawn from 1 to A, evenly over the S draws; the weight is 1 over
    that number.  This is equation 14 of LLaDA's appendix, which varies far less.
    """
    import torch

    u = torch.rand(draws, generator=generator, dtype=torch.float64)
    count = ((torch.arange(draws) + u) / draws * tokens).ceil().clamp(min=1)  # (S,)
    order = torch.rand(tokens, draws, generator=generator, dtype=torch.float64).argsort(dim=0)
    return order.argsort(dim=0) < count, 1 / (count * draws)
