"""What the terminal shows: never wider than 80 columns, and the same numbers as everywhere."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from rich.console import Console

from analysis import StudyData, answer_of, importances_of, load
from analysis.comparison import against_baselines
from analysis.comparison.contrast import contrasts_document
from analysis.document import Document
from reports.importance_document import importance_document
from reports.study_document import gain_warning, study_document, study_json
from tests.synthetic import write_foreign_study


def _shown(document: Document) -> str:
    console = Console(file=io.StringIO(), width=80)
    console.print(document.to_rich())
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= 80
    return text


def test_show_has_counts_best_trials_and_baselines(petroleum: StudyData) -> None:
    """All on one screen."""
    text = _shown(study_document(petroleum))
    assert "64 complete, 3 pruned, 2 failed" in text
    assert f"{petroleum.best_trial.value:.1f}" in text  # type: ignore[union-attr]
    assert "base" in text
    assert "default" in text
    assert "2 failed: diverged" in text
    assert len(text.splitlines()) < 24


def test_a_study_of_long_names_still_fits(tmp_path: Path) -> None:
    """Parameters that do not fit side by side share one column."""
    study = optuna.create_study(storage=f"sqlite:///{tmp_path / 'x.db'}", study_name="n" * 120)
    space = {f"a_very_long_parameter_name_{i}": FloatDistribution(0, 1) for i in range(6)}
    choice = CategoricalDistribution(["[bold]markup[/bold]", "y" * 200])
    for value in range(3):
        study.tell(study.ask({**space, "choice": choice}), float(value))
    data = load(tmp_path / "x.db")
    text = _shown(study_document(data))
    assert "a_very_long_parameter_name_5" in text.replace("\n", "").replace(" ", "")
    _shown(importance_document(importances_of(data, surrogate="gp", resamples=2)))


def test_a_study_without_trials_is_shown(tmp_path: Path) -> None:
    """Nothing to rank, nothing to fail."""
    optuna.create_study(storage=f"sqlite:///{tmp_path / 'x.db'}", study_name="empty")
    data = load(tmp_path / "x.db")
    assert "trials: none" in _shown(study_document(data))
    assert study_json(data)["best"] == []


def test_what_is_none_and_what_was_interrupted_are_said(tmp_path: Path) -> None:
    """A choice of None is not an inactive parameter, an interrupted trial no failure."""
    study = optuna.create_study(storage=f"sqlite:///{tmp_path / 'x.db'}", study_name="s")
    for depth in ({}, {"depth": IntDistribution(1, 9)}):
        study.tell(study.ask({"kind": CategoricalDistribution([None]), **depth}), 1.0)
    stopped = study.ask()
    stopped.set_user_attr("failure", "the study was stopped")
    stopped.set_user_attr("interrupted", True)
    study.tell(stopped, state=optuna.trial.TrialState.FAIL)
    text = _shown(study_document(load(tmp_path / "x.db")))
    assert text.count("None") == 2
    assert "1 interrupted: the study was stopped" in text


def test_a_front_is_shown_as_one(tmp_path: Path) -> None:
    """Several objectives have no single best."""
    write_foreign_study(f"sqlite:///{tmp_path / 'x.db'}")
    data = load(tmp_path / "x.db")
    assert "Trials on the Pareto front" in _shown(study_document(data))
    assert len(study_json(data)["best"]) == len(data.pareto_trials)


def test_importances_state_their_evidence(petroleum: StudyData) -> None:
    """Evaluator, surrogate, shares, intervals, chance and the verdict."""
    text = _shown(importance_document(importances_of(petroleum, surrogate="gp", resamples=4)))
    assert "functional ANOVA on a Gaussian process" in text
    assert "beyond chance" in text
    assert "63 trials" in text


@pytest.mark.whole
def test_a_subset_without_an_interval_has_a_dash(petroleum: StudyData) -> None:
    """A forest's joint effect of three is shown however small, and no interval is made up."""
    subset = ("alpha", "rank", "learning_rate")
    found = importances_of(petroleum, surrogate="forest", resamples=2, subsets=[subset])
    (row,) = [r for r in _shown(importance_document(found)).splitlines() if " × ".join(subset) in r]
    assert "–" in row


