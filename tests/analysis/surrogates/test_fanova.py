"""The decomposition of a forest is exact."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from analysis.surrogates import forest as fanova
from analysis.surrogates.encoding import make_column
from tests.uniform_draws import draw, hold_mean_curve

COLUMNS = (
    make_column("a", FloatDistribution(0, 1)),
    make_column("b", CategoricalDistribution([1, 2, 4])),
    make_column("c", IntDistribution(1, 4, log=True)),
)


def test_shares_agree_with_brute_force() -> None:
    """Main effects, pairs and the total of one tree equal sums over a fine complete grid."""
    units = draw(COLUMNS, 40, 0)
    values = np.sin(5 * units[:, 0]) * units[:, 1] + units[:, 2] ** 2
    tree = fanova.fit_forest(units, values, COLUMNS, trees=1)
    fine = (np.arange(2000) + 0.5) / 2000
    assert COLUMNS[1].positions is not None
    assert COLUMNS[2].positions is not None
    grid = np.array(list(product(fine, COLUMNS[1].positions, COLUMNS[2].positions)))
    f = tree.predict(grid).reshape(2000, 3, 4)
    weights = np.broadcast_to(COLUMNS[2].weights, (2000, 3, 4)) / 6000
    mean = (f * weights).sum()
    total = ((f - mean) ** 2 * weights).sum()
    by_c = (f * weights).sum(axis=(0, 1)) / weights.sum(axis=(0, 1))
    main_c = (by_c - mean) ** 2 @ weights.sum(axis=(0, 1))
    by_ac = f.mean(axis=1)
    closed_ac = ((by_ac - mean) ** 2 * weights.sum(axis=1)).sum()
    assert fanova.total_variance(tree.boxes)[0] == pytest.approx(total, rel=2e-2)
    assert fanova.main_effects(tree.boxes)[2, 0] == pytest.approx(main_c, rel=2e-2)
    assert fanova.closed_pair(tree.boxes, 0, 2)[0] == pytest.approx(closed_ac, rel=2e-2)


@given(st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_all_effects_add_up_to_the_variance(seed: int) -> None:
    """Over all subsets the components add up to one, and two ways of a pair agree."""
    units = draw(COLUMNS, 30, seed)
    forest = fanova.fit_forest(units, np.random.default_rng(seed).normal(size=30), COLUMNS, seed, 3)
    total = fanova.total_variance(forest.boxes)
    assert fanova.closed_subset(forest.boxes, (0, 1, 2)) == pytest.approx(total)
    for pair in [(0, 1), (0, 2), (1, 2)]:
        assert fanova.closed_pair(forest.boxes, *pair) == pytest.approx(
            fanova.closed_subset(forest.boxes, pair)
        )
    assert fanova.main_effects(forest.boxes)[1] == pytest.approx(
        fanova.closed_subset(forest.boxes, (1,))
    )


def test_a_pair_larger_than_a_block_is_summed_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Holding few rows of a pair's grid at a time changes nothing."""
    units = draw(COLUMNS, 40, 1)
    boxes = fanova.fit_forest(units, units.sum(axis=1), COLUMNS, trees=2).boxes
    whole = fanova.closed_pair(boxes, 0, 1)
    monkeypatch.setattr(fanova, "ROWS_AT_ONCE", 12)
    assert fanova.closed_pair(boxes, 0, 1) == pytest.approx(whole)


def test_a_marginal_is_the_mean_over_the_others() -> None:
    """The curve of a level equals the mean prediction with that level fixed."""
    units = draw(COLUMNS, 60, 2)
    forest = fanova.fit_forest(units, units[:, 0] + 3 * units[:, 1], COLUMNS, trees=8)
    hold_mean_curve(forest, COLUMNS, 1, draw(COLUMNS, 20_000, 3), within=0.01)


def test_a_complete_grid_gives_its_exact_shares() -> None:
    """Without bootstrap a forest on a complete grid reproduces the analysis of variance."""
    columns = tuple(
        make_column(n, CategoricalDistribution(list(range(k))))
        for n, k in zip("abc", (6, 6, 8), strict=True)
    )
    rng = np.random.default_rng(0)
    f = rng.normal(size=(6, 1, 1)) + rng.normal(size=(1, 6, 8)) + 0.3 * rng.normal(size=(6, 6, 8))
    units = np.array(
        [
            [c.to_unit(v) for c, v in zip(columns, index, strict=True)]
            for index in np.ndindex(f.shape)
        ]
    )
    shares = fanova.fit_forest(units, f.ravel(), columns, trees=4, bootstrap=False).shares()
    exact = [f.mean(axis=tuple({0, 1, 2} - {j})).var() / f.var() for j in range(3)]
    assert shares.main == pytest.approx(exact, abs=0.005)
    pair = f.mean(axis=0).var() / f.var() - exact[1] - exact[2]
    assert shares.pairs[1, 2] == pytest.approx(pair, abs=0.005)


def test_a_constant_forest_has_no_shares() -> None:
    """Nothing varies, nothing is divided by zero."""
    forest = fanova.fit_forest(draw(COLUMNS, 10, 0), np.ones(10), COLUMNS, trees=2)
    assert forest.shares().main == pytest.approx([0, 0, 0])
