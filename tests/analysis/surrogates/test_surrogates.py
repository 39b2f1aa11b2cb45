"""The better predictor is chosen, and held-out means held out."""

import numpy as np
from optuna.distributions import CategoricalDistribution, FloatDistribution

from analysis.surrogates.choice import choose, fit, folds, held_out_r2
from analysis.surrogates.encoding import Encoding, encode, make_column

COLUMNS = tuple(make_column(name, FloatDistribution(0, 1)) for name in "ab")


def test_equal_points_share_a_fold() -> None:
    """A replicate of a held-out trial is held out with it."""
    units = np.repeat(np.random.default_rng(0).random((10, 2)), 3, axis=0)
    masks = folds(units, seed=0)
    assert sum(masks).tolist() == [1] * 30  # type: ignore[union-attr,attr-defined]
    for mask in masks:
        assert all(len(set(mask[i : i + 3])) == 1 for i in range(0, 30, 3))


def test_a_smooth_objective_takes_the_process_and_a_random_table_the_better_one() -> None:
    """The choice is by held-out R², and says by how much."""
    rng = np.random.default_rng(0)
    encoding = Encoding(COLUMNS, rng.random((60, 2)), {}, {})
    smooth = choose("auto", encoding, np.sin(4 * encoding.units).sum(axis=1))
    assert smooth.name == "gp"
    assert smooth.remark is not None
    assert "Gaussian process was chosen" in smooth.remark
    assert smooth.held_out_r2["gp"] > smooth.held_out_r2["forest"]


def test_two_that_predict_nothing_are_both_named() -> None:
    """Where equal points leave nothing to hold out, both score zero and one of them is taken."""
    encoding = Encoding(COLUMNS, np.full((8, 2), 0.5), {}, {})
    remark = choose("auto", encoding, np.arange(8.0)).remark
    assert remark is not None
    assert "Gaussian process" in remark
    assert "the forest" in remark


def test_noise_cannot_be_predicted() -> None:
    """Both surrogates score about zero or below on noise."""
    rng = np.random.default_rng(1)
    encoding = Encoding(COLUMNS, rng.random((50, 2)), {}, {})
    for name in ("gp", "forest"):
        assert held_out_r2(name, encoding, rng.normal(size=50)) < 0.1


def test_a_complete_grid_is_decomposed_exactly() -> None:
    """Every combination tried once: the forest without bootstrap, whatever the surface."""
    rng = np.random.default_rng(0)
    table = rng.normal(size=(4, 5))
    points = [{"a": i, "b": j} for i in range(4) for j in range(5)]
    space = {n: CategoricalDistribution(range(k)) for n, k in (("a", 4), ("b", 5))}
    encoding = encode(points, space)
    values = np.array([table[p["a"], p["b"]] for p in points])
    choice = choose("auto", encoding, values)
    assert choice.name == "forest"
    exact = [table.mean(axis=1).var() / table.var(), table.mean(axis=0).var() / table.var()]
    assert np.allclose(fit("forest", encoding, values).shares().main, exact, atol=0.005)


def test_a_grid_over_continuous_ranges_is_one_too() -> None:
    """A grid sampler's points are levels, not random draws from the range."""
    points = [{"a": a, "b": b} for a in (0.0, 0.1, 1.0) for b in (0.2, 0.3, 0.4, 0.9)]
    encoding = encode(points, {n: FloatDistribution(0, 1) for n in "ab"})
    assert encoding.is_complete_grid
    assert encoding.columns[0].values == (0.0, 0.1, 1.0)
    assert not encode(points[1:], {n: FloatDistribution(0, 1) for n in "ab"}).is_complete_grid
