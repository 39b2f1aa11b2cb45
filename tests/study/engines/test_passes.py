"""Passes keep to their budget, hold rows of similar length, and lose no row."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from study.engines import pass_size
from study.engines.pass_size import PassBytes, limit, pass_bytes
from study.engines.passes import Padding, TokenBudget, cut, parts_of, rectangles, tokens_of
from study.tasks.base import Batch


def group_of(lengths: list[int]) -> Batch:
    """Return a group of rows of these lengths."""
    longest = max(lengths)
    mask = torch.tensor([[1] * n + [0] * (longest - n) for n in lengths])
    return Batch({"input_ids": mask, "attention_mask": mask}, mask)


lengths = st.lists(st.integers(1, 30), min_size=1, max_size=4)
batches = st.lists(st.lists(lengths, min_size=1, max_size=4), min_size=1, max_size=5)


@settings(deadline=None, derandomize=True, database=None, max_examples=50)
@given(batches, st.integers(1, 300), st.booleans())
def test_passes_keep_to_the_budget_and_lose_no_row(
    drawn: list[list[list[int]]], most: int, reads_labels: bool
) -> None:
    """Every row is in one pass, where its trial's rows follow each other; one part may exceed."""
    groups = {slot: [group_of(sorted(g)) for g in batch] for slot, batch in enumerate(drawn)}
    parts = [p for slot, batch in groups.items() for p in parts_of(slot, batch, most, reads_labels)]
    seen: dict[int, list[int]] = {slot: [] for slot in groups}
    for of_pass in cut(parts, most, reads_labels):
        tokens = tokens_of((part.batch for part in of_pass), reads_labels)
        assert tokens <= most or len(of_pass) == 1
        for slot in groups:
            own = [part for part in of_pass if part.slot == slot]
            assert all(a.first + a.count == b.first for a, b in pairwise(own))
            seen[slot] += [part.first + n for part in own for n in range(part.count)]
    assert seen == {
        slot: list(range(sum(len(group.labels) for group in batch)))
        for slot, batch in groups.items()
    }


def test_rows_of_similar_length_share_a_pass() -> None:
    """Two trials' short rows are not padded to the long ones; the padding left is counted."""
    batch = [group_of([2, 4]), group_of([20, 20])]
    parts = parts_of(0, batch, 100, False) + parts_of(1, batch, 100, False)
    passes = cut(parts, 80, False)
    assert [[(part.slot, part.first) for part in of_pass] for of_pass in passes] == [
        [(0, 0), (1, 0)],
        [(0, 2), (1, 2)],
    ]
    padding = Padding()
    padding.count(passes, False)
    (event,) = padding.event(2, TokenBudget(80))
    assert (event.padded, event.real) == (96, 92)
    assert event.facts()["share_of_padding"] == round(4 / 96, 3)
    assert event.after(event).padded == 192
    assert padding.event(2, TokenBudget(80)) == []


@given(st.integers(1, 6), st.integers(1, 20), st.integers(0, 100))
def test_rows_of_several_models_are_covered_once(models: int, rows: int, most: int) -> None:
    """The passes tile models times rows, each of at most the rows allowed."""
    passes = rectangles(range(models), range(rows), most)
    cells = [(m, r) for some, of_model in passes for m in some for r in of_model]
    assert sorted(cells) == [(m, r) for m in range(models) for r in range(rows)]
    assert all(len(some) * len(of_model) <= max(1, most) for some, of_model in passes)


@pytest.mark.parametrize(
    ("tokens", "measured", "wanted"),
    [
        ([10, 20], [700.0, 1200.0], PassBytes(200.0, 50.0)),
        ([10, 20], [0.0, 0.0], PassBytes(0.0, 7.0)),  # the system does not say: counted
        ([10], [500.0], PassBytes(0.0, 50.0)),  # the second pass did not fit
        ([10, 20], [1900.0, 2000.0], PassBytes(1000.0, 50.0)),  # the first allocated once for all
    ],
)
def test_a_line_through_two_passes_says_what_a_token_takes(
    tokens: list[int], measured: list[float], wanted: PassBytes
) -> None:
    """A fixed part and one per token, careful where one of them cannot be right."""
    assert pass_bytes(tokens, measured, counted=7.0) == wanted


def test_the_budget_is_what_fits_and_is_worth_having(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training passes end where more gains nothing, in tokens or, on a CPU, in bytes.

    A killed worker's successor has half.
    """
    budget = TokenBudget()
    limit(budget, PassBytes(0.0, 2.0**21), 2**40)  # two megabytes a token: a large model
    assert (budget.training, budget.evaluation) == (768, 2**19)
    limit(budget, PassBytes(0.0, 2.0**24), 2**40)
    assert budget.training == 256
    monkeypatch.setattr(pass_size, "TOKENS_PER_PASS", {"cpu": 100})
    for free, share, training, evaluation in (
        (10_000, 1.0, 100, 180),
        (4_000, 1.0, 60, 60),
        (10_000, 0.5, 50, 90),
        (0, 1.0, 1, 1),
    ):
        limit(budget, PassBytes(1000.0, 50.0), free, share)
        assert (budget.training, budget.evaluation) == (training, evaluation)
    limit(budget, PassBytes(0.0, math.inf), 10_000)
    assert budget.training == 1
