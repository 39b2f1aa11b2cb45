"""The sampler for LoRA finds what depends on a product, and works in anybody's study."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
import pytest
from optuna import distributions as od
from optuna.samplers import BaseSampler
from optuna.testing.pytest_samplers import (
    BasicSamplerTestCase,
    MultiObjectiveSamplerTestCase,
    RelativeSamplerTestCase,
)
from optuna.trial import FrozenTrial, TrialState, create_trial

from study.kinds.goals import DRAWN
from study.searching.brackets import is_aside, is_paused
from study.searching.coordinates import Coordinates
from study.searching.gaussian_process import fit_process
from study.searching.lora_sampler import LoraSampler, results_of

SPACE: dict[str, od.BaseDistribution] = {
    "learning_rate": od.FloatDistribution(1e-5, 1e-1, log=True),
    "alpha": od.CategoricalDistribution((8, 16, 32, 64, 128)),
    "rank": od.CategoricalDistribution((4, 8, 16, 32)),
    "target_modules": od.CategoricalDistribution(("qv", "attention")),
}


@pytest.mark.slow
class TestContract(BasicSamplerTestCase, RelativeSamplerTestCase, MultiObjectiveSamplerTestCase):
    """Optuna's own tests of samplers."""

    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        """The sampler as anybody makes it."""
        return lambda: LoraSampler(0)


def score(point: dict[str, Any], exponent: float = 0.0) -> float:
    """A score that depends on lr · alpha / rank^exponent, with its best at 0.01, and on modules."""
    product = point["learning_rate"] * point["alpha"] / point["rank"] ** exponent
    return -((math.log10(product) + 2.0) ** 2) + 0.2 * (point["target_modules"] == "attention")


def study_of(count: int, sampler: BaseSampler, exponent: float = 0.0) -> optuna.Study:
    """A finished study of `score`."""
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for _ in range(count):
        trial = study.ask(SPACE)
        study.tell(trial, score(trial.params, exponent))
    return study


def test_it_proposes_near_the_best_product() -> None:
    """Once it has a model, its proposals lie within half a decade of the best lr · alpha."""
    study = study_of(24, LoraSampler(0, search_space=SPACE))
    proposed = [t for t in study.trials if DRAWN not in t.system_attrs][3:]
    off = [abs(math.log10(t.params["learning_rate"] * t.params["alpha"]) + 2.0) for t in proposed]
    assert len(proposed) >= 8
    assert float(np.median(off)) < 0.5


def test_drawn_points_are_marked_and_a_quarter() -> None:
    """The first eight points and about every fourth later one come from the Sobol sequence."""
    study = study_of(40, LoraSampler(1, search_space=SPACE))
    drawn = [DRAWN in trial.system_attrs for trial in study.trials]
    assert all(drawn[:8])
    assert 2 <= sum(drawn[8:]) <= 16


@pytest.mark.parametrize("exponent", [0.0, 1.0])
def test_the_exponent_of_the_rank_is_estimated(exponent: float) -> None:
    """Forty random points of a score in lr · alpha / rank^p tell a p of 0 from a p of 1."""
    study = study_of(40, LoraSampler(2, search_space=SPACE, explore=1.0), exponent)
    coordinates = Coordinates.of(SPACE)
    known = results_of(study.directions, study.trials, SPACE, np.random.default_rng(0))
    assert known is not None
    assert abs(known.fitted(coordinates).exponent - exponent) < 0.35


def test_a_proposal_depends_on_seed_number_and_results_alone() -> None:
    """Two samplers of one seed propose the same after the same results, one of another does not."""
    points = [
        [trial.params for trial in study_of(12, LoraSampler(seed, search_space=SPACE)).trials]
        for seed in (3, 3, 4)
    ]
    assert points[0] == points[1]
    assert points[0] != points[2]


def test_a_running_trial_makes_its_neighbourhood_less_attractive() -> None:
    """Nothing more is expected from where a trial is already in training."""
    study = study_of(12, LoraSampler(5, search_space=SPACE, explore=1.0))
    coordinates = Coordinates.of(SPACE)
    known = results_of(study.directions, study.trials, SPACE, np.random.default_rng(0))
    assert known is not None
    process = known.fitted(coordinates)
    places = np.random.default_rng(0).random((200, 4))
    alone = process.improvement(places, places[:0])
    best = int(np.argmax(alone))
    beside = process.improvement(places, places[[best]])
    assert beside[best] < 0.7 * alone[best]
    assert beside.max() > 0


def test_parameters_with_conditions_are_proposed() -> None:
    """With a search space, a conditional parameter is proposed where it is active."""
    space = {**SPACE, "ratio": od.FloatDistribution(1.0, 32.0, log=True)}
    study = optuna.create_study(sampler=LoraSampler(6, search_space=space))

    def objective(trial: optuna.Trial) -> float:
        rate = trial.suggest_float("learning_rate", 1e-5, 1e-1, log=True)
        if trial.suggest_categorical("target_modules", ("qv", "attention")) == "qv":
            return rate + trial.suggest_float("ratio", 1.0, 32.0, log=True)
        return rate

    study.optimize(objective, n_trials=14)
    assert {len(trial.params) for trial in study.trials} == {2, 3}


