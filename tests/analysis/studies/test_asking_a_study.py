"""What a person asks a study for in a notebook."""

from __future__ import annotations

from pathlib import Path

import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import create_trial

from analysis.importance import answers
from analysis.plots import plot_importances
from analysis.studies.load import StudyData, load
from analysis.wording import alike_signed
from study.errors import InputError
from tests.synthetic import Shape, write_study


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> StudyData:
    """A small study of this program."""
    shape = Shape(complete=8, failed=1, examples=8)
    return load(write_study(tmp_path_factory.mktemp("asked"), shape))


def test_the_best_has_params_and_a_value(study: StudyData) -> None:
    """As Optuna's study has them; None where no trial is finished."""
    assert study.best_trial is not None
    assert study.best_params == study.best_trial.params
    assert study.best_value == max(study.value(t) for t in study.complete)
    none = StudyData("s", "s", ("value",), ("maximize",), ())
    assert (none.best_params, none.best_value) == (None, None)


def test_a_metric_that_is_nowhere_is_an_error(study: StudyData) -> None:
    """A slip is named with what was meant; a score that one model lacks is None."""
    assert study.score("best", "bleu") is not None
    assert study.score("plain", "bleu") is None
    with pytest.raises(InputError, match="no scores by 'chfr'; did you mean chrf"):
        study.score("best", "chfr")


def test_importances_are_drawn_of_a_study(
    study: StudyData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`plot_importances(study)` computes what it draws."""
    found = answers.importances_of(study, resamples=2)
    monkeypatch.setattr("analysis.plots.study_figures.importances_of", lambda _: found)
    given, computed = plot_importances(found), plot_importances(study)
    assert len(given.patches) == len(computed.patches) > 0


def test_a_difference_is_never_written_as_none() -> None:
    """A small difference beside large ones keeps its size and sign; a true zero stays one."""
    write = alike_signed([12.0, -0.0004, 0.0])
    assert write(12.0) == "+12.0"
    assert write(-0.0004) == "−4e-4"
    assert write(0.0) == "+0.0"


def test_a_study_without_scores_is_not_asked_for_metrics(tmp_path: Path) -> None:
    """A study of another program stores no scores, whatever the metric."""
    trial = create_trial(params={"x": 0.5}, distributions={"x": FloatDistribution(0, 1)}, value=1.0)
    data = StudyData("s", str(tmp_path), ("value",), ("maximize",), (trial,))
    assert data.score("best", "value") is None
