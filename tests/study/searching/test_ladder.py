"""The ladder of starts covers its two decades in any space that has a learning rate or an alpha."""

from __future__ import annotations

import tomllib
from itertools import pairwise
from typing import Any

import pytest

from search_spaces import SearchSpace
from study.searching.earlier import earlier_points, started_from
from study.searching.ladder import HIGH, LOW, RUNGS, ladder
from study.spec.files import load_spec
from study.spec.sections import StudySpec, parse_spec

RATE = {"low": 1e-5, "high": 1e-1, "log": True}
FIXED = {"learning_rate": 5e-4, "alpha": 32.0}


def spec_of(parameters: dict[str, Any], **search: Any) -> StudySpec:
    """A study over these parameters."""
    return parse_spec({"name": "x", "search": {"parameters": parameters, **search}}, "x.toml")


def space_of(parameters: dict[str, Any]) -> SearchSpace:
    """The search space of these parameters."""
    return spec_of(parameters).search.search_space


def products(points: list[dict[str, Any]]) -> list[float]:
    """The points' products, with the fixed value of what they lack."""
    both = ({**FIXED, **point} for point in points)
    return [point["learning_rate"] * point["alpha"] for point in both]


@pytest.mark.parametrize(
    "parameters",
    [
        {"learning_rate": RATE, "alpha": {"choices": [8, 16, 32]}},
        {"learning_rate": RATE},
        {"alpha": {"low": 1.0, "high": 1024.0, "log": True}},
        {"learning_rate": {"choices": [1e-4, 5e-4, 1e-3, 5e-3]}, "alpha": {"low": 4, "high": 64}},
    ],
)
def test_its_rungs_are_spread_over_two_decades(parameters: dict[str, Any]) -> None:
    """Whether the space has both, one of them, or choices: eight products from 0.002 to 0.2."""
    found = sorted(products(ladder(space_of(parameters), FIXED)))
    assert len(found) == RUNGS
    assert found[0] == pytest.approx(LOW, rel=0.2)
    assert found[-1] == pytest.approx(HIGH, rel=0.2)
    steps = [b / a for a, b in pairwise(found)]
    assert max(steps) < 2.6


def test_it_begins_in_the_middle() -> None:
    """The first points are the nearest to the published product, the last ones its ends."""
    found = products(ladder(load_spec("petroleum-wide").search.search_space, {}))
    assert 0.01 < found[0] < 0.03
    assert 0.01 < found[1] < 0.03
    assert sorted(found[-2:]) == pytest.approx([LOW, HIGH])


def test_a_narrow_space_has_fewer_rungs() -> None:
    """What lies outside is moved to the edge, and equal points are one."""
    narrow = space_of({"learning_rate": {"low": 1e-4, "high": 2e-4, "log": True}})
    points = ladder(narrow, {"alpha": 32.0})
    rates = sorted(point["learning_rate"] for point in points)
    assert (rates[0], rates[-1], len(rates)) == (1e-4, 2e-4, 3)


def test_other_parameters_stand_in_the_middle_and_modules_are_all() -> None:
    """A middle rank, and the largest set of modules that the space has."""
    points = ladder(
        space_of(
            {
                "learning_rate": RATE,
                "rank": {"choices": [4, 8, 16]},
                "target_modules": {"choices": ["qv", "all-linear", "attention"]},
            }
        ),
        FIXED,
    )
    assert {(point["rank"], point["target_modules"]) for point in points} == {(8, "all-linear")}


def test_without_learning_rate_and_alpha_there_is_none() -> None:
    """A space that searches neither has nothing to climb."""
    assert ladder(space_of({"rank": {"choices": [4, 8]}}), FIXED) == []


# ---------------------------------------------------------------- goals in a study file


def test_a_file_without_a_goal_is_as_before() -> None:
    """It means `understand`, with TPE, no ladder and no confirmation."""
    search = spec_of({"learning_rate": RATE}).search
    assert (search.goal, search.sampler, search.start) == ("understand", "tpe", "none")
    assert not search.confirm
    assert search.budget == search.trials
    assert spec_of({"learning_rate": RATE}).starts == ()


