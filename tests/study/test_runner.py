"""The loop and its ledger: what counts, what survives, what a run leaves behind."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

import study.engines.start
from analysis.studies.load import load as read_data
from study.engines.build import make_engine
from study.engines.engine_choice import EngineChoice
from study.errors import InputError
from study.runner import run_study
from study.spec.sections import StudySpec
from study.store import records
from study.store.storage import database_of, open_read_only
from study.trials import Finished, TrialConfig, TrialResult
from tests.command_line import Type
from tests.scripted_engine import COST_ONLY, ScriptedEngine, load, scored, table


def test_a_run_leaves_a_whole_study_behind(tiny_spec: StudySpec, tmp_path: Path, view: Any) -> None:
    """Trials, baselines, statistics, outputs, adapters and the resolved study file are there."""
    done = run_study(tiny_spec, tmp_path / "run", view)
    assert not done.stopped_early
    assert [t.state for t in load(done.folder).trials] == [TrialState.COMPLETE] * 3
    assert [o.state for o in view.outcomes] == ["complete"] * 5
    database = database_of(open_read_only(str(done.folder)))
    assert database is not None
    rows = records.read_evaluations(database, 1)
    assert {(r.role, r.name, r.split) for r in rows if r.role == "baseline"} == {
        ("baseline", name, split) for name in ("base", "default") for split in ("dev", "general")
    }
    assert {r.trial_number for r in rows if r.role == "search"} == {0, 1, 2}
    assert set(records.read_examples(database, 1)) == {"dev", "general"}
    assert len(records.read_outputs(database, rows[0].evaluation_id)) in (8, 12)
    names = {path.name for path in (done.folder / "adapters").iterdir()}
    assert names == {"default", "trial-00000", "trial-00001", "trial-00002"}
    base = tiny_spec.base.model_copy(update={"dtype": "float32"})  # where the file says auto
    stored = tiny_spec.model_copy(update={"base": base})
    assert (done.folder / "spec.toml").read_text() == stored.to_toml()


def test_the_database_can_be_copied_alone(tiny_run: Path) -> None:
    """After a run no log lies beside `study.db`, and its integrity is whole."""
    beside = {p.name for p in tiny_run.iterdir() if p.name.startswith("study.db")}
    assert beside == {"study.db"}
    with sqlite3.connect(f"file:{tiny_run}/study.db?mode=ro", uri=True) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.whole
def test_only_the_best_adapters_are_kept(
    make_spec: Callable[..., StudySpec], tmp_path: Path, view: Any
) -> None:
    """Of all trials the best k by the first objective keep their adapter."""
    spec = make_spec({"search.keep_adapters": 1, "evaluation.objective": "loss"})
    done = run_study(spec, tmp_path / "run", view)
    best = load(done.folder).best_trial.number
    kept = {p.name for p in (done.folder / "adapters").glob("trial-*")}
    assert kept == {f"trial-{best:05d}"}


def test_a_run_keeps_the_split_that_it_drew(
    make_spec: Callable[..., StudySpec], scripted: Any, tmp_path: Path
) -> None:
    """Which line of the training file became dev is a table in the run folder."""
    scripted(lambda config: [scored(config, 1.0)])
    spec = make_spec({**COST_ONLY, "data.dev_share": 0.2, "search.trials": 1})
    run_study(spec, tmp_path / "run")
    lines = (tmp_path / "run" / "split.tsv").read_text(encoding="utf-8").splitlines()
    assert lines[:2] == ["line\tsplit", lines[1]]
    assert lines[1].startswith("2\t")  # after the header
    sides = [line.split("\t")[1] for line in lines[1:]]
    assert {*sides} == {"train", "dev"}
    assert sides.count("dev") == round(0.2 * len(sides))


def test_an_own_metric_that_fails_on_the_untrained_base_ends_the_run(
    make_spec: Callable[..., StudySpec], scripted: Any, tmp_path: Path, view: Any
) -> None:
    """No trial is spent on it; once the file is mended the same folder is used."""
    engine = scripted(
        lambda config: [
            Finished(config.number, TrialResult(failure="at step 0: mine.py:score: example 3: no"))
        ]
    )
    metric = tmp_path / "mine.py"
    metric.write_text("def score(outputs, examples):\n    return [1.0] * len(outputs)\n")
    own = {
        "evaluation.metrics": ["mine.py:score", "loss"],
        "evaluation.metric_folder": f"{tmp_path}",
    }
    with pytest.raises(
        InputError, match=r"metrics: mine\.py:score: must score .* scored: example 3: no"
    ):
        run_study(make_spec({**COST_ONLY, **own}), tmp_path / "run", view)
    assert view.outcomes == []
    metric.write_text("def score(outputs, examples):\n    return [0.0] * len(outputs)\n")
    engine.script = lambda config: [scored(config, 1.0)]
    run_study(make_spec({**COST_ONLY, **own}), tmp_path / "run", view)
    assert len(load(tmp_path / "run").trials) == 3


def test_a_run_without_a_finished_trial_exits_with_1(
    make_spec: Callable[..., StudySpec],
    scripted: Any,
    type_: Type,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One line says so, with the first reason."""
    monkeypatch.setattr("reports.results.analyse", lambda *_, **__: None)
    failed = TrialResult(failure="at step 1: the training loss became nan")
    scripted(
        lambda config: (
            [Finished(config.number, failed)] if config.number >= 0 else [scored(config, 1.0)]
        )
    )
    study = tmp_path / "study.toml"
    study.write_text(make_spec(COST_ONLY).to_toml(), encoding="utf-8")
    ran = type_("run", study, "--workers", "1", "--out", tmp_path / "run")
    assert ran.status == 1
    assert ran.problems[-1] == (
        "No trial finished: 3 failed, the first, trial 0: at step 1: the training loss became nan"
    )


