"""The loss that keeps no logits is the plain one, and so are its gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from study.engines.packed.bank import AdapterBank
from study.engines.packed.batch_rows import Rows
from study.peft_methods.adapters import attach_adapter
from study.spec.hyperparameters import MethodSpec
from study.tasks import losses as losses_module
from study.tasks.losses import IGNORED, cross_entropy, distillation, language_model_loss
from study.tasks.token_logits import linear_head, whole_logits
from study.tasks.vocabulary import linear_loss as loss_module
from study.tasks.vocabulary.after_head import AfterHead
from study.tasks.vocabulary.linear_loss import LinearHead, SoftTargets, linear_loss
from tests.tiny_architectures import random_base

N, V, D = 11, 23, 6
TOKENS = (4, 9)
AFTER = {
    "nothing": AfterHead(),
    "factor": AfterHead(factor=0.3),
    "divisor": AfterHead(divisor=7.0),
    "cap": AfterHead(cap=1.5),
    "bias": AfterHead(bias=torch.linspace(-1, 1, V, dtype=torch.float64)),
    "all": AfterHead(1.7, 0.9, 2.5, torch.linspace(-1, 1, V, dtype=torch.float64)),
}
IDS = torch.tensor([[4, 5, 6, 7, 8, 9], [9, 7, 11, 7, 0, 0], [7, 30, 31, 2, 9, 0]])
LABELS = torch.tensor([[5, 6, 7, 8, 9, 3], [IGNORED, 11, 7, IGNORED, IGNORED, IGNORED]])
NONE = torch.full((1, 6), IGNORED)


@pytest.fixture(autouse=True)
def _few_rows_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every loss of these tests in several chunks."""
    monkeypatch.setattr(loss_module, "CACHED_ROWS", 4)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    """Normal numbers in double precision, to be learnt."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()


def logits_of(head: LinearHead, h: Tensor, own: Tensor | None) -> Tensor:
    """The head's logits (n, V) by the definition of its parts."""
    z = h @ head.weight.mT + (0 if head.bias is None else head.bias)
    if own is not None:
        z = z.index_copy(1, torch.tensor(TOKENS), h @ own.mT)
    after = head.after
    z = z * (after.factor or 1.0) / (after.divisor or 1.0)
    z = z if after.cap is None else after.cap * torch.tanh(z / after.cap)
    return z if after.bias is None else z + after.bias


