"""`from optuna_study import …`: documented, light, and the same answers as underneath."""

from __future__ import annotations

import doctest
import inspect
from pathlib import Path

import pytest

import optuna_study
from analysis import StudyData, importances_of
from analysis.comparison.between_studies import compare_studies
from optuna_study import public
from study.errors import InputError
from study.spec.sections import StudySpec
from tests.synthetic import Shape, write_study


@pytest.fixture(scope="module")
def study(finished: Path) -> StudyData:
    """A study of few trials."""
    return optuna_study.load(finished)


FUNCTIONS = [
    name for name in optuna_study.__all__ if inspect.isfunction(getattr(optuna_study, name))
]


def test_tab_completion_offers_what_there_is() -> None:
    """`dir` lists the documented names, and each of them can be had."""
    assert dir(optuna_study) == sorted(optuna_study.__all__)
    for name in optuna_study.__all__:
        assert getattr(optuna_study, name) is not None
    issued = ["load", "importances", "compare", "confirm", "plots", "run_study", "report"]
    assert set(issued) <= set(optuna_study.__all__)
    with pytest.raises(AttributeError, match="'optuna_study' has no attribute 'lod'"):
        _ = optuna_study.lod


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_is_documented(name: str) -> None:
    """Its docstring names each argument, what comes back, what is raised, and shows a call."""
    function = getattr(optuna_study, name)
    text = inspect.getdoc(function) or ""
    for part in ("Args:", "Returns:", "Raises:\n    InputError:", "Example:\n    >>> "):
        assert part in text, part
    arguments = text.partition("Args:")[2].partition("Returns:")[0]
    assert [
        p for p in inspect.signature(function).parameters if f"\n    {p}: " not in arguments
    ] == []
    assert f"{name}(" in text.partition("Example:")[2]


def test_the_examples_that_need_no_study_run() -> None:
    """The calls in the docstrings that are not marked as skipped give what they show."""
    ran = doctest.testmod(public)
    assert (ran.failed, ran.attempted > 0) == (0, True)


@pytest.mark.whole
def test_the_answers_are_those_of_the_functions_underneath(
    study: StudyData, finished: Path
) -> None:
    """A loaded study and the place to load it from give the same importances."""
    expected = importances_of(study, "chrf", resamples=4, quantile=0.5).to_json()
    for place in (study, finished, str(finished)):
        found = optuna_study.importances(place, "chrf", resamples=4, best=0.5)
        assert found.to_json() == expected


@pytest.mark.whole
def test_other_questions_take_a_place_too(finished: Path, study: StudyData) -> None:
    """Every function over a study answers for a run folder."""
    assert "bleu" in optuna_study.target_names(finished)
    assert optuna_study.answer(finished, "best").shares
    assert optuna_study.confounding(finished) is not None
    assert optuna_study.surface(finished) is not None
    assert optuna_study.surface(finished, ("alpha", "rank")) is not None
    assert optuna_study.trade_offs(finished)


def test_compare_takes_one_study_or_two(study: StudyData, tmp_path: Path) -> None:
    """Two are tested by their best trials; one by its adapters, chosen by metric and number."""
    other = optuna_study.load(write_study(tmp_path / "other", Shape(complete=8, examples=8)))
    found = optuna_study.compare(study, other, "chrf")
    assert found.to_json() == compare_studies(study, other, "chrf").to_json()
    adapters = optuna_study.compare(study, metric="chrf", trials=[3])
    assert adapters.metrics == ("chrf",)
    assert 3 in [model.who for model in adapters.adapters]
    with pytest.raises(InputError, match="allow one metric"):
        optuna_study.compare(study, other, ["chrf", "bleu"])  # type: ignore[call-overload]


@pytest.mark.whole
@pytest.mark.usefixtures("one_figure", "small_forests")
def test_report_writes_one_study_or_several(finished: Path, tmp_path: Path) -> None:
    """The page is written where it was asked for, also for studies side by side."""
    other = write_study(tmp_path / "other", Shape(complete=8, examples=8))
    alone = optuna_study.report(finished, tmp_path / "page.html", resamples=2)
    beside = optuna_study.report([finished, other], str(tmp_path / "two.html"), resamples=2)
    assert "<title>" in alone.read_text(encoding="utf-8")
    assert "other" in beside.read_text(encoding="utf-8")


@pytest.mark.whole
def test_a_study_is_run_and_confirmed(
    tiny_spec: StudySpec, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A study file becomes a run folder, and its best trial is tested on held-out examples."""
    text = tiny_spec.model_copy(update={"name": "tiny"}).to_toml()
    (tmp_path / "tiny.toml").write_text(text, encoding="utf-8")
    run = optuna_study.run_study(tmp_path / "tiny.toml", tmp_path / "run", progress=True)
    assert "#0" in capsys.readouterr().err
    again = optuna_study.run_study(tiny_spec, str(run.folder))
    assert (again.folder, again.stopped_early) == (run.folder, False)
    with pytest.raises(InputError, match="held-out examples"):
        optuna_study.confirm(run.folder)
    found = optuna_study.confirm(run.folder, top=1, seeds=2, test=tiny_spec.data.dev)
    assert len(found.winner.seeds) == 2
    assert len(repr(found)) < 2000
    assert optuna_study.load_adapters(run.folder).names


@pytest.mark.whole
def test_results_are_short_at_a_prompt(study: StudyData) -> None:
    """No result fills the screen with its arrays."""
    shown = [
        study,
        optuna_study.importances(study, resamples=2),
        optuna_study.answer(study, "best"),
        optuna_study.confounding(study),
        optuna_study.compare(study),
        optuna_study.surface(study),
        *optuna_study.trade_offs(study),
        optuna_study.load_spec("petroleum"),
    ]
    long = {type(result).__name__: len(repr(result)) for result in shown}
    assert {name: length for name, length in long.items() if length > 2500} == {}
