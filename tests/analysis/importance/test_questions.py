"""Each question gets its own answer."""

from typing import Any

import numpy as np
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from analysis.importance.answers import answer
from analysis.importance.other_questions import (
    Answer,
    ablation,
    fitted_surrogate,
    local_importance,
    ped_anova,
)
from analysis.importance.question import Points, Question, QuestionError
from analysis.importance.result import Importances

SPACE: dict[str, BaseDistribution] = {
    "a": FloatDistribution(0, 1),
    "b": FloatDistribution(0, 1),
    "c": CategoricalDistribution(["x", "y"]),
}


def draw(count: int) -> list[dict[str, Any]]:
    """Return random points."""
    rng = np.random.default_rng(0)
    return [
        {"a": float(rng.random()), "b": float(rng.random()), "c": str(rng.choice(["x", "y"]))}
        for _ in range(count)
    ]


def objective(point: dict[str, Any]) -> float:
    """Return 4a, flat beyond a = 0.5, plus b and one for y."""
    return float(4 * min(point["a"], 0.5) + point["b"] + (point["c"] == "y"))


@pytest.mark.whole
@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_ablation_goes_from_the_default_to_the_best(direction: str) -> None:
    """The largest gain comes first, and the steps end at the best configuration."""
    sign = 1 if direction == "maximize" else -1
    points = draw(60)
    model = fitted_surrogate(
        Points(points, [sign * objective(p) for p in points], SPACE, direction=direction)
    )
    path = ablation(model, {"a": 0.0, "b": 0.5, "c": "x"}, {"a": 0.5, "b": 0.9, "c": "y"})
    assert [step.name for step in path] == ["a", "c", "b"]
    assert [step.gain for step in path] == pytest.approx([2.0, 1.0, 0.4], abs=0.2)
    assert path[1].before == "x"
    assert path[1].after == "y"


def test_local_importance_sees_what_is_left_around_the_best() -> None:
    """Shares add up to one; a given point is used in place of the best."""
    points = draw(60)
    model = fitted_surrogate(Points(points, [objective(p) for p in points], SPACE))
    answer = local_importance(model)
    assert sum(answer.shares.values()) == pytest.approx(1.0)
    assert next(iter(answer.shares)) == "a"
    assert "around the best" in answer.question
    assert set(local_importance(model, {"a": 0.9, "b": 0.1, "c": "x"}).shares) == set("abc")


def test_ped_anova_is_labelled_and_doubts_itself() -> None:
    """The share for reaching the best tenth, with a reason where the tenth is too small."""
    points = draw(60)
    values = [objective(p) for p in points]
    answer = ped_anova(Points(points, values, SPACE))
    assert sum(answer.shares.values()) == pytest.approx(1.0)
    assert answer.reasons == ()
    assert "best 10 %" in answer.question
    assert "at least 5" in ped_anova(Points(points[:20], values[:20], SPACE)).reasons[0]
    assert ped_anova(Points(points, [1.0] * 60, SPACE)).shares == {}


def test_a_model_of_nothing_is_an_error() -> None:
    """Too few trials or a constant objective cannot be modelled; the error says which."""
    with pytest.raises(ValueError, match="objective is constant: all 20 trials have the value 1"):
        fitted_surrogate(Points(draw(20), [1.0] * 20, SPACE))
    with pytest.raises(ValueError, match="4 trials are too few: a surrogate needs at least 5"):
        fitted_surrogate(Points(draw(4), [1.0, 2.0, 3.0, 4.0], SPACE))


def test_one_call_answers_every_question() -> None:
    """`answer` takes plain points too, and the kind of the question chooses the method."""
    points = draw(60)
    best = {"a": 0.5, "b": 0.9, "c": "y"}
    given = Points(points, [objective(p) for p in points], SPACE, objective="score", best=best)
    methods = {
        kind: answer(Question(kind, surrogate="gp", resamples=0), given)
        for kind in ("variance", "best", "gain", "local")
    }
    assert isinstance(methods["variance"], Importances)
    others = [found for found in methods.values() if isinstance(found, Answer)]
    assert [found.method for found in others] == ["PED-ANOVA", "ablation", "local importance"]
    assert {found.objective for found in methods.values()} == {"score"}
    assert {step.after for step in others[1].steps} <= set(best.values())


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (
            {"kind": "why"},
            "kind: must be one of variance, best, gain, local, tuning, front, got 'why'",
        ),
        ({"quantile": 1.0}, "quantile: must be between 0 and 1, got 1"),
        ({"kind": "gain", "policy": "last"}, "policy: applies only to the question variance"),
        (
            {"subsets": [("a", "b", "a")]},
            "subsets: must name at least three parameters, got a, b, a",
        ),
    ],
)
def test_a_question_is_checked_where_it_is_declared(options: dict[str, Any], problem: str) -> None:
    """A wrong option is refused before any trial is read, by its name."""
    with pytest.raises(QuestionError, match=problem):
        Question(**options)
