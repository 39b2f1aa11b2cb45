"""What a run does for the goal `best`: its ladder, the exit of what diverges, its budget."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from study.runner import run_study
from study.searching.divergence import Divergence
from study.spec.sections import StudySpec
from study.trials import Progress, TrialConfig
from tests.scripted_engine import COST_ONLY, load, scored

MakeSpec = Callable[..., StudySpec]
BEST = {**COST_ONLY, "search.goal": "best", "search.start": "ladder", "search.sampler": "lora"}


def test_the_ladder_is_enqueued_once_and_said(
    make_spec: MakeSpec, scripted: Any, tmp_path: Path, view: Any
) -> None:
    """Its points come first and are marked; the next command adds none and says nothing."""
    scripted(lambda config: [scored(config, 1.0)])
    run_study(make_spec({**BEST, "search.trials": 3}), tmp_path, view)
    (said,) = [line for line in view.remarks if "marked as enqueued" in line]
    assert said.startswith("the search begins with 3 trials at learning_rate · alpha = 0.0")
    view.remarks.clear()
    run_study(make_spec({**BEST, "search.trials": 10}), tmp_path, view)
    assert not [line for line in view.remarks if "marked as enqueued" in line]
    marks = [trial.user_attrs.get("enqueued", False) for trial in load(tmp_path).trials]
    assert marks == [True] * 8 + [False] * 2


def test_a_study_with_results_gets_no_ladder(
    make_spec: MakeSpec, scripted: Any, tmp_path: Path, view: Any
) -> None:
    """A study that was begun to understand and goes on for the best has learnt where to look."""
    scripted(lambda config: [scored(config, 1.0)])
    run_study(make_spec({**COST_ONLY, "search.trials": 2}), tmp_path, view)
    run_study(make_spec({**BEST, "search.trials": 4}), tmp_path, view)
    assert not any(trial.user_attrs.get("enqueued") for trial in load(tmp_path).trials)


@pytest.mark.parametrize("goal", ["best", "understand"])
def test_a_training_that_diverges_ends_early_for_the_best(
    make_spec: MakeSpec, scripted: Any, tmp_path: Path, view: Any, goal: str
) -> None:
    """A loss above three times the untrained model's prunes a trial, but not to understand."""

    def script(config: TrialConfig) -> list[Any]:
        recent = 9.0 if config.number == 2 else 1.0
        return [Progress(config.number, 30, 1.0, 1.1, recent), scored(config, 1.0)]

    engine = scripted(script)
    run_study(make_spec({**BEST, "search.goal": goal}), tmp_path, view)
    assert engine.stopped == ([2] if goal == "best" else [])
    if goal == "best":
        assert load(tmp_path).trials[2].state == TrialState.PRUNED
        (ended,) = [outcome for outcome in view.outcomes if outcome.state == "pruned"]
        assert ended.reason == "pruned at step 30: its training loss rose to 9"


@pytest.mark.parametrize(
    ("progress", "shows"),
    [
        (Progress(9, 20, 1.0, 1.0, 3.1), True),
        (Progress(9, 19, 1.0, 1.0, 9.0), False),  # a warm-up may pass through this
        (Progress(9, 20, 1.0, 1.0, 2.9), False),
        (Progress(9, 20, 1.0, 2.0, 5.0), False),  # a harder loss of its own
        (Progress(9, 20, 1.0, 0.1, 3.1), True),  # an easy first batch
        (Progress(9, 20, 1.0, 1.0, None), False),
        (Progress(9, 20, 1.0, None, 9.0), False),
    ],
)
def test_divergence_is_relative_to_the_untrained_model(progress: Progress, shows: bool) -> None:
    """From step 20, above three times the median first loss or its own, if that is larger."""
    divergence = Divergence()
    assert not divergence.shows_in(progress)  # no first loss is known yet
    for number in range(3):
        divergence.note(Progress(number, 5, None, 1.0))
    assert divergence.shows_in(progress) is shows


def test_six_of_the_trials_are_set_aside_to_confirm(
    make_spec: MakeSpec, scripted: Any, tmp_path: Path, view: Any
) -> None:
    """The search itself ends that much earlier, and is then complete."""
    scripted(lambda config: [scored(config, 1.0)])
    run = run_study(
        make_spec({**COST_ONLY, "search.trials": 10, "search.confirm": True}), tmp_path, view
    )
    assert not run.stopped_early
    assert len(load(tmp_path).trials) == 4


def test_the_engine_reports_training_losses(
    make_spec: MakeSpec, tmp_path: Path, view: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reports carry the first step's loss and, from ten steps on, the mean of the latest ten."""
    seen: list[Progress] = []
    monkeypatch.setattr(Divergence, "note", lambda self, progress: seen.append(progress))
    spec = make_spec({"training.steps": 12, "training.report_every": 5, "search.trials": 1})
    run_study(spec, tmp_path, view)
    of_trial = {p.step: p for p in seen if p.number == 0 and p.value is not None}
    assert of_trial[5].first_loss == of_trial[10].first_loss is not None
    assert of_trial[5].recent_loss is None
    assert 0 < of_trial[10].recent_loss < 20
