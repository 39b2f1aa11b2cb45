"""Optimizers are what their papers say; those that pack train a row as they train matrices."""

from __future__ import annotations

import torch

from study.engines.lion import Lion


def test_lion_moves_as_its_paper_says() -> None:
    """Decay, then a step by the sign of 0.9 m + 0.1 g, then m = 0.99 m + 0.01 g."""
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64))
    optimizer = Lion([weight], lr=0.1, weight_decay=0.5)
    expected, momentum = weight.detach().clone(), torch.zeros(3, dtype=torch.float64)
    for step in range(20):
        gradient = torch.tensor([1.0, -0.5, 2.0 - step], dtype=torch.float64)
        weight.grad = gradient.clone()
        optimizer.step()
        expected -= 0.1 * ((0.9 * momentum + 0.1 * gradient).sign() + 0.5 * expected)
        momentum = 0.99 * momentum + 0.01 * gradient
    torch.testing.assert_close(weight.detach(), expected, rtol=1e-12, atol=0)
    optimizer.zero_grad()
    optimizer.step()
    torch.testing.assert_close(weight.detach(), expected, rtol=1e-12, atol=0)
