"""Optuna's own contract for evaluators of importances, and the same shares as elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Callable

import optuna
import pytest
from optuna.importance import BaseImportanceEvaluator, get_param_importances
from optuna.testing.pytest_importance import (
    BasicImportanceEvaluatorTestCase,
    NonConditionalImportanceEvaluatorTestCase,
)

from analysis.importance.optuna_evaluator import ImportanceEvaluator
from analysis.importance.variance import importances

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


class TestContract(BasicImportanceEvaluatorTestCase, NonConditionalImportanceEvaluatorTestCase):
    """Optuna's tests."""

    @pytest.fixture
    def evaluator(self) -> Callable[..., BaseImportanceEvaluator]:
        """What is tested."""
        return ImportanceEvaluator


def study(trials: int) -> optuna.Study:
    """Return a random study in which `a` matters."""
    found = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))

    def objective(trial: optuna.Trial) -> float:
        a, b = trial.suggest_float("a", 0, 1), trial.suggest_float("b", 0, 1)
        return float(3 * a + 0.1 * b)

    found.optimize(objective, n_trials=trials)
    return found


def test_shares_are_those_of_importances() -> None:
    """One number for one question, whichever door it is asked at."""
    asked = study(30)
    shares = get_param_importances(asked, evaluator=ImportanceEvaluator(), normalize=False)
    points = [t.params for t in asked.trials]
    space = asked.trials[0].distributions
    found = importances(points, [t.value for t in asked.trials], space, resamples=0)
    assert shares == pytest.approx({p.name: p.importance for p in found.parameters})
    assert list(shares) == ["a", "b"]


def test_thin_evidence_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Optuna's API has no place for doubts, so they are warned of."""
    with caplog.at_level(logging.WARNING):
        ImportanceEvaluator().evaluate(study(12))
    assert "importances are not reliable: 12 trials are too few" in caplog.text


def test_several_objectives_need_a_target() -> None:
    """Which value is explained is never guessed."""
    asked = optuna.create_study(directions=["minimize", "maximize"])
    with pytest.raises(ValueError, match="several objectives needs `target`"):
        ImportanceEvaluator().evaluate(asked)
    with pytest.raises(ValueError, match="must be one of auto, gp, forest, got 'svm'"):
        ImportanceEvaluator(surrogate="svm")


def test_conditional_parameters_are_left_out_aloud_unless_they_are_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As in Optuna, shares are of what every trial has, but nothing is dropped silently."""
    asked = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))

    def objective(trial: optuna.Trial) -> float:
        kind = trial.suggest_categorical("kind", ["deep", "wide"])
        size = trial.suggest_float("depth" if kind == "deep" else "width", 0, 1)
        return size + (kind == "deep")

    asked.optimize(objective, n_trials=40)
    with caplog.at_level(logging.WARNING):
        assert set(ImportanceEvaluator().evaluate(asked)) == {"kind"}
    assert "no share for depth, width: not in every trial" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        shares = ImportanceEvaluator().evaluate(asked, ["kind", "depth"])
    assert shares["depth"] == pytest.approx(1.0, abs=0.05)
    assert "no share for" not in caplog.text
