"""The losses are Hugging Face's, kept apart by example."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F  # noqa: N812 - torch's own abbreviation

from study.losses import IGNORED, cross_entropy


def batch(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (B, T, V) = (3, 4, 7) and labels (3, 4); the last row has no label at all."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 4, 7, generator=generator, dtype=torch.float64).to(dtype)
    labels = torch.randint(0, 7, (3, 4), generator=generator)
    labels[1, 2:] = IGNORED
    labels[2] = IGNORED
    return logits, labels


def test_the_mean_over_a_batch_is_hugging_faces() -> None:
    """Summed losses over summed weights are torch's own token mean."""
    logits, labels = batch()
    total, weight = cross_entropy(logits, labels).sum(dim=0)
    expected = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED)
    assert torch.allclose(total / weight, expected)


def test_a_rows_loss_does_not_depend_on_the_others() -> None:
    """Every row alone gives what it gives in a batch; a row without labels weighs nothing."""
    logits, labels = batch(torch.float64)
    together = cross_entropy(logits, labels)
    alone = torch.cat([cross_entropy(logits[i : i + 1], labels[i : i + 1]) for i in range(3)])
    assert torch.equal(together, alone)
    assert together[:, 1].tolist() == [4, 2, 0]
    assert together[2].tolist() == [0, 0]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_sums_are_at_least_float32(dtype: torch.dtype) -> None:
    """Half-precision logits are summed in single precision, double stays double."""
    logits, labels = batch(dtype)
    found = cross_entropy(logits, labels)
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    exact = cross_entropy(logits.double(), labels)
    assert torch.allclose(found.double(), exact, atol=1e-5)
