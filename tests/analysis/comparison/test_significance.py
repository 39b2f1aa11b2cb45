"""Approximate randomisation against all exchanges there are, and Holm's correction by hand."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from analysis.comparison.permutation import exchange_p_values, exchanges_for, holm
from study.metrics import LOSS_SIGNATURE, METRICS, Array, Statistics, text_statistics

REFERENCES = [f"le puits {i} traverse un réservoir de gaz" for i in range(9)]


def _loss(values: Array) -> Statistics:
    return Statistics("loss", np.stack([values, np.ones(len(values))], axis=1), LOSS_SIGNATURE)


def _exact(base: Statistics, other: Statistics) -> float:
    """The p-value from every exchange of N examples."""
    observed, score = abs(other.score - base.score), METRICS[base.metric].aggregate
    reached = 0
    for swaps in product((False, True), repeat=len(base.values)):
        swapped = np.array(swaps)[:, None]
        one = np.where(swapped, other.values, base.values).sum(axis=0)
        two = np.where(swapped, base.values, other.values).sum(axis=0)
        reached += abs(score(two) - score(one)) >= observed - 1e-9
    return reached / 2 ** len(base.values)


@pytest.mark.parametrize("metric", ["bleu", "chrf"])
def test_the_p_value_is_that_of_all_exchanges(metric: str) -> None:
    """Drawing exchanges estimates what enumerating all 512 of them gives."""
    outputs = [r if i % 4 else "le puits vide" for i, r in enumerate(REFERENCES)]
    better = [r if i else "un puits de gaz" for i, r in enumerate(REFERENCES)]
    base, other = (text_statistics(metric, o, REFERENCES) for o in (outputs, better))
    (found,) = exchange_p_values([(other, base)], 20_000)
    assert found == pytest.approx(_exact(base, other), abs=0.01)
    assert 0.05 < found < 0.95


def test_equal_models_are_not_different() -> None:
    """No difference, no small p."""
    same = _loss(np.random.default_rng(0).random(30))
    assert exchange_p_values([(same, same)], 999) == pytest.approx([1.0])


@pytest.mark.parametrize("count", [4, 8, 20, 40])
def test_what_no_exchange_reaches_is_bounded(count: int) -> None:
    """Every example better by one: exact is 2 in 2^N, found between that and what was drawn."""
    values = np.random.default_rng(0).random(count)
    (found,) = exchange_p_values([(_loss(values + 1), _loss(values))], 999)
    exact = 2 / 2**count
    assert found >= exact or found == pytest.approx(exact, rel=0.4)
    assert found <= max(1 / 1000, 1.6 * exact, 2.5 * np.exp(-count / 2))


def test_p_values_are_uniform_where_nothing_differs() -> None:
    """Also of few examples: a twentieth of the p-values lies below 0.05."""
    rng = np.random.default_rng(1)
    p_values = np.array(
        [
            exchange_p_values(
                [(_loss(rng.exponential(size=8)), _loss(rng.exponential(size=8)))], 199
            )
            for _ in range(600)
        ]
    )
    assert (p_values <= 0.05).mean() == pytest.approx(0.05, abs=3 * (0.05 * 0.95 / 600) ** 0.5)
    assert p_values.mean() == pytest.approx(0.5, abs=0.04)


def test_large_sets_are_drawn_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks bound the memory, and change nothing but the draws."""
    rng = np.random.default_rng(2)
    base, other = _loss(rng.random(40)), _loss(rng.random(40) + 0.08)
    whole = exchange_p_values([(other, base)], 4000)
    monkeypatch.setattr("analysis.comparison.permutation.CHUNK", 40 * 7)
    assert exchange_p_values([(other, base)], 4000) == pytest.approx(whole, abs=0.03)


def test_tests_that_are_settled_end_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their p-values are nearly those of all exchanges, and company changes none of them."""
    rng = np.random.default_rng(6)
    base = rng.random(60)
    pairs = [(_loss(base + rng.normal(by, 0.3, 60)), _loss(base)) for by in (0.03, 0.11, 1.0)]
    alone = [exchange_p_values([pair], 20_000)[0] for pair in pairs]
    early = exchange_p_values(pairs, 20_000)
    assert early == pytest.approx(alone)
    monkeypatch.setattr("analysis.comparison.permutation.FEWEST", 20_000)
    assert early == pytest.approx(exchange_p_values(pairs, 20_000), rel=0.3)
    assert early[2] < 1e-4 < early[1] < early[0]


def test_holm_by_hand() -> None:
    """Each by as many as are left, never less than the one before, never above one."""
    assert holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert holm([0.5, 0.9]).tolist() == [1.0, 1.0]
    assert holm([]).shape == (0,)


def test_holm_of_a_part_of_a_family_is_never_smaller() -> None:
    """What is corrected without the others that it was chosen from is on the safe side."""
    p = np.random.default_rng(3).random(20) ** 3
    part = np.sort(np.random.default_rng(4).choice(20, size=6, replace=False))
    assert (holm(p[part], family=20) >= holm(p)[part] - 1e-12).all()
    assert holm([0.01], family=20) == pytest.approx([0.2])


def test_a_family_of_true_nulls_is_hardly_ever_rejected() -> None:
    """Nine adapters by three metrics that are the base in all but chance, sixty times."""
    rng, runs = np.random.default_rng(5), 60
    corrected = uncorrected = 0
    for run in range(runs):
        of_example = rng.exponential(size=(3, 1, 30))
        base, *others = np.moveaxis(of_example + rng.exponential(size=(3, 10, 30)), 1, 0)
        p_values = [
            exchange_p_values([(_loss(o[m]), _loss(base[m])) for o in others], 1000, seed=run)
            for m in range(3)
        ]
        corrected += bool((holm(np.concatenate(p_values)) < 0.05).any())
        uncorrected += bool((np.concatenate(p_values) < 0.05).any())
    assert corrected <= 0.05 * runs + 3 * (0.05 * 0.95 * runs) ** 0.5
    assert uncorrected > 0.25 * runs


def test_a_family_has_exchanges_enough() -> None:
    """The least p-value, times the family, lies well below 0.05; where it cannot, few will do."""
    for family in (1, 72, 500):
        assert family / (exchanges_for(family) + 1) <= 0.01
    assert exchanges_for(5_000) == 100_000
    assert exchanges_for(5_001) == 2_000