def test_a_value_of_another_kind_is_left_out() -> None:
    """A study whose earlier trials had words where the space has numbers goes on."""
    study = optuna.create_study(sampler=LoraSampler(0, search_space=SPACE))
    words = od.CategoricalDistribution(("auto", "slow"))
    for _ in range(4):
        study.add_trial(
            create_trial(
                params={"learning_rate": "auto"},
                distributions={"learning_rate": words},
                value=1.0,
            )
        )
    assert set(study.ask(SPACE).params) == set(SPACE)
    assert results_of(study.directions, study.trials, SPACE, np.random.default_rng(0)) is None


def test_foreign_names_have_no_product() -> None:
    """A parameter called alpha that can be zero is an ordinary one, and finding works."""
    space = {"alpha": od.FloatDistribution(0.0, 1.0), "depth": od.IntDistribution(1, 9)}
    assert Coordinates.of(space).in_product == ()
    study = optuna.create_study(sampler=LoraSampler(7, search_space=space))
    for _ in range(30):
        trial = study.ask(space)
        study.tell(trial, (trial.params["alpha"] - 0.3) ** 2 + abs(trial.params["depth"] - 4))
    assert study.best_value < 0.1


def test_a_pruned_trial_counts_with_what_its_report_promises() -> None:
    """Its value is regressed on finished trials' reports; without any, it counts as the worst."""
    rates = od.FloatDistribution(1e-5, 1e-1, log=True)
    finished = [
        create_trial(
            params={"learning_rate": 10.0**-i},
            distributions={"learning_rate": rates},
            value=2.0 * i,
            intermediate_values={10: float(i)},
        )
        for i in range(1, 6)
    ]
    pruned = [
        create_trial(
            state=TrialState.PRUNED,
            params={"learning_rate": 0.001},
            distributions={"learning_rate": rates},
            intermediate_values=reports,
        )
        for reports in ({10: 4.5}, {})
    ]
    known = results_of(
        [optuna.study.StudyDirection.MAXIMIZE],
        [*finished, *pruned],
        {"learning_rate": rates},
        np.random.default_rng(0),
    )
    assert known is not None
    assert known.values[-2] == pytest.approx(9.0, abs=0.5)
    assert known.extra[-2] > 0
    assert known.values[-1] == 2.0


def test_what_is_aside_counts_with_what_its_rung_promises_in_every_objective() -> None:
    """With several objectives values at rungs are regressed as reports are, joined alike."""
    rates = od.FloatDistribution(1e-5, 1e-1, log=True)

    def trial(rung: float | None, state: TrialState, goes_on: bool) -> FrozenTrial:
        entry = {"step": 10, "score": rung, "further": {"loss": rung}, "goes_on": goes_on}
        return create_trial(
            state=state,
            params={"learning_rate": 1e-3},
            distributions={"learning_rate": rates},
            values=[2.0 * rung, 2.0 * rung] if state == TrialState.COMPLETE and rung else None,
            user_attrs={"rungs": [entry]},
        )

    finished = [trial(float(i), TrialState.COMPLETE, True) for i in range(1, 6)]
    aside = [trial(rung, TrialState.PRUNED, False) for rung in (4.5, None)]
    ways = [optuna.study.StudyDirection.MAXIMIZE] * 2
    known = results_of(
        ways, [*finished, *aside], {"learning_rate": rates}, np.random.default_rng(0)
    )
    assert known is not None
    assert known.values[3] < known.values[-2] < known.values[4]
    assert known.extra[-2] > 0
    assert known.values[-1] == known.values[0]


@pytest.mark.parametrize("rungs", [3, "B", ["B"], [{"step": 10}], {"goes_on": False}])
def test_another_programs_rungs_are_not_ours(rungs: object) -> None:
    """In anybody's study an attribute of this name may mean something else; such a trial counts."""
    rates = od.FloatDistribution(1e-5, 1e-1, log=True)
    trials = [
        create_trial(
            params={"learning_rate": 1e-3},
            distributions={"learning_rate": rates},
            value=float(i),
            user_attrs={"rungs": rungs},
        )
        for i in range(5)
    ]
    ways = [optuna.study.StudyDirection.MAXIMIZE]
    known = results_of(ways, trials, {"learning_rate": rates}, np.random.default_rng(0))
    assert known is not None
    assert known.values.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert not is_aside({"rungs": rungs})
    assert not is_paused({"rungs": rungs})


def test_the_process_interpolates_and_raises_what_diverged() -> None:
    """Its mean follows the scores, and a score far below the others does not hide them."""
    study = study_of(40, LoraSampler(8, search_space=SPACE, explore=1.0))
    coordinates = Coordinates.of(SPACE)
    units = coordinates.units([trial.params for trial in study.trials])
    values = np.array([score(trial.params) for trial in study.trials])
    values[0] = -1e6
    process = fit_process(coordinates, units, values, np.zeros(40))
    better = values > np.median(values)
    assert np.corrcoef(process.predict(units)[better], values[better])[0, 1] > 0.8
    assert process.values.min() > -100


def test_a_share_of_exploration_outside_zero_and_one_is_refused() -> None:
    """The message names the argument, the rule and what it got."""
    with pytest.raises(ValueError, match="explore: must be between 0 and 1, got 2"):
        LoraSampler(0, explore=2)
