"""The losses are Hugging Face's, kept apart by example."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812 - torch's own abbreviation

from study.tasks.losses import IGNORED, cross_entropy, distillation


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


def pair(dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Student and teacher logits (3, 4, 7) and labels (3, 4), the last row without any."""
    student, labels = batch(dtype)
    generator = torch.Generator().manual_seed(1)
    teacher = torch.randn(3, 4, 7, generator=generator, dtype=torch.float64).to(dtype)
    return student, teacher, labels


def rows(*values: float) -> torch.Tensor:
    """One value a row, as `collate` writes them."""
    return torch.tensor(values, dtype=torch.float64)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities, the plain way."""
    powers = np.exp(logits)
    return powers / powers.sum()


def test_distillation_is_hintons_formula() -> None:
    """Every row's loss is (1 − a)·CE + a·T²·KL with its own T and a, computed token by token."""
    student, teacher, labels = pair()
    temperatures, weights = [1.5, 4.0, 2.0], [0.3, 0.8, 0.5]
    found = distillation(student, teacher, labels, rows(*temperatures), rows(*weights))
    for row, (t, a) in enumerate(zip(temperatures, weights, strict=True)):
        expected, tokens = 0.0, 0
        for position, label in enumerate(labels[row].tolist()):
            if label == IGNORED:
                continue
            own, other = student[row, position].numpy(), teacher[row, position].numpy()
            p, q = softmax(other / t), softmax(own / t)
            divergence = float((p * (np.log(p) - np.log(q))).sum())
            expected += (1 - a) * -np.log(softmax(own)[label]) + a * t**2 * divergence
            tokens += 1
        assert found[row].tolist() == pytest.approx([expected, tokens], rel=1e-12)


def test_without_weight_distillation_is_plain_cross_entropy() -> None:
    """At a = 0 the teacher changes nothing, not even the last bit."""
    student, teacher, labels = pair()
    found = distillation(student, teacher, labels, rows(2, 2, 2), rows(0, 0, 0))
    assert torch.equal(found, cross_entropy(student, labels))


def test_a_student_that_is_its_teacher_has_nothing_to_learn() -> None:
    """At a = 1 the loss of the teacher itself is 0, and so is its gradient."""
    student, _, labels = pair()
    student.requires_grad_()
    found = distillation(student, student.detach(), labels, rows(1, 2, 3), rows(1, 1, 1))
    assert found[:, 0].tolist() == pytest.approx([0, 0, 0], abs=1e-12)
    found[:, 0].sum().backward()
    assert student.grad is not None
    assert student.grad.abs().max() < 1e-12


def test_a_high_temperature_compares_centred_logits() -> None:
    """T²·KL tends to the squared distance of the centred logits over 2V (Hinton's equation 4)."""
    student, teacher, labels = pair()
    found = distillation(student, teacher, labels, rows(1e4, 1e4, 1e4), rows(1, 1, 1))
    centred = [logits - logits.mean(dim=-1, keepdim=True) for logits in (student, teacher)]
    distance = ((centred[0] - centred[1]) ** 2).sum(dim=-1) / (2 * student.shape[-1])
    expected = distance.masked_fill(labels == IGNORED, 0).sum(dim=1)
    assert found[:, 0].tolist() == pytest.approx(expected.tolist(), rel=1e-3)


def test_the_gradient_of_distillation_is_exact() -> None:
    """Finite differences in float64 agree with the gradient, every row at its own T and a."""
    student, teacher, labels = pair()
    student.requires_grad_()

    def loss(logits: torch.Tensor) -> torch.Tensor:
        return distillation(logits, teacher, labels, rows(1, 2, 5), rows(0.2, 0.5, 1))[:, 0]

    assert torch.autograd.gradcheck(loss, (student,))


def test_a_row_distils_alone_as_among_others() -> None:
    """A row does not depend on the other rows' logits, T or a."""
    student, teacher, labels = pair()
    t, a = rows(1, 2, 5), rows(0.2, 0.5, 1)
    together = distillation(student, teacher, labels, t, a)
    for i in range(3):
        one = slice(i, i + 1)
        alone = distillation(student[one], teacher[one], labels[one], t[one], a[one])
        torch.testing.assert_close(together[one], alone, rtol=1e-13, atol=0)
