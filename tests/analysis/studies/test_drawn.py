"""A search for the best configuration is explained by the points alone that no model proposed."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pytest

from analysis import StudyData, importances_of
from analysis.studies.drawn import drawn_only
from analysis.studies.targets import target_of
from study.errors import InputError
from study.kinds.goals import DRAWN


def searched(data: StudyData, sampler: str, marked: int = 0, goal: str = "best") -> StudyData:
    """The study as one with a goal and a sampler, whose first `marked` trials were drawn."""
    assert data.spec_text is not None
    text = data.spec_text.replace("[search]\n", f'[search]\ngoal = "{goal}"\n')
    (old,) = [line for line in text.splitlines() if line.startswith("sampler = ")]
    trials = [deepcopy(trial) for trial in data.frozen_trials]
    for trial in trials[:marked]:
        trial.system_attrs[DRAWN] = True
    return replace(
        data,
        spec_text=text.replace(old, f'sampler = "{sampler}"'),
        frozen_trials=tuple(trials),
    )


def test_to_understand_every_sampled_trial_counts(petroleum: StudyData) -> None:
    """Nothing changes for a study without a goal, or with the goal to understand."""
    target = target_of(petroleum)
    assert drawn_only(petroleum, target) == (target, "")
    assert drawn_only(searched(petroleum, "tpe", goal="understand"), target) == (target, "")


@pytest.mark.parametrize("sampler", ["lora", "tpe"])
def test_below_thirty_drawn_trials_there_are_no_importances(
    petroleum: StudyData, sampler: str
) -> None:
    """One line says how many there are, how many are needed, and what to run instead."""
    with pytest.raises(InputError, match=r"need 30 .* got \d+ of \d+: .*--goal"):
        importances_of(searched(petroleum, sampler, marked=20), resamples=2)


def test_from_thirty_on_they_come_from_those_alone(petroleum: StudyData) -> None:
    """Points that a model proposed are left out, and a remark says so."""
    data = searched(petroleum, "lora", marked=45)
    target, remark = drawn_only(data, target_of(data))
    assert 30 <= len(target.trials) < len(target_of(data).trials)
    assert all(DRAWN in trial.system_attrs for trial in target.trials)
    assert len(target.values) == len(target.trials)
    assert remark == f"only the {len(target.trials)} trials that no model proposed are used"


def test_a_sampler_that_ignores_results_draws_all(petroleum: StudyData) -> None:
    """With Sobol points throughout, every sampled trial counts."""
    data = searched(petroleum, "sobol")
    assert len(drawn_only(data, target_of(data))[0].trials) == len(target_of(data).trials)
