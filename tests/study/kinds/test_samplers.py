"""Points come from (study seed, index): the same after a resume, and never twice by accident."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.pruners import (
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    SuccessiveHalvingPruner,
)
from scipy.stats import qmc

from search_spaces.unit_cube import to_unit
from study.errors import InputError
from study.make_sampler import pruner_for, sampler_for
from study.spec.sections import StudySpec, parse_spec

CONTINUOUS = {
    "learning_rate": {"low": 1e-5, "high": 1e-1, "log": True},
    "dropout": {"low": 0.0, "high": 0.3},
    "alpha": {"low": 1, "high": 256, "log": True},
}
CONTINUOUS_RATE = {"learning_rate": CONTINUOUS["learning_rate"]}
LEVELS = {
    "target_modules": {"choices": ["qv", "attention"]},
    "rank": {"low": 1, "high": 3},
    "dropout": {
        "low": 0.0,
        "high": 0.2,
        "step": 0.1,
        "when": {"target_modules": "attention"},
    },
}
DRAWN = ("random", "sobol", "grid")


def spec_of(sampler: str, parameters: dict[str, Any] | None = None, **other: Any) -> StudySpec:
    """A study with a sampler."""
    parameters = parameters or (LEVELS if sampler == "grid" else CONTINUOUS)
    search = {"sampler": sampler, "parameters": parameters}
    return parse_spec({"name": "x", "search": search, **other}, "x.toml")


def ask(
    study: optuna.Study, spec: StudySpec, index: int, enqueued: int | None = None
) -> optuna.Trial:
    """Ask as the runner does, for the sampled point of this index or an enqueued one."""
    study.sampler = sampler_for(spec, index, enqueued)
    trial = study.ask()
    spec.search.search_space.suggest(trial)
    return trial


def points(spec: StudySpec, count: int) -> list[dict[str, Any]]:
    """The first points of a study that nothing interrupts."""
    study = optuna.create_study()
    found = []
    for index in range(count):
        trial = ask(study, spec, index)
        study.tell(trial, 0.0)
        found.append(trial.params)
    return found


@pytest.mark.parametrize("sampler", DRAWN)
def test_a_point_does_not_depend_on_who_draws_it_or_when(sampler: str) -> None:
    """Runs that share the indices, in whatever order and however often, draw what one would."""
    spec = spec_of(sampler)
    here, there = optuna.create_study(), optuna.create_study()
    for study, indices in ((here, (3, 0, 6, 3)), (there, (5, 1, 4, 2))):
        for index in indices:
            study.tell(ask(study, spec, index), 0.0)
    a, b = ([t.params for t in study.get_trials()] for study in (here, there))
    expected = points(spec, 7)
    assert [a[1], b[1], b[3], a[0], b[2], b[0], a[2]] == expected
    assert a[0] == a[3]


@pytest.mark.parametrize("sampler", DRAWN)
def test_a_point_enqueued_in_part_takes_nothing_from_the_sequence(sampler: str) -> None:
    """What an enqueued point leaves open is drawn apart, so it repeats no sampled point."""
    spec = spec_of(sampler)
    study = optuna.create_study()
    given = [ask(study, spec, 0, enqueued=number).params for number in (0, 1)]
    assert [ask(study, spec, index).params for index in (0, 1)] == points(spec, 2)
    assert given[0] != given[1]
    if sampler != "grid":
        assert all(point not in points(spec, 50) for point in given)


@pytest.mark.parametrize("sampler", ["random", "sobol"])
def test_no_two_trials_have_the_same_point(sampler: str) -> None:
    """Over continuous parameters every trial is a point of its own."""
    found = points(spec_of(sampler), 64)
    assert len({tuple(p.values()) for p in found}) == 64


@pytest.mark.parametrize("sampler", DRAWN)
def test_another_seed_is_another_sequence(sampler: str) -> None:
    """The study's seed decides the points, and nothing else does."""
    spec = spec_of(sampler)
    assert points(spec, 5) == points(spec, 5)
    assert points(spec, 5) != points(spec_of(sampler, seed=1), 5)


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_adaptive_samplers_do_not_repeat_themselves_after_a_resume(sampler: str) -> None:
    """A sampler made anew for every trial draws different points before it has learnt anything."""
    found = points(spec_of(sampler), 8)
    assert len({tuple(p.values()) for p in found}) == 8


def units(spec: StudySpec, count: int) -> np.ndarray[Any, Any]:
    """The points' positions in the unit cube, (count, parameters)."""
    distributions = spec.search.search_space.distributions
    return np.array(
        [[to_unit(d, p[name]) for name, d in distributions.items()] for p in points(spec, count)]
    )


def test_sobol_points_are_more_even_than_random_ones() -> None:
    """64 points have a far lower discrepancy than random points have on average."""
    sobol = [qmc.discrepancy(units(spec_of("sobol", seed=s), 64)) for s in range(5)]
    random = [qmc.discrepancy(units(spec_of("random", seed=s), 64)) for s in range(5)]
    assert max(sobol) < 0.5 * min(random)


