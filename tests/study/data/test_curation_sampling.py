"""Quotas add up and stay within their strata; draws do not see the order of their records."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.data.curation.cleaning import normalised
from study.data.curation.instruction_records import Record
from study.data.curation.sampling import apportion, at_most, proportional, shuffled, topped_up
from study.data.curation.splitting import split
from study.errors import InputError

SIZES = st.lists(st.integers(0, 60), min_size=1, max_size=12)
WORDS = st.sampled_from(["well", "Well", "well.", "rig", "oil rig", "gas"])


@st.composite
def records(draw: st.DrawFn) -> list[Record]:
    """Records of few inputs, outputs and templates, so that all of them meet again."""
    parts = st.tuples(WORDS, st.sampled_from("abc"), st.sampled_from("xyz"))
    found = draw(st.lists(parts, max_size=40))
    return [Record(n, *part) for n, part in enumerate(found, 1)]


def content(found: list[Record]) -> list[tuple[str, str, str]]:
    """What records say, in their order."""
    return [(r.source, r.target, r.template) for r in found]


@given(SIZES, st.integers(0, 500))
def test_proportional_quotas_are_exact_shares_rounded(sizes: list[int], total: int) -> None:
    """They add up, no stratum gives more than it has, and each is its share rounded up or down."""
    quotas = apportion(sizes, total)
    whole = sum(sizes)
    assert sum(quotas) == min(total, whole)
    for quota, size in zip(quotas, sizes, strict=True):
        assert 0 <= quota <= size
        if total < whole:
            assert abs(quota - total * size / whole) < 1


@given(SIZES, st.integers(0, 60))
def test_topping_up_fills_the_total_evenly(sizes: list[int], each: int) -> None:
    """Short strata give all; the others share what is lacking, and differ by one at most."""
    quotas = topped_up(sizes, each)
    assert sum(quotas) == min(each * len(sizes), sum(sizes))
    assert all(quota <= size for quota, size in zip(quotas, sizes, strict=True))
    partly = [q for q, size in zip(quotas, sizes, strict=True) if q < size]
    if partly:
        assert max(partly) - min(partly) <= 1
        assert min(partly) >= each
        assert max(quotas) <= min(partly) + 1


def test_topping_up_by_hand() -> None:
    """Two short clusters lack 40 + 10 of 100; the three others give 17, 17 and 16 more."""
    assert topped_up([500, 400, 300, 90, 60], 100) == [117, 117, 116, 90, 60]
    assert topped_up([110, 500, 20], 100) == [110, 170, 20]
    assert topped_up([5, 3], 10) == [5, 3]


@given(records(), st.integers(0, 3), st.integers(0, 50), st.randoms(use_true_random=False))
def test_samples_do_not_see_the_order(
    found: list[Record], seed: int, wanted: int, chance: random.Random
) -> None:
    """Whatever order the records came in, the same ones are drawn, in the same order."""
    other = found.copy()
    chance.shuffle(other)
    for draw in (proportional, at_most):
        assert content(draw(found, wanted, seed, "p")) == content(draw(other, wanted, seed, "p"))


@given(records(), st.integers(0, 50))
def test_samples_are_stratified(found: list[Record], wanted: int) -> None:
    """By share every template is within one of it; equally each gives what is asked or all."""
    there = Counter(r.template for r in found)
    drawn = proportional(found, wanted, 0, "p")
    assert len({r.number for r in drawn}) == len(drawn) == min(wanted, len(found))
    for template, count in Counter(r.template for r in drawn).items():
        assert abs(count - min(wanted, len(found)) * there[template] / len(found)) < 1
    equally = Counter(r.template for r in at_most(found, wanted, 0, "p"))
    assert all(equally[t] == min(wanted, count) for t, count in there.items())


def test_every_stage_draws_anew() -> None:
    """The first of one draw are no more often first in another, nor under another seed."""
    found = [Record(n, f"input {n}", "yes") for n in range(400)]
    orders = [shuffled(found, 0, "a"), shuffled(found, 0, "b"), shuffled(found, 1, "a")]
    first = [{r.number for r in order[:100]} for order in orders]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert 10 <= len(first[one] & first[other]) <= 42  # 25 expected, four deviations


@given(records(), st.floats(0.05, 0.5), st.sampled_from([0.0, 0.3]), st.integers(0, 3))
def test_a_split_leaks_nothing_and_loses_nothing(
    found: list[Record], dev: float, test: float, seed: int
) -> None:
    """Every record is in one part, no input in two, and no part is empty; or it is refused."""
    shares = {"dev": dev} | ({"test": test} if test else {})
    inputs = {normalised(r.source) for r in found}
    if len(inputs) < len(shares) + 1:
        with pytest.raises(InputError, match="distinct input"):
            split(found, shares, seed)
        return
    parts = split(found, shares, seed)
    assert sorted(r.number for part in parts.values() for r in part) == [r.number for r in found]
    assert all(parts.values())
    sides = [{normalised(r.source) for r in part} for part in parts.values()]
    assert sum(map(len, sides)) == len(inputs)


@given(st.integers(2, 80), st.floats(0.05, 0.45), st.floats(0.05, 0.45))
def test_distinct_inputs_split_to_the_record(count: int, dev: float, test: float) -> None:
    """Where no input stands twice, dev and test have their shares exactly."""
    found = [Record(n, f"input {n}", "yes", "abc"[n % 3]) for n in range(count)]
    if count < 3:
        return
    parts = split(found, {"dev": dev, "test": test}, 0)
    wanted = max(1, round(dev * count))
    assert len(parts["dev"]) == min(wanted, count - 2)
    for template in "abc":
        there = sum(r.template == template for r in found)
        own = sum(r.template == template for r in parts["dev"])
        assert abs(own - wanted * there / count) < 1 or count - 2 < wanted
