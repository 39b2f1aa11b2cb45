"""The same command once more: what it goes on from, and what it refuses to go on from."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

import study.engines.start
from study.errors import InputError
from study.runner import run_study
from study.spec.sections import StudySpec
from study.trials import Interrupted, TrialConfig
from tests.scripted_engine import COST_ONLY, load, scored, table


@pytest.mark.whole
def test_resuming_gives_what_an_uninterrupted_run_gives(
    make_spec: Callable[..., StudySpec], tiny_run: Path, tmp_path: Path, view: Any
) -> None:
    """One trial, then two more by the same command, are the three of a whole run."""
    run_study(make_spec({"search.trials": 1}), tmp_path / "parts", view)
    run_study(make_spec(), tmp_path / "parts", view)
    assert table(tmp_path / "parts") == table(tiny_run)


def test_a_finished_study_trains_nothing_more(
    tiny_spec: StudySpec,
    tiny_run: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    view: Any,
) -> None:
    """`--trials` is the total: the same command does nothing but tell a trial left running."""
    shutil.copytree(tiny_run, tmp_path / "run")
    url = f"sqlite:///{tmp_path}/run/study.db"
    optuna.load_study(study_name=tiny_spec.name, storage=url).ask()  # by a killed process
    monkeypatch.setattr(study.engines.start, "make_engine", None)
    assert not run_study(tiny_spec, tmp_path / "run", view).stopped_early
    assert view.outcomes == []
    states = [t.state for t in load(tmp_path / "run").trials]
    assert states == [TrialState.COMPLETE] * 3 + [TrialState.FAIL]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("training.steps", 6),
        ("evaluation.objective", "chrf"),
        ("seed", 8),
        ("data.target_column", "French"),
        ("search.space", "lora-wide"),
    ],
)
def test_a_study_whose_results_would_not_compare_is_refused(
    make_spec: Callable[..., StudySpec],
    scripted: Any,
    tmp_path: Path,
    view: Any,
    key: str,
    value: Any,
) -> None:
    """A change of data, base, objective, steps or space is shown and refused."""
    scripted(lambda config: [scored(config, 1.0)])
    spec = make_spec(COST_ONLY)
    run_study(spec, tmp_path, view)
    changed = make_spec({**COST_ONLY, key: value})
    if key == "data.target_column":
        changed = spec.model_copy(update={"data": spec.data.model_copy(update={"max_tokens": 64})})
        key = "data.max_tokens"
    with pytest.raises(InputError) as error:
        run_study(changed, tmp_path, view)
    shown = key.removesuffix(".space")
    assert any(f"tiny: {shown}" in problem for problem in error.value.problems)


def test_changed_data_under_the_same_name_is_refused(
    make_spec: Callable[..., StudySpec],
    parallel_text: Path,
    scripted: Any,
    tmp_path: Path,
    view: Any,
) -> None:
    """A file whose content changed since the study began is named with both hashes."""
    scripted(lambda config: [scored(config, 1.0)])
    dev = tmp_path / "dev.tsv"
    dev.write_text((parallel_text / "dev.tsv").read_text())
    spec = make_spec(COST_ONLY)
    spec = spec.model_copy(update={"data": spec.data.model_copy(update={"dev": dev})})
    run_study(spec, tmp_path / "run", view)
    dev.write_text(dev.read_text() + "One more.\tUn de plus.\n")
    with pytest.raises(InputError, match=r"data\.dev: its content changed"):
        run_study(spec, tmp_path / "run", view)


@pytest.mark.whole
def test_growing_the_budget_is_no_such_change(
    make_spec: Callable[..., StudySpec], scripted: Any, tmp_path: Path, view: Any
) -> None:
    """More trials, another sampler or pruner continue the study."""
    scripted(lambda config: [scored(config, 1.0)])
    run_study(make_spec(COST_ONLY), tmp_path, view)
    run_study(
        make_spec({**COST_ONLY, "search.trials": 5, "search.sampler": "sobol"}), tmp_path, view
    )
    assert len(load(tmp_path).trials) == 5


def test_points_enqueued_later_are_tried_too(
    make_spec: Callable[..., StudySpec], scripted: Any, tmp_path: Path, view: Any
) -> None:
    """A point added to the study file before a resume becomes a trial; known ones do not again."""
    scripted(lambda config: [scored(config, 1.0)])
    first, second = {"alpha": 8, "rank": 8}, {"alpha": 16, "rank": 8}
    changes = {**COST_ONLY, "search.trials": 2}
    run_study(make_spec({**changes, "search.enqueue": [first]}), tmp_path, view)
    changes["search.trials"] = 4
    run_study(make_spec({**changes, "search.enqueue": [first, second]}), tmp_path, view)
    enqueued = [t.params["alpha"] for t in load(tmp_path).trials if "enqueued" in t.user_attrs]
    assert enqueued == [8, 16]


def test_an_interruption_changes_no_later_trial(
    make_spec: Callable[..., StudySpec], scripted: Any, tmp_path: Path, view: Any
) -> None:
    """Points and training seeds after a retry are those of a study that was never interrupted."""
    seeds: dict[str, set[tuple[Any, ...]]] = {"whole": set(), "interrupted": set()}

    def script(name: str) -> Callable[[TrialConfig], list[Any]]:
        def events(config: TrialConfig) -> list[Any]:
            if name == "interrupted" and config.number == 1:
                return [Interrupted(1, "killed")]
            if config.role == "search":
                seeds[name].add((config.seed, *config.values.values()))
            return [scored(config, 1.0)]

        return events

    for name in seeds:
        scripted(script(name))
        run_study(make_spec({**COST_ONLY, "search.trials": 5}), tmp_path / name, view)
    assert seeds["interrupted"] == seeds["whole"]
    assert len(seeds["whole"]) == 5
