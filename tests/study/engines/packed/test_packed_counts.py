"""What a packed step would need on a GPU, counted with tensors that have no data."""

from __future__ import annotations

import pytest

from benchmarks.packed_fake import counted


@pytest.mark.parametrize(
    ("name", "recomputes", "operations", "kilobytes"),
    [
        pytest.param("llama-1b", True, 240, 20, marks=pytest.mark.whole),
        pytest.param("llama-1b", False, 176, 116, marks=pytest.mark.slow),
        pytest.param("nllb-600m", True, 340, 20, marks=pytest.mark.slow),
    ],
)
def test_a_block_keeps_to_its_ceilings(
    name: str, recomputes: bool, operations: int, kilobytes: int
) -> None:
    """One more block costs at most so many launches and kilobytes a token, and no wait."""
    one, two = (counted(name, layers, 4, 4, 256, recomputes) for layers in (1, 2))
    assert 0 < two.operations - one.operations <= operations
    assert 0 < two.bytes_per_token - one.bytes_per_token <= kilobytes * 1e3
    assert one.syncs == two.syncs == 0


@pytest.mark.whole
def test_operations_do_not_grow_with_the_slots() -> None:
    """Few slots and many take the same launches."""
    few, many = (counted("llama-1b", 1, slots, 1, 16) for slots in (2, 8))
    assert few.operations == many.operations
    assert 0 < many.in_update <= 26


@pytest.mark.slow
def test_an_update_with_two_rates_takes_twice_the_launches_at_most() -> None:
    """LoRA+ moves A and B each in one go, for all slots."""
    assert counted("llama-1b", 1, 4, 1, 16, ratio=4.0).in_update <= 40
