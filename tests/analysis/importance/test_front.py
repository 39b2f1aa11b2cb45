"""What matters between two goals."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.trial import create_trial

from analysis.importance.answers import answer, front_of
from analysis.importance.front import WEIGHTS
from analysis.importance.question import Points, Question, QuestionError
from analysis.studies.study_data import StudyData
from study.errors import InputError

LEVELS = list(range(6))
SPACE = {name: CategoricalDistribution(LEVELS) for name in ("a", "b")}


def study(second: float = 1.0) -> StudyData:
    """A complete grid: the score follows `a`, the cost follows `b` and half of `a`."""
    trials = []
    for number, (a, b) in enumerate(product(LEVELS, LEVELS)):
        values = [float(a), second * (b + 0.5 * a)]
        trial = create_trial(params={"a": a, "b": b}, distributions=SPACE, values=values)
        trial.number = number
        trials.append(trial)
    return StudyData("s", "s", ("score", "cost"), ("maximize", "minimize"), tuple(trials))


@pytest.mark.whole
def test_shares_along_the_front_are_those_of_the_complete_grid() -> None:
    """Of w a / sd − (1 − w)(b + a / 2) / sd the variance of each parameter is known."""
    found = front_of(study())
    spread = np.std(LEVELS)
    cost = spread * np.sqrt(1.25)
    for place, weight in enumerate(WEIGHTS):
        of_a = (weight / spread - (1 - weight) * 0.5 / cost) ** 2
        of_b = ((1 - weight) / cost) ** 2
        assert found.share("a", place) == pytest.approx(of_a / (of_a + of_b), abs=1e-9)
        assert found.share("b", place) == pytest.approx(of_b / (of_a + of_b), abs=1e-9)
    assert found.share("a", 0) == pytest.approx(1.0)
    text = found.document().to_text()
    assert "What matters between score and cost?" in text
    assert "* beyond chance" in text


def test_a_second_value_is_needed_and_must_vary() -> None:
    """One value alone has no front; plain points hold one value only."""
    with pytest.raises(InputError, match="against: must name a second value beside score"):
        front_of(study(), "score", "score")
    with pytest.raises(InputError, match="against: study 's' has no number 'cots'; did you mean"):
        front_of(study(), "score", "cots")
    with pytest.raises(InputError, match="cost: its values do not vary"):
        front_of(study(0.0))
    with pytest.raises(ValueError, match="front needs a study"):
        answer(Question("front"), Points([], [], {}))
    with pytest.raises(QuestionError, match="applies only to the question front"):
        Question("variance", against="cost")
