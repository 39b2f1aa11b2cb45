"""Whole studies: slots and workers change nothing but the time, and a dead worker neither."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

import study.engines.start
from study.engines.engine_choice import EngineChoice
from study.engines.pool.local_processes import KILLED
from study.runner import run_study
from study.spec.sections import StudySpec
from study.store.storage import open_read_only
from tests.conftest import RecordingView
from tests.mortal_engine import Deadly
from tests.warm_workers import forked_workers

MakeSpec = Callable[..., StudySpec]


def trials_of(out: Path) -> list[optuna.trial.FrozenTrial]:
    """Return the trials that a run left."""
    return optuna.load_study(study_name="tiny", storage=open_read_only(str(out))).trials


# ---------------------------------------------------------------- slots and workers


@pytest.fixture(scope="module")
def wide_spec(make_spec: MakeSpec) -> StudySpec:
    """Return the tiny study over the wide space in double precision."""
    changes = {"base.dtype": "float64", "search.space": "lora-wide", "search.trials": 6}
    return make_spec({**changes, "evaluation.objective": ["loss", "general_loss"]})


@pytest.fixture(scope="module")
def one_by_one(
    wide_spec: StudySpec, tmp_path_factory: pytest.TempPathFactory
) -> list[optuna.trial.FrozenTrial]:
    """Return the study's trials as the sequential engine trains them."""
    out = tmp_path_factory.mktemp("sequential")
    run_study(wide_spec, out, RecordingView(), choice=EngineChoice("sequential"))
    return trials_of(out)


@pytest.mark.parametrize(
    ("slots", "workers"),
    [
        pytest.param(16, 1, marks=pytest.mark.whole),
        pytest.param(1, 1, marks=pytest.mark.whole),
        pytest.param(4, 1, marks=pytest.mark.slow),
        pytest.param(1, 2, marks=pytest.mark.slow),
        pytest.param(4, 2, marks=pytest.mark.slow),
        pytest.param(16, 2, marks=pytest.mark.slow),
    ],
)
def test_the_table_of_trials_does_not_depend_on_slots_and_workers(
    wide_spec: StudySpec,
    one_by_one: list[optuna.trial.FrozenTrial],
    tmp_path: Path,
    view: Any,
    slots: int,
    workers: int,
) -> None:
    """Random points, nothing pruned: numbers, points and values are those of one by one."""
    choice = EngineChoice(slots=slots, workers=workers)
    run_study(wide_spec, tmp_path / "run", view, choice=choice)
    found = trials_of(tmp_path / "run")
    assert [(t.number, t.state, t.params) for t in found] == [
        (t.number, t.state, t.params) for t in one_by_one
    ]
    assert {t.state for t in found} == {TrialState.COMPLETE}
    for trial, alone in zip(found, one_by_one, strict=True):
        assert trial.values == pytest.approx(alone.values, rel=1e-9)
        assert trial.user_attrs["bleu"] == pytest.approx(alone.user_attrs["bleu"])


# ---------------------------------------------------------------- dead workers


@pytest.fixture
def run_mortal(
    make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, view: Any
) -> Callable[[str], list[optuna.trial.FrozenTrial]]:
    """Return a function that runs a study of which a worker dies."""

    def run(when: str) -> list[optuna.trial.FrozenTrial]:
        deadly = Deadly(when, tmp_path / "died")
        monkeypatch.setattr(study.engines.start, "make_engine", deadly)
        changes = {"search.trials": 10, "evaluation.objective": "trainable_parameters"}
        choice = EngineChoice(slots=6, workers=2)
        with forked_workers():
            run_study(make_spec(changes), tmp_path / "run", view, choice=choice)
        assert (tmp_path / "died").exists()
        return trials_of(tmp_path / "run")

    return run


@pytest.mark.whole
def test_a_killed_worker_loses_none_of_its_trials(run_mortal: Any, view: Any) -> None:
    """Each is interrupted and retried from its own seed; the next worker makes smaller passes."""
    trials = run_mortal("advancing")
    lost = [outcome for outcome in view.outcomes if outcome.state == "interrupted"]
    assert len(lost) == 6
    assert {outcome.reason for outcome in lost} == {KILLED}
    assert any("the next one makes passes of half the size" in remark for remark in view.remarks)
    interrupted = {t.number for t in trials if t.user_attrs.get("interrupted")}
    assert interrupted == {outcome.config.number for outcome in lost if outcome.config.number >= 0}
    retried = {t.user_attrs["retry_of"]: t for t in trials if "retry_of" in t.user_attrs}
    assert retried.keys() == interrupted
    assert all(retry.params == trials[number].params for number, retry in retried.items())
    assert sum(t.state == TrialState.COMPLETE for t in trials) == 10
    assert all(t.state.is_finished() for t in trials)


@pytest.mark.slow
def test_a_worker_that_dies_while_it_loads_is_replaced(run_mortal: Any, view: Any) -> None:
    """Nothing was lost with it: the study goes on as if it had not been there."""
    trials = run_mortal("loading")
    assert [t.state for t in trials] == [TrialState.COMPLETE] * 10
    assert {outcome.state for outcome in view.outcomes} == {"complete"}
