"""A study with a schedule: who is put aside, who goes on exactly, and what a kill leaves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from study.engines.engine_choice import EngineChoice
from study.kinds.schedules import rung_values
from study.metrics import Statistics
from study.runner import run_study
from study.searching.fronts import fronts
from study.searching.rungs import Rungs
from study.spec.sections import StudySpec
from study.store.saved_states import FOLDER
from study.trials import Progress, TrialConfig, default_values
from tests.conftest import RecordingView
from tests.scripted_engine import load

ALONE = EngineChoice("sequential")


@pytest.fixture
def spec(make_spec: Callable[..., StudySpec]) -> StudySpec:
    """Return ten trials of six steps in brackets of eight, with rungs at steps 1 and 3."""
    return make_spec(
        {
            "base.dtype": "float64",
            "evaluation.objective": "loss",
            "training.steps": 6,
            "training.report_every": 1,
            "search.sampler": "random",
            "search.trials": 10,
            "search.schedule": "bracket",
        }
    )


def of_several(spec: StudySpec) -> StudySpec:
    """Return the study with two more objectives: one of another split, and a cost."""
    evaluation = {
        "objective": ("loss", "general_loss", "trainable_parameters"),
        "directions": ("minimize",) * 3,
    }
    return spec.model_copy(update={"evaluation": spec.evaluation.model_copy(update=evaluation)})


@pytest.fixture
def open_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every trial be clearly better than the untrained base."""
    monkeypatch.setattr("study.searching.rungs.is_clearly_better", lambda *_: True)


def by_claim(out: Path) -> dict[int, FrozenTrial]:
    """Return the trials that count, by the unit of the budget."""
    counted = [t for t in load(out).trials if not t.user_attrs.get("interrupted")]
    return {t.system_attrs["run:claim"][0]: t for t in counted}


def decided(trial: FrozenTrial) -> list[tuple[int, bool]]:
    """Return the rungs that a trial came to, and whether it went on."""
    return [(entry["step"], entry["goes_on"]) for entry in trial.user_attrs.get("rungs", [])]


def reached(trial: FrozenTrial) -> list[float]:
    """Return every objective's value at each of a trial's rungs, and at its end."""
    at_rungs = [rung_values(entry) for entry in trial.user_attrs.get("rungs", [])]
    return [value for values in (*at_rungs, trial.values or []) for value in values]


def assert_same(found: Path, wanted: Path) -> None:
    """Hold two runs against each other: ends, reports and decisions."""
    one, other = by_claim(found), by_claim(wanted)
    assert one.keys() == other.keys()
    for claim, trial in one.items():
        assert trial.state == other[claim].state
        assert reached(trial) == pytest.approx(reached(other[claim]), rel=1e-9)
        assert trial.intermediate_values == pytest.approx(
            other[claim].intermediate_values, rel=1e-9
        )
        assert decided(trial) == decided(other[claim])


@pytest.mark.whole
@pytest.mark.usefixtures("open_gate")
def test_the_best_go_on_and_the_others_are_pruned_at_the_end(
    spec: StudySpec, tmp_path: Path, view: RecordingView
) -> None:
    """Scores decide at both rungs; what stays aside is told PRUNED with its last report."""
    done = run_study(spec, tmp_path / "run", view, choice=ALONE)
    assert not done.stopped_early
    trials = by_claim(done.folder)
    first = [trials[n] for n in range(8)]
    at_one = sorted(first, key=lambda t: t.intermediate_values[1])
    came_back = [t for t in first if t.user_attrs["rungs"][0].get("came_back")]
    assert len(came_back) <= 1  # the two of the second bracket have one place
    assert all(decided(t)[0] == (1, t in (*at_one[:2], *came_back)) for t in first)
    complete = [t for t in trials.values() if t.state == TrialState.COMPLETE]
    assert min(at_one[:2], key=lambda t: t.intermediate_values[3]) in complete
    pruned = [t for t in trials.values() if t.state == TrialState.PRUNED]
    assert len(complete) + len(pruned) == 10
    assert all(t.value == t.intermediate_values[decided(t)[-1][0]] for t in pruned)
    assert all("train_seconds" in t.user_attrs for t in pruned)
    reasons = {o.reason for o in view.outcomes if o.state == "pruned"}
    assert "put aside at step 1, where others were better" in reasons
    assert any(line.startswith("step 1: #") for line in view.remarks)
    assert not (done.folder / FOLDER).exists()
    plain = spec.model_copy(update={"search": spec.search.model_copy(update={"schedule": "none"})})
    whole = by_claim(run_study(plain, tmp_path / "plain", choice=ALONE).folder)
    for claim, trial in trials.items():
        if trial.state == TrialState.COMPLETE:
            assert trial.value == pytest.approx(whole[claim].value, rel=1e-9)
    packed = run_study(spec, tmp_path / "packed", choice=EngineChoice(slots=5))
    assert_same(packed.folder, done.folder)