def test_the_goal_best_fills_in_what_is_left_unsaid() -> None:
    """The sampler for LoRA, the ladder, and six of the trials to confirm the best."""
    best = spec_of({"learning_rate": RATE}, goal="best")
    assert (best.search.sampler, best.search.start) == ("lora", "ladder")
    assert len(best.starts) == RUNGS
    assert best.search.confirm
    assert best.search.budget == best.search.trials - 6
    own = spec_of({"learning_rate": RATE}, goal="best", sampler="gp", start="none", confirm=False)
    assert (own.search.sampler, own.starts, own.search.confirm) == ("gp", (), False)


def test_few_trials_are_not_confirmed_by_default() -> None:
    """Six of ten would be too many; asked for, they must leave three trials to choose from."""
    few = spec_of({"learning_rate": RATE}, goal="best", trials=10)
    assert not few.search.confirm
    assert spec_of({"learning_rate": RATE}, goal="best", trials=10, confirm=True).search.budget == 4
    with pytest.raises(Exception, match=r"search.confirm: .* at least 9, got 8"):
        spec_of({"learning_rate": RATE}, trials=8, confirm=True)


def test_without_held_out_examples_nothing_is_set_aside() -> None:
    """Data of one's own without a test split cannot confirm, so all trials search."""
    document = {
        "name": "x",
        "base": {"model": "here"},
        "data": {"train": "train.tsv", "dev": "dev.tsv"},
        "search": {"goal": "best", "parameters": {"learning_rate": RATE}},
    }
    assert not parse_spec(document, "x.toml").search.confirm


def test_a_grid_needs_no_ladder() -> None:
    """The goal leaves it out, and a file that asks for both is refused."""
    levels = {"alpha": {"choices": [8, 16]}}
    assert spec_of(levels, goal="best", sampler="grid").starts == ()
    with pytest.raises(Exception, match=r"search.start: grid takes every point .* got 'ladder'"):
        spec_of(levels, sampler="grid", start="ladder")


def test_goals_survive_the_stored_study() -> None:
    """A study written and read again is the same study."""
    best = spec_of({"learning_rate": RATE}, goal="best")
    assert parse_spec(tomllib.loads(best.to_toml()), "x.toml") == best


# ---------------------------------------------------------------- an earlier study


def test_the_best_points_that_fit_are_taken_over() -> None:
    """Others are counted, equal ones are one, and unknown parameters are left out."""
    space = space_of({"learning_rate": RATE, "rank": {"choices": [4, 8]}})
    ranked = [
        {"learning_rate": 1.0, "rank": 4},  # outside
        {"learning_rate": 0.01, "rank": 8, "warmup": 3},
        {"learning_rate": 0.01, "rank": 8, "warmup": 5},
        {"learning_rate": 0.001, "rank": "many"},  # no choice of this space
        {"learning_rate": 0.002},
    ]
    points, outside = earlier_points(ranked, space)
    assert points == [{"learning_rate": 0.01, "rank": 8}, {"learning_rate": 0.002}]
    assert outside == 2


def test_no_more_than_eight_are_taken() -> None:
    """Of a long study only the best eight are tried first."""
    space = space_of({"learning_rate": RATE})
    ranked = [{"learning_rate": 1e-4 * (i + 1)} for i in range(20)]
    points, outside = earlier_points(ranked, space)
    assert points == ranked[:8]
    assert outside == 0


def test_worse_points_outside_are_not_called_better() -> None:
    """Only those that come before the last point taken over are, and one is not many."""
    space = space_of({"learning_rate": RATE})
    ranked = [{"learning_rate": rate} for rate in (1.0, 0.01, 2.0, 3.0)]
    points, better = earlier_points(ranked, space)
    assert (points, better) == ([{"learning_rate": 0.01}], 1)
    assert started_from(points, better, "runs/a") == (
        "starting from the best point of runs/a, marked as enqueued; 1 better one lies outside "
        "this study's space"
    )
