"""Dropout masks are a hash of where an element stands: the right share, and no pattern."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from study.engines import dropout
from study.engines.dropout import (
    GOLDEN,
    SeededDropout,
    both_by_element,
    dropped,
    dropped_and_added,
    dropped_by_element,
    kept,
    limit_of,
    row_keys,
)
from study.seeds import derive_seed

SIGMAS = 5.0  # of some thousands of numbers with fixed seeds, none is so far away by chance
AXES = ("seed", "module", "step", "row", "position", "channel")


def masks(
    probability: float, seeds: int = 6, modules: int = 6, steps: int = 6, rows: int = 6
) -> Tensor:
    """Return masks (seeds, modules, steps, rows, 16 positions, 48 channels)."""
    parts = [
        [[derive_seed(seed, "dropout", f"layers.{module}")] for module in range(modules)]
        for seed in range(seeds)
    ]
    hashed = np.array(parts, dtype=np.uint64)[..., None]  # (seeds, modules, 1, 1)
    keys = row_keys(hashed, np.arange(steps)[:, None], np.arange(rows))
    limits = torch.full((keys[..., 0].numel(),), limit_of(probability), dtype=torch.int16)
    return kept(keys.view(-1, 2), limits, 16, 48).view(seeds, modules, steps, rows, 16, 48) != 0


@pytest.mark.parametrize("probability", [1e-3, 0.05, 0.1, 0.25, 0.5, 0.9])
def test_the_stated_share_is_dropped(probability: float) -> None:
    """Over all masks, and in each of the four channels that share a word."""
    drawn = ~masks(probability)
    for some in (drawn, *(drawn[..., lane::4] for lane in range(4))):
        deviation = float(some.double().mean()) - probability
        sigma = (probability * (1 - probability) / some.numel()) ** 0.5
        assert abs(deviation) < SIGMAS * sigma + 2**-16


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("probability", [0.3, 0.5])
def test_masks_along_an_axis_are_independent(axis: str, probability: float) -> None:
    """No two correlate, and their correlations spread as chance has it.

    The second holds only if no two rows and two columns of elements depend on each other.
    """
    drawn = masks(probability).double().movedim(AXES.index(axis), 0).flatten(1)
    centred = (drawn - (1 - probability)) / (probability * (1 - probability)) ** 0.5
    correlations = centred @ centred.T / drawn.shape[1] ** 0.5  # each about N(0, 1)
    pairs = correlations[*torch.triu_indices(len(drawn), len(drawn), 1)]
    assert float(pairs.abs().max()) < SIGMAS
    assert abs(float(pairs.square().mean()) - 1) < SIGMAS * (2 / len(pairs)) ** 0.5


def test_neighbouring_elements_of_one_mask_are_independent() -> None:
    """At any small distance in positions and channels, dropping one says nothing of the other."""
    drawn = masks(0.3).double()
    centred = (drawn - 0.7) / 0.21**0.5
    for down in range(5):
        for right in range(-5, 6):
            if (down, right) <= (0, 0):
                continue
            moved = centred.roll((-down, -right), dims=(-2, -1))
            z = float((centred * moved).sum()) / centred.numel() ** 0.5
            assert abs(z) < SIGMAS, (down, right)


def test_a_mask_is_what_whole_numbers_say() -> None:
    """Python's own integers give the same masks, so that no device and no dtype matters."""
    most = 2**64

    def mix(h: int) -> int:
        h = (h ^ (h >> 30)) * 0xBF58476D1CE4E5B9 % most
        h = (h ^ (h >> 27)) * 0x94D049BB133111EB % most
        return h ^ (h >> 31)

    def is_kept(row: int, position: int, channel: int, probability: float) -> bool:
        of_step = mix((SEED + GOLDEN * (STEP + 1)) % most)
        key = mix((of_step + GOLDEN * (row + 1)) % most)
        word = mix((position * WORDS + channel // 4 + 1) * GOLDEN % most) ^ key
        word = word * (mix((key + GOLDEN) % most) | 1) % most
        upper = (word >> 32) | (0xFFFFFFFF00000000 if word >> 63 else 0)
        drawn = (word ^ upper) >> (16 * (channel % 4)) & 0x7FFF
        return drawn < round((1 - probability) * 2**15)

    SEED, STEP, WORDS = 2**63 - 25, 999, 2
    by_row = [0.0, 0.1, 0.5]
    found = kept(row_keys(SEED, STEP, range(3)), limits(by_row), 3, 7) != 0
    assert found.tolist() == [
        [[is_kept(row, t, d, p) for d in range(7)] for t in range(3)]
        for row, p in enumerate(by_row)
    ]


def limits(probabilities: list[float]) -> Tensor:
    """Return the limits of rows."""
    return torch.tensor([limit_of(p) for p in probabilities], dtype=torch.int16)


def test_masks_do_not_depend_on_padding_or_on_the_pass() -> None:
    """Longer rows begin with the masks of shorter ones, and rows may come in any parts."""
    keys = row_keys(5, 3, range(7))
    whole = kept(keys, limits([0.4] * 7), 2000, 6)  # more words than the table has at first
    assert torch.equal(kept(keys[3:5], limits([0.4] * 2), 9, 6), whole[3:5, :9])


def test_elements_that_hash_their_own_word_are_dropped_alike() -> None:
    """What is compiled for a GPU drops what the CPU drops."""
    keys, x = row_keys(5, 3, range(6)), torch.rand(6, 9, 10)
    by_row = limits([0.0, 0.1, 0.3, 0.5, 0.7, 0.999])
    found = dropped_by_element(x, keys, by_row, dropout._table(9 * 3, keys))
    assert torch.equal(found, dropped(x, keys, by_row))
    assert torch.equal(found[0], x[0])
    grad, total = torch.rand(6, 9, 10), torch.rand(6, 9, 10)
    ours, theirs = total.clone(), total.clone()
    read = both_by_element(x, grad, ours, keys, by_row, dropout._table(9 * 3, keys))
    assert torch.equal(read, dropped_and_added(x, grad, theirs, keys, by_row))
    assert torch.equal(read, found)
    assert torch.equal(ours, theirs)
    assert torch.equal(ours, total + dropped(grad, keys, by_row))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning")  # PyTorch's own
def test_the_compiled_hash_is_the_same() -> None:
    """PyTorch's compiler changes no mask."""
    keys, x, by_row = row_keys(5, 3, range(6)), torch.rand(6, 9, 12), limits([0.3] * 6)
    compiled = torch.compile(dropped_by_element, dynamic=True)
    table = dropout._table(9 * 3, keys)
    assert torch.equal(compiled(x, keys, by_row, table), dropped(x, keys, by_row))
    ours, theirs, grad = torch.ones_like(x), torch.ones_like(x), torch.rand_like(x)
    both = torch.compile(both_by_element, dynamic=True)(x, grad, ours, keys, by_row, table)
    assert torch.equal(both, dropped_and_added(x, grad, theirs, keys, by_row))
    assert torch.equal(ours, theirs)


def test_the_gradient_is_dropped_with_the_same_mask() -> None:
    """The backward pass hashes again, and keeps neither the mask nor what it was applied to."""
    x = torch.rand(3, 5, 8, dtype=torch.float64, requires_grad=True)
    kept_bytes: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        kept_bytes.append(tensor.nbytes)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        y = SeededDropout(0.4, seed=3)(x)
    y.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad * x, y)
    assert set(x.grad.unique().tolist()) == {0.0, 1 / 0.6}
    assert sum(kept_bytes) < x.nbytes / 4