@pytest.mark.whole
@pytest.mark.usefixtures("open_gate")
def test_several_objectives_are_ranked_by_fronts(
    spec: StudySpec, tmp_path: Path, view: RecordingView
) -> None:
    """Who goes on is on the first fronts; what stays aside is told PRUNED without a value."""
    done = run_study(of_several(spec), tmp_path, view, choice=ALONE)
    trials = by_claim(done.folder)
    rungs = {n: trials[n].user_attrs["rungs"] for n in range(8)}
    at_one = {n: [-v for v in rung_values(passed[0])] for n, passed in rungs.items()}
    ranked = [n for front in fronts(at_one) for n in front]
    came_back = [n for n in range(8) if rungs[n][0].get("came_back")]
    assert [n for n in range(8) if rungs[n][0]["goes_on"]] == sorted({*ranked[:2], *came_back})
    pruned = [t for t in trials.values() if t.state == TrialState.PRUNED]
    assert len(pruned) >= 7
    assert all(t.values is None and not t.intermediate_values for t in pruned)
    assert any(
        all(label in line for label in ("(loss ", "general loss ", "trainable parameters "))
        for line in view.remarks
    )


@pytest.mark.whole
@pytest.mark.usefixtures("open_gate")
def test_a_schedule_begins_in_the_middle_of_a_study(spec: StudySpec, tmp_path: Path) -> None:
    """A trial beyond a rung where not every objective was measured goes on to the next."""
    two = of_several(spec)
    search = {"trials": 2, "schedule": "none"}
    plain = two.model_copy(update={"search": two.search.model_copy(update=search)})
    view = RecordingView()

    def stop(config: TrialConfig, step: int) -> None:
        if config.role == "search" and step == 3:
            raise KeyboardInterrupt

    view.on_progress = stop
    run_study(plain, tmp_path, view, choice=ALONE)
    search["schedule"] = "bracket"
    later = two.model_copy(update={"search": two.search.model_copy(update=search)})
    trials = by_claim(run_study(later, tmp_path, choice=ALONE).folder)
    assert decided(trials[0]) == [(3, True)]
    assert decided(trials[1]) == [(1, True), (3, True)]
    assert all(t.state == TrialState.COMPLETE for t in trials.values())


@pytest.mark.whole
def test_all_go_on_while_none_is_better_than_the_base(
    make_spec: Callable[..., StudySpec], spec: StudySpec, tmp_path: Path, view: RecordingView
) -> None:
    """With a closed gate nothing is put aside, and the line says why."""
    training = spec.training.model_copy(update={"learning_rate": 1e-9})
    space = spec.search.model_copy(update={"trials": 3})
    frozen = spec.model_copy(update={"training": training, "search": space})
    done = run_study(frozen, tmp_path, view, choice=ALONE)
    trials = by_claim(done.folder).values()
    assert [t.state for t in trials] == [TrialState.COMPLETE] * 3
    assert all(e["gate"] == "closed" for t in trials for e in t.user_attrs["rungs"])
    assert any("all 3 go on, since none is clearly better" in line for line in view.remarks)


