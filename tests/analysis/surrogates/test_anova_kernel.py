"""A parameter's kernel knows nothing of the constant, at any length scale."""

import numpy as np
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from analysis.surrogates.anova_kernel import Axis
from analysis.surrogates.encoding import make_column


@pytest.mark.parametrize("length", [0.05, 0.4, 5.0])
@pytest.mark.parametrize(
    "distribution",
    [
        FloatDistribution(0, 1),
        CategoricalDistribution([1, 2, 4, 8]),
        CategoricalDistribution(["qv", "attention", "all"]),
    ],
    ids=str,
)
def test_it_integrates_to_zero_with_unit_mean_variance(
    distribution: BaseDistribution, length: float
) -> None:
    """Functions drawn from it have mean zero and, on average, variance one."""
    column = make_column("x", distribution)
    grid = np.linspace(0, 1, 7) if column.positions is None else column.positions
    axis = Axis.of(column, grid)
    gram = axis.gram(length)
    mean, error = axis.weights @ gram.cross, 1e-9
    if column.positions is None:
        everywhere = (np.arange(20_000) + 0.5) / 20_000
        mean, error = axis.to_trials(everywhere, length)[0].mean(axis=0), 1e-6  # the midpoint rule
    assert mean == pytest.approx(np.zeros(len(grid)), abs=error)
    assert axis.weights @ np.diagonal(gram.nodes) == pytest.approx(1.0)
    assert np.linalg.eigvalsh(gram.trials).min() > -1e-9


def test_predictions_use_the_same_kernel_as_the_fit() -> None:
    """At the trials themselves both ways to the kernel agree."""
    column = make_column("x", FloatDistribution(0, 1))
    axis = Axis.of(column, np.array([0.1, 0.4, 0.9]))
    gram = axis.gram(0.3)
    cross, own = axis.to_trials(axis.at, 0.3)
    assert cross == pytest.approx(gram.trials)
    assert own == pytest.approx(np.diagonal(gram.trials))
