"""The order of trials with several objectives: fronts, and in a front the least crowded first."""

from __future__ import annotations

import math

import numpy as np
import pytest
from optuna.study._multi_objective import _fast_non_domination_rank

from study.searching.fronts import fronts


def test_one_objective_is_ranked_by_its_values() -> None:
    """The highest comes first, equal ones share a front, and the earlier of them is first."""
    assert fronts({7: (2.0,), 0: (1.0,), 3: (2.0,), 5: (-math.inf,)}) == [[3, 7], [0], [5]]


def test_the_ends_of_a_front_come_first_and_then_those_with_room() -> None:
    """On one front the ends stay, then the one whose neighbours are farthest away."""
    line = {0: (4.8, 5.2), 1: (4.9, 5.1), 2: (0.0, 10.0), 3: (10.0, 0.0), 4: (8.0, 2.0)}
    assert fronts(line) == [[2, 3, 4, 0, 1]]


def test_a_dominated_trial_comes_later_wherever_it_stands() -> None:
    """Being an end of a later front does not help."""
    assert fronts({0: (0.0, 9.0), 1: (1.0, 10.0), 2: (10.0, 1.0), 3: (9.0, 0.0)}) == [
        [1, 2],
        [0, 3],
    ]


def test_equal_trials_take_one_place() -> None:
    """Of two trials that are the same end, the second makes room for what differs."""
    (front,) = fronts({0: (0.0, 2.0), 1: (0.0, 2.0), 2: (1.0, 1.0), 3: (2.0, 0.0)})
    assert front == [0, 3, 2, 1]


def test_what_was_not_measured_comes_last() -> None:
    """Several without values share the last front."""
    lost = (-math.inf, -math.inf)
    assert fronts({0: lost, 1: (-1e9, 0.0), 2: lost}) == [[1], [0, 2]]


@pytest.mark.parametrize("objectives", [1, 2, 3])
def test_fronts_are_those_of_optuna(objectives: int) -> None:
    """Optuna's own non-dominated sort, which minimises, finds the same fronts."""
    rng = np.random.default_rng(objectives)
    for _ in range(20):
        points = rng.integers(0, 5, (30, objectives)).astype(float)
        found = fronts(dict(enumerate(map(tuple, points.tolist()))))
        ranks = _fast_non_domination_rank(-points)
        assert [sorted(front) for front in found] == [
            np.flatnonzero(ranks == rank).tolist() for rank in range(ranks.max() + 1)
        ]
