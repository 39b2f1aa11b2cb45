"""Pruned, infinite and bad trials count as stated."""

import numpy as np
import pytest

from analysis.studies.trial_values import Pruned, clipped, with_pruned

POINTS = [{"x": 0.1}, {"x": 0.2}, {"x": 0.3}]
VALUES = np.array([1.0, np.nan, 3.0])
PRUNED: list[Pruned] = [({"x": 0.9}, 2.0)]


@pytest.mark.parametrize(
    ("policy", "direction", "expected"),
    [
        ("drop", "maximize", [1.0, 3.0]),
        ("last", "maximize", [1.0, 3.0, 2.0]),
        ("worst", "maximize", [1.0, 3.0, 1.0]),
        ("worst", "minimize", [1.0, 3.0, 3.0]),
    ],
)
def test_each_policy(policy: str, direction: str, expected: list[float]) -> None:
    """Pruned trials are dropped, keep their last report, or get the worst finished value."""
    points, values, not_finite = with_pruned(POINTS, VALUES, PRUNED, policy, direction)
    assert values.tolist() == expected
    assert len(points) == len(expected)
    assert not_finite == 1


def test_bad_values_are_clipped_at_the_quantile() -> None:
    """Below the cutoff all values are the cutoff, in either direction."""
    values = np.arange(11.0)
    assert clipped(values, 0.3, "maximize")[0].tolist() == [7.0] * 8 + [8.0, 9.0, 10.0]
    assert clipped(values, 0.3, "minimize")[0].tolist() == [0.0, 1.0, 2.0] + [3.0] * 8
