"""Which tokens of an answer are hidden, and how much a loss at them counts.

Nie et al. 2025, "Large language diffusion models" (arXiv:2502.09992).  Both ways have the same
expectation as ε goes to 0: an upper bound of -log p(answer | prompt), by the answer's length.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def bernoulli_masks(tokens: int, eps: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return masks (A, 1) of A tokens and their weight (1,): LLaDA's in training.

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

    So many tokens as are drawn from 1 to A, evenly over the S draws, are masked; the weight is 1
    over their number.  Equation 14 of LLaDA's appendix, which varies far less.
    """
    import torch

    u = torch.rand(draws, generator=generator, dtype=torch.float64)
    count = ((torch.arange(draws) + u) / draws * tokens).ceil().clamp(min=1)  # (S,)
    order = torch.rand(tokens, draws, generator=generator, dtype=torch.float64).argsort(dim=0)
    return order.argsort(dim=0) < count, 1 / (count * draws)