def same_loss_and_gradients(ours: Tensor, plain: Tensor, learnt: list[Tensor]) -> None:
    """Compare losses (n,), and the gradients of a sum in which every loss counts differently."""
    torch.testing.assert_close(ours, plain, rtol=1e-9, atol=1e-9)
    counts = torch.linspace(0.1, 2.0, len(plain), dtype=torch.float64)
    expected = torch.autograd.grad(plain @ counts, learnt)
    torch.testing.assert_close(
        torch.autograd.grad(ours @ counts, learnt), expected, rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("is_trained", [False, True])
@pytest.mark.parametrize("has_own_rows", [False, True])
@pytest.mark.parametrize("has_teacher", [False, True])
@pytest.mark.parametrize("name", AFTER)
def test_losses_and_gradients_are_the_plain_ones(
    name: str, has_teacher: bool, has_own_rows: bool, is_trained: bool
) -> None:
    """With every option, a frozen or a trained layer, trained rows, and a teacher at any T."""
    h, own = drawn(N, D, seed=1), drawn(2, D, seed=2)
    weight, bias = drawn(V, D, seed=3), drawn(V, seed=4)
    labels = torch.arange(N) * 5 % V
    labels[:2] = torch.tensor(TOKENS)
    layer = [weight, bias] if is_trained else []
    for frozen in (weight, bias) if not is_trained else ():
        frozen.requires_grad_(False)
    head = LinearHead(weight, bias, AFTER[name])
    if has_own_rows:
        head = replace(head, tokens=TOKENS, own_logits=lambda states, row: states @ own.mT)
    logits = logits_of(head, h, own if has_own_rows else None)
    row, soft = torch.zeros(N, dtype=torch.long), None
    plain = cross_entropy(logits[:, None], labels[:, None])[:, 0]
    if has_teacher:
        states, T, a = drawn(N, 3).detach(), torch.linspace(0.5, 8, N), torch.linspace(0, 1, N)
        teacher = drawn(3, V, seed=5).detach()
        soft = SoftTargets(states, lambda some: some @ teacher, T, a)
        plain = distillation(logits[:, None], (states @ teacher)[:, None], labels[:, None], T, a)[
            :, 0
        ]
    ours = linear_loss(head, h, labels, row, soft)
    same_loss_and_gradients(ours, plain, [h, *layer, *([own] if has_own_rows else [])])


def test_the_buffer_is_as_large_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """No tensor of logits is larger, whatever else a loss needs of their size."""
    monkeypatch.setitem(loss_module.BUFFER_BYTES, "cpu", 3 * V * 8)
    seen: list[int] = []
    plain = torch.Tensor.new_empty

    def recorded(self: Tensor, *shape: Any, **options: Any) -> Tensor:
        made = plain(self, *shape, **options)
        seen.append(made.numel() if made.dim() == 2 else 0)
        return made

    monkeypatch.setattr(torch.Tensor, "new_empty", recorded)
    head = LinearHead(drawn(V, D).detach())
    linear_loss(head, drawn(N, D), torch.arange(N), torch.zeros(N, dtype=torch.long))
    assert max(seen) == 3 * V


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_low_precision_sums_in_float32(dtype: torch.dtype) -> None:
    """A loss over many tokens is as exact as its logits, and so is its gradient."""
    h, weight = drawn(N, D).detach().to(dtype).requires_grad_(), drawn(500, D).detach().to(dtype)
    labels = torch.arange(N)
    ours = linear_loss(LinearHead(weight), h, labels, labels)
    assert ours.dtype == torch.float32
    logits = (h.double() @ weight.double().mT)[:, None]
    plain = cross_entropy(logits, labels[:, None])[:, 0]
    close = {torch.float32: 1e-5, torch.bfloat16: 2e-2}[dtype]
    torch.testing.assert_close(ours.double(), plain, rtol=close, atol=close)
    found, expected = (torch.autograd.grad(x.sum(), h)[0].double() for x in (ours, plain))
    torch.testing.assert_close(found, expected, rtol=close, atol=close)


def test_a_loss_that_is_not_a_number_stays_alone() -> None:
    """The losses and gradients of the other tokens do not change."""
    h, head = drawn(N, D), LinearHead(drawn(V, D, seed=1).detach())
    labels = torch.arange(N)
    (good,) = torch.autograd.grad(linear_loss(head, h, labels, labels).sum(), h)
    broken = h.detach().clone()
    broken[2] = torch.nan
    broken.requires_grad_()
    losses = linear_loss(head, broken, labels, labels)
    (bad,) = torch.autograd.grad(losses.sum(), broken)
    others = torch.arange(N) != 2
    assert losses.isnan().nonzero().tolist() == [[2]]
    assert torch.equal(bad[others], good[others])


# ---------------------------------------------------------------- whole models


def inputs_of(model: Any) -> dict[str, Tensor]:
    """Three rows of six tokens."""
    inputs = {"input_ids": IDS, "use_cache": False}
    return inputs | ({"decoder_input_ids": IDS} if model.config.is_encoder_decoder else {})


def agrees_with_the_whole_forward(model: Any, learnt: Callable[[], list[Tensor]]) -> None:
    """Compare the loss and its gradients with those of all logits; the last row has no label."""
    labels, inputs = torch.cat([LABELS, NONE]), inputs_of(model)
    found = []
    for way in (whole_logits, _only_states):
        with way():
            loss = language_model_loss(model, inputs, labels)
        grads = _gradients(loss[:, 0], learnt())
        found.append((loss.detach(), grads))
    assert found[0][0][:, 1].tolist() == [6, 2, 0]
    torch.testing.assert_close(found[1], found[0], rtol=1e-9, atol=1e-9)


def _gradients(losses: Tensor, learnt: list[Tensor]) -> list[Tensor]:
    for weight in learnt:
        weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad.zero_()
    torch.autograd.backward(losses @ torch.tensor([1.0, 0.5, 2.0], dtype=torch.float64))
    return [weight.grad.clone() for weight in learnt if weight.grad is not None]


@contextmanager
def _only_states() -> Iterator[None]:
    """Let no logits be computed but those of the linear loss."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(losses_module, "token_logits", None)
        yield


@pytest.mark.parametrize(
    "model_type", ["llama", "gemma2", "cohere", "granite", "gpt2", "bart", "m2m_100", "t5"]
)
def test_a_model_learns_as_from_all_its_logits(model_type: str) -> None:
    """Every weight gets the same gradient, a tied or trained head's and a final bias among them."""
    model = random_base(model_type, "cpu", dtype=torch.float64, spread=0.2).model
    if model_type == "bart":
        model.final_logits_bias.copy_(torch.linspace(-1, 1, 64, dtype=torch.float64))
    with torch.no_grad():
        head = linear_head(model, inputs_of(model))
    assert head is not None
    model.requires_grad_(True)
    agrees_with_the_whole_forward(model, lambda: list(model.parameters()))


@pytest.mark.parametrize("is_tied", [True, False])
@pytest.mark.parametrize("model_type", ["llama", "gemma2", "granite"])
def test_rows_that_peft_trains_are_extra_logits(model_type: str, is_tied: bool) -> None:
    """PEFT's trained token rows give the same loss and gradients, in a tied head or their own."""
    base = random_base(
        model_type, "cpu", dtype=torch.float64, spread=0.2, tie_word_embeddings=is_tied
    )
    adapter = attach_adapter(replace(base, trained_tokens=(7, 9)), MethodSpec(rank=2), seed=0)
    for weight in adapter.weights:
        weight.data += 0.1 * drawn(*weight.shape, seed=3).detach()
    agrees_with_the_whole_forward(base.model, lambda: adapter.weights)


@pytest.mark.parametrize("is_tied", [True, False])
@pytest.mark.parametrize("model_type", ["llama", "gemma2", "granite"])
def test_rows_that_packed_trials_train_are_extra_logits(model_type: str, is_tied: bool) -> None:
    """Every slot's labelled tokens meet its own rows, beside rows of the untrained base."""
    base = random_base(
        model_type, "cpu", dtype=torch.float64, spread=0.2, tie_word_embeddings=is_tied
    )
    bank = AdapterBank(replace(base, trained_tokens=(7, 9)), [MethodSpec(rank=2)], slots=3)
    bank.open()
    for slot in (0, 2):
        bank.attach(slot, MethodSpec(rank=2), seed=slot)
        bank.weights[slot] += 0.1 * drawn(bank.weights.shape[1], seed=slot).detach()
    bank.lay_out([Rows(2, 1), Rows(1, 1), Rows(0, 1)])
    learnt = [bank.weights]
    bank.weights.grad = bank.grads
    agrees_with_the_whole_forward(base.model, lambda: learnt)
    assert bank.grads[2].abs().sum() > 0
    assert bank.grads[0].abs().sum() == 0  # its row has no label
    bank.close()


def test_a_batch_without_labels_weighs_nothing() -> None:
    """Its loss and its gradients are zero."""
    model = random_base("llama", "cpu").model
    model.requires_grad_(True)
    loss = language_model_loss(model, {"input_ids": IDS}, torch.full_like(IDS, IGNORED))
    loss[:, 0].sum().backward()
    assert loss.tolist() == [[0, 0]] * 3
    assert all(w.grad is None or not w.grad.any() for w in model.parameters())