def test_enqueued_points_are_marked_and_come_first(
    make_spec: Callable[..., StudySpec], scripted: Any, tmp_path: Path, view: Any
) -> None:
    """The study file's points are trials with a mark, tried once, also after a resume."""
    scripted(lambda config: [scored(config, 1.0)])
    changes = {**COST_ONLY, "search.enqueue": [{"alpha": 8, "rank": 8}]}
    run_study(make_spec({**changes, "search.trials": 1}), tmp_path, view)
    run_study(make_spec(changes), tmp_path, view)
    trials = load(tmp_path).trials
    assert trials[0].params["alpha"] == 8
    assert [t.user_attrs.get("enqueued", False) for t in trials] == [True, False, False]


def test_a_hopeless_trial_is_pruned(
    make_spec: Callable[..., StudySpec], tmp_path: Path, view: Any
) -> None:
    """With the median pruner a trial that reports below the others is stopped and counts."""
    from study.trials import Progress

    def script(config: TrialConfig) -> list[Any]:
        value = 0.0 if config.number == 7 else 10.0 + config.number
        return [Progress(config.number, 2, value), scored(config, value)]

    engine = ScriptedEngine(script)
    spec = make_spec({**COST_ONLY, "search.pruner": "median", "search.trials": 9})
    spec = spec.model_copy(
        update={"evaluation": spec.evaluation.model_copy(update={"directions": ("maximize",)})}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study.engines.start, "make_engine", lambda *_: engine)
        run_study(spec, tmp_path, view)
    assert engine.stopped == [7]
    assert load(tmp_path).trials[7].state == TrialState.PRUNED
    assert len(load(tmp_path).trials) == 9


@pytest.mark.whole
def test_several_objectives_are_told_together(
    make_spec: Callable[..., StudySpec], tmp_path: Path, view: Any
) -> None:
    """Quality against cost: every trial has both values in the file's directions."""
    spec = make_spec({"evaluation.objective": ["loss", "trainable_parameters", "general_loss"]})
    run_study(spec, tmp_path, view)
    trial = load(tmp_path).trials[0]
    assert trial.values == [
        trial.user_attrs[name] for name in ("loss", "trainable_parameters", "general_loss")
    ]
    assert len(load(tmp_path).best_trials) >= 1