@pytest.mark.whole
@pytest.mark.usefixtures("open_gate")
@pytest.mark.parametrize("choice", [ALONE, EngineChoice(slots=5)], ids=["one at a time", "packed"])
@pytest.mark.parametrize(
    ("loses", "several"),
    [(False, False), (True, False), (False, True)],
    ids=["state kept", "state lost", "several objectives"],
)
def test_a_stopped_study_goes_on_with_what_was_put_aside(
    choice: EngineChoice, loses: bool, several: bool, spec: StudySpec, tmp_path: Path
) -> None:
    """Stopped in the middle of a bracket, twice, it ends as if nothing had been."""
    eight = of_several(spec) if several else spec
    eight = eight.model_copy(update={"search": spec.search.model_copy(update={"trials": 8})})
    whole = run_study(eight, tmp_path / "whole", choice=ALONE).folder
    out = tmp_path / "run"
    for wanted in ((3, 1), (None, 4)):
        view = RecordingView()

        def stop(config: TrialConfig, step: int, wanted: Any = wanted) -> None:
            if wanted[0] in (None, config.number) and config.role == "search" and step == wanted[1]:
                raise KeyboardInterrupt

        view.on_progress = stop
        run_study(eight, out, view, choice=choice)
        if loses:
            for file in (out / FOLDER).glob("*.safetensors"):
                file.unlink()
    run_study(eight, out, choice=choice)
    assert_same(out, whole)
    assert not (out / FOLDER).exists()


@pytest.mark.slow  # worker processes that import torch
@pytest.mark.usefixtures("open_gate")
def test_workers_share_the_brackets_of_a_run(spec: StudySpec, tmp_path: Path) -> None:
    """Put aside in one worker and taken up in another, a trial ends as if it never stopped."""
    done = run_study(spec, tmp_path / "run", choice=EngineChoice(slots=2, workers=2))
    plain = spec.model_copy(update={"search": spec.search.model_copy(update={"schedule": "none"})})
    whole = by_claim(run_study(plain, tmp_path / "plain", choice=ALONE).folder)
    trials = by_claim(done.folder)
    complete = [n for n, t in trials.items() if t.state == TrialState.COMPLETE]
    pruned = [n for n, t in trials.items() if t.state == TrialState.PRUNED]
    assert sorted([*complete, *pruned]) == list(range(10))
    assert complete
    assert len(pruned) >= 6
    for claim, trial in trials.items():
        reports = {s: whole[claim].intermediate_values[s] for s in trial.intermediate_values}
        assert trial.intermediate_values == pytest.approx(reports, rel=1e-9)
    for claim in complete:
        assert trials[claim].value == pytest.approx(whole[claim].value, rel=1e-9)
    assert not (done.folder / FOLDER).exists()


@pytest.mark.parametrize("known_at", [1, 2])
def test_the_gate_is_judged_by_an_untrained_base_whose_score_comes_late(
    spec: StudySpec, known_at: int
) -> None:
    """Another worker can still evaluate the base when the first trial reaches the first rung."""
    study = optuna.create_study(direction="minimize")
    base = {"loss": Statistics("loss", np.full((40, 2), (3.0, 1.0)), "mean")}
    untrained: dict[str, Statistics] = {}
    lines: list[str] = []
    rungs = Rungs(spec, lambda: untrained, fills=False, remark=lines.append)
    method, training, distillation = spec.resolve(default_values(spec))
    for number in (0, 1):
        config = TrialConfig(number, 0, training, method, distillation=distillation)
        rungs.begin(study.ask(), config, {}, [], 0)
    assert rungs.no_more()
    for number in (0, 1):
        if number == known_at:
            untrained |= base
        found = {"loss": Statistics("loss", np.full((40, 2), (1.0 + number, 1.0)), "mean")}
        assert rungs.reports(Progress(number, 1, None, is_report=True, statistics=found))
    best, other = (trial.user_attrs["rungs"][-1] for trial in study.trials)
    is_known = known_at == 1
    assert (best["clear"], best["gate"]) == (is_known, "open" if is_known else "closed")
    assert (best["goes_on"], other["goes_on"]) == (True, not is_known)
