"""The authors' own package, where it is installed, and a way out where it is not."""

import importlib.util

import numpy as np
import pytest
from optuna.distributions import FloatDistribution

from analysis.importance.variance import importances

SPACE = {name: FloatDistribution(0, 1) for name in "abc"}
INSTALLED = importlib.util.find_spec("fanova") is not None


def trials() -> tuple[list[dict[str, float]], list[float]]:
    """Return random points and a smooth objective."""
    rng = np.random.default_rng(0)
    points = [{name: float(rng.random()) for name in SPACE} for _ in range(60)]
    return points, [p["a"] + 0.5 * p["b"] * p["c"] for p in points]


@pytest.mark.skipif(INSTALLED, reason="an absent fANOVA is NOT tested: it is installed")
def test_without_the_package_the_error_says_how_to_get_it() -> None:
    """The message names the session that has it."""
    with pytest.raises(ModuleNotFoundError, match="nox -s fanova"):
        importances(*trials(), SPACE, evaluator="fanova-original", resamples=0)


@pytest.mark.skipif(not INSTALLED, reason="the authors' fANOVA is NOT tested: run `nox -s fanova`")
def test_it_agrees_with_our_forest() -> None:
    """The same trials, the same shares within forest noise."""
    original = importances(*trials(), SPACE, evaluator="fanova-original", resamples=2)
    ours = importances(*trials(), SPACE, surrogate="forest", resamples=2)
    assert original.evaluator == "fanova-original"
    expected = {p.name: p.importance for p in ours.parameters}
    for parameter in original.parameters:
        assert parameter.importance == pytest.approx(expected[parameter.name], abs=0.05)