def test_sobol_points_are_one_balanced_sequence() -> None:
    """Every block of 2^k points has one in each of 2^k equal slices of every parameter."""
    found = units(spec_of("sobol"), 32)
    for start in (0, 16):
        slices = np.floor(found[start : start + 16] * 16).astype(int)
        assert all(sorted(column) == list(range(16)) for column in slices.T)


def test_the_order_of_parameters_does_not_matter_to_sobol() -> None:
    """A file whose parameters were reordered continues the same sequence."""
    turned = dict(reversed(CONTINUOUS.items()))
    assert points(spec_of("sobol"), 4) == points(spec_of("sobol", turned), 4)


def test_random_points_are_uniform_on_every_scale() -> None:
    """Each parameter's positions pass for uniform, and no two parameters go together."""
    found = units(spec_of("random"), 200)
    ranks = (np.arange(200) + 0.5) / 200
    assert all(np.abs(np.sort(column) - ranks).max() < 0.1 for column in found.T)
    correlations = np.corrcoef(found.T) - np.eye(3)
    assert np.abs(correlations).max() < 0.2


def test_the_grid_is_covered_exactly_once() -> None:
    """As many trials as the grid has points give every effective point once, shuffled."""
    spec = spec_of("grid")
    space = spec.search.search_space
    size = space.grid_size()
    assert size == 3 + 3 * 3
    found = points(spec, size)
    assert found != space.grid_points()
    key: Callable[[dict[str, Any]], str] = str
    assert sorted(found, key=key) == sorted(space.grid_points(), key=key)


def test_conditions_hold_under_every_sampler() -> None:
    """A conditional parameter is drawn where its condition holds, and nowhere else."""
    for sampler in (*DRAWN, "tpe"):
        for point in points(spec_of(sampler, LEVELS), 12):
            assert ("dropout" in point) == (point["target_modules"] == "attention")


def test_pruners() -> None:
    """Each name is Optuna's pruner, whose resource is a training step."""
    kinds = {
        "none": NopPruner,
        "median": MedianPruner,
        "hyperband": HyperbandPruner,
        "asha": SuccessiveHalvingPruner,
    }
    for name, kind in kinds.items():
        search = {"parameters": CONTINUOUS, "pruner": name}
        assert isinstance(pruner_for(parse_spec({"search": search}, "x")), kind)


def test_hyperband_knows_the_longest_trial() -> None:
    """Its brackets reach to the end of the longest trial, where steps are searched too."""
    for parameters, longest in ((CONTINUOUS, 120), ({"steps": {"low": 200, "high": 4000}}, 4000)):
        spec = parse_spec({"search": {"parameters": parameters, "pruner": "hyperband"}}, "x")
        pruner = pruner_for(spec)
        assert isinstance(pruner, HyperbandPruner)
        assert pruner._max_resource == longest


@pytest.mark.parametrize("pruner", ["median", "hyperband", "asha"])
def test_a_hopeless_trial_is_pruned(pruner: str) -> None:
    """After good trials a bad one is stopped before its end."""
    search = {"parameters": CONTINUOUS, "pruner": pruner, "sampler": "random"}
    spec = parse_spec({"search": search}, "x")
    study = optuna.create_study(direction="maximize", pruner=pruner_for(spec))
    pruned = 0
    for number in range(24):
        trial = ask(study, spec, number)
        for step in (30, 60, 90, 120):
            trial.report(50.0 if number < 12 else 1.0, step)
            if trial.should_prune():
                pruned += 1
                assert number >= 12
                break
        study.tell(trial, 50.0 if number < 12 else 1.0)
    assert pruned > 6


def test_balanced_choices_take_turns() -> None:
    """In every round each choice comes once, in an order of the round's own; others stay random."""
    names = ["lora", "dora", "full"]
    method = {"choices": names, "balanced": True}
    spec = spec_of("random", {"method": method, **CONTINUOUS_RATE})
    drawn = [point["method"] for point in points(spec, 18)]
    rounds = [tuple(drawn[i : i + 3]) for i in range(0, 18, 3)]
    assert all(sorted(each) == sorted(names) for each in rounds)
    assert len(set(rounds)) > 1
    plain = spec_of("random", {"method": {"choices": names}, **CONTINUOUS_RATE})
    rates = [point["learning_rate"] for point in points(spec, 18)]
    assert rates == [point["learning_rate"] for point in points(plain, 18)]


def test_only_random_points_take_turns() -> None:
    """A sampler that learns cannot be told what to try."""
    with pytest.raises(InputError, match=r"method\.balanced: needs the sampler 'random', got"):
        spec_of("tpe", {"method": {"choices": ["lora", "dora"], "balanced": True}})