def test_a_way_has_its_steps(petroleum: StudyData) -> None:
    """What each change from the default is worth, and from where to where it goes."""
    text = _shown(answer_of(petroleum, "gain", surrogate="gp").document())
    assert "Gain in BLEU" in text
    assert "gains are over the default LoRA" in text


def test_comparisons_fit_as_well(petroleum: StudyData) -> None:
    """A row a baseline."""
    text = _shown(contrasts_document(against_baselines(petroleum)))
    assert "base" in text
    assert "< 0.001" in text


def test_the_json_document_is_strict_json(petroleum: StudyData) -> None:
    """No NaN, no infinity, the numbers in full."""
    document = json.loads(json.dumps(study_json(petroleum), allow_nan=False))
    assert document["trials"] == {"complete": 64, "pruned": 3, "failed": 2}
    assert document["best"][0]["values"]["bleu"] == petroleum.best_trial.value  # type: ignore[union-attr]
    assert set(document["scores"]) == {"base", "default", "best"}


def test_an_infinite_value_is_no_best_trial(tmp_path: Path) -> None:
    """Such a training diverged; and JSON knows no infinity."""
    study = optuna.create_study(storage=f"sqlite:///{tmp_path / 'x.db'}", study_name="s")
    study.tell(study.ask({"x": FloatDistribution(0, 1)}), float("inf"))
    document = study_json(load(tmp_path / "x.db"))
    assert document["trials"] == {"complete": 1}
    assert document["best"] == []
    json.dumps(document, allow_nan=False)


@pytest.mark.parametrize("top", [1, 3])
def test_the_number_of_trials_shown_is_the_callers(petroleum: StudyData, top: int) -> None:
    """Best first."""
    best = study_json(petroleum, top)["best"]
    values = [trial["values"]["bleu"] for trial in best]
    assert len(best) == top
    assert values == sorted(values, reverse=True)


def test_a_best_trial_that_gains_nothing_is_said(petroleum: StudyData) -> None:
    """Where a baseline scores as well as the best trial, and of each trial that does; else not."""
    ranked = petroleum.ranked()
    assert gain_warning(petroleum) == ""
    assert "no better than" not in _shown(study_document(petroleum))
    worst = gain_warning(petroleum, ranked[-1].number)
    assert worst.startswith(f"Trial {ranked[-1].number} (BLEU ")
    base = petroleum.evaluation("base").evaluation_id
    rows = [
        replace(row, score=99.0) if (row.evaluation_id, row.metric) == (base, "bleu") else row
        for row in petroleum.score_rows
    ]
    untrained = replace(petroleum, score_rows=tuple(rows))
    best = petroleum.best_value
    said = (
        f"The best trial (BLEU {best:.1f}) is no better than the untrained base with 99.0: "
        "nothing was gained, so do not export it."
    )
    assert gain_warning(untrained) == said
    assert said in " ".join(_shown(study_document(untrained)).split())


def test_what_cannot_be_the_best_is_counted(tmp_path: Path) -> None:
    """Optuna's best may be a value that no variance can hold, or an infinite one."""
    url = f"sqlite:///{tmp_path / 'huge.db'}"
    study = optuna.create_study(storage=url, study_name="a\nb", direction="maximize")
    space = {"x": optuna.distributions.FloatDistribution(0, 1)}
    for value in (1e154, float("inf"), 1.0):
        study.add_trial(
            optuna.trial.create_trial(value=value, params={"x": 0.1}, distributions=space)
        )
    document = study_document(load(tmp_path / "huge.db"))
    assert document.title.startswith("a b  maximize value")

    assert "Not ranked: 2 with no finite value, or one beyond 1e150." in str(document)


@pytest.mark.parametrize("stored", ["x", 5, [None, {}], [float("nan")]])
def test_constraints_that_are_none_are_not_satisfied(tmp_path: Path, stored: object) -> None:
    """Another program may store anything under their name."""
    study = optuna.create_study(storage=f"sqlite:///{tmp_path / 'x.db'}")
    for number in range(3):
        limits = {"constraints": stored} if number else {}
        study.add_trial(optuna.trial.create_trial(value=float(number), system_attrs=limits))
    data = load(tmp_path / "x.db")
    assert [trial.number for trial in data.ranked()] == [0]
    assert "Not ranked: 2 beyond a constraint." in str(study_document(data))