def test_two_runs_in_one_folder_are_told_so(
    make_spec: Callable[..., StudySpec], scripted: Any, tmp_path: Path, view: Any
) -> None:
    """The second command is refused in one line while the first is at work."""
    refused: list[str] = []

    def script(config: TrialConfig) -> list[Any]:
        if not refused:
            with pytest.raises(InputError) as error:
                run_study(make_spec(COST_ONLY), tmp_path, view)
            refused.extend(error.value.problems)
        return [scored(config, 1.0)]

    scripted(script)
    run_study(make_spec(COST_ONLY), tmp_path, view)
    (problem,) = refused
    assert "another `optuna-study run`" in problem


def test_a_timeout_starts_no_further_trial(
    make_spec: Callable[..., StudySpec], scripted: Any, tmp_path: Path, view: Any
) -> None:
    """With no time at all only the baselines run; the study says that it stopped early."""
    scripted(lambda config: [scored(config, 1.0)])
    done = run_study(make_spec({**COST_ONLY, "search.timeout_seconds": 1e-9}), tmp_path, view)
    assert done.stopped_early
    assert load(tmp_path).trials == []


@pytest.mark.slow
def test_two_workers_give_the_table_of_one(tiny_spec: StudySpec, tmp_path: Path, view: Any) -> None:
    """Points, values and numbers do not depend on the number of workers."""
    run_study(tiny_spec, tmp_path / "one", view)
    run_study(tiny_spec, tmp_path / "two", view, choice=EngineChoice(workers=2))
    assert table(tmp_path / "one") == table(tmp_path / "two")
    first, second = (read_data(tmp_path / name).provenance["self_check"] for name in ("one", "two"))
    assert first["compared"].keys() == second["compared"].keys()


@pytest.mark.whole
def test_a_task_of_ones_own_takes_the_place_of_the_named_one(
    tiny_spec: StudySpec, tiny_base: Path, tmp_path: Path, view: Any
) -> None:
    """One object passed to `run_study` is trained and scored."""
    task = make_engine(tiny_spec, str(tiny_base), None, EngineChoice("sequential"))._task
    scores: list[int] = []

    class Counting:
        """The shipped task, counted."""

        def __getattr__(self, name: str) -> Any:
            if name == "score":
                scores.append(1)
            return getattr(task, name)

    run_study(tiny_spec, tmp_path / "run", view, task=Counting())  # type: ignore[arg-type]
    assert scores
    assert len(load(tmp_path / "run").trials) == 3
    check = read_data(tmp_path / "run").provenance["self_check"]
    assert check["verdict"].startswith("packs; losses and gradients equal PEFT's within ")
    with pytest.raises(
        InputError, match="tiny: task: was Counting, now the one named in the study file"
    ):
        run_study(tiny_spec, tmp_path / "run")


def test_a_grid_is_covered_beside_enqueued_points(
    make_spec: Callable[..., StudySpec], scripted: Any, tmp_path: Path, view: Any
) -> None:
    """Every point of the grid is tried once, whatever was enqueued, and then the study ends."""
    scripted(lambda config: [scored(config, 1.0)])
    parameters = {
        "alpha": {"choices": [8, 16]},
        "rank": {"choices": [4, 8]},
        "learning_rate": {"value": 3e-4},
        "dropout": {"value": 0.0},
    }
    changes = {
        **COST_ONLY,
        "search.parameters": parameters,
        "search.sampler": "grid",
        "search.enqueue": [{"alpha": 8, "rank": 4}],
        "search.trials": 50,
    }
    run_study(make_spec(changes), tmp_path, view)
    sampled = [t.params for t in load(tmp_path).trials if "enqueued" not in t.user_attrs]
    assert sorted((p["alpha"], p["rank"]) for p in sampled) == [(8, 4), (8, 8), (16, 4), (16, 8)]


def test_modules_that_the_model_lacks_are_refused_before_any_trial(
    make_spec: Callable[..., StudySpec], tmp_path: Path, view: Any
) -> None:
    """A choice of target modules that matches nothing is one line, and no trial is spent."""
    spec = make_spec({"search.parameters": {"target_modules": {"choices": ["qv", "query_key"]}}})
    with pytest.raises(InputError, match="'query_key' matches no module"):
        run_study(spec, tmp_path, view)
    assert view.outcomes == []
