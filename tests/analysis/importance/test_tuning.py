"""What tuning is worth, where the gains are known."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from analysis.importance.answers import answer
from analysis.importance.question import Points, Question, QuestionError
from analysis.importance.tuning import Gain, Tuning

SPACE: dict[str, BaseDistribution] = {
    "alpha": CategoricalDistribution([2**i for i in range(9)]),
    "learning_rate": FloatDistribution(1e-5, 1e-2, log=True),
    "dropout": FloatDistribution(0.0, 0.3),
}
DEFAULT = {"alpha": 8, "learning_rate": 1e-4, "dropout": 0.0}
BEST = -2.0  # log10 of learning rate · alpha at the optimum


def score(point: dict[str, Any]) -> float:
    """Return a score that falls by 4 a decade squared away from the best product."""
    return float(50 - 4 * (np.log10(point["alpha"] * point["learning_rate"]) - BEST) ** 2)


@cache
def found(sign: float = 1.0) -> Tuning:
    """Return the answer for 60 noisy trials."""
    rng = np.random.default_rng(0)
    points = [
        {
            "alpha": int(2 ** rng.integers(9)),
            "learning_rate": float(10 ** rng.uniform(-5, -2)),
            "dropout": float(rng.uniform(0, 0.3)),
        }
        for _ in range(60)
    ]
    values = [sign * (score(p) + rng.normal(0, 0.3)) for p in points]
    given = Points(
        points,
        values,
        SPACE,
        objective="bleu",
        direction="maximize" if sign > 0 else "minimize",
        default=DEFAULT,
    )
    result = answer(Question("tuning", margin=1.0), given)
    assert isinstance(result, Tuning)
    return result


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_gains_over_the_default_are_those_of_the_function(sign: float) -> None:
    """Either factor alone reaches the optimum; dropout gains nothing, in both directions."""
    result = found(sign)
    known = 50 - score(DEFAULT)
    gains = {g.name: g for g in (*result.gains, result.together)}
    for name in ("alpha", "learning_rate", ""):
        assert gains[name].gain == pytest.approx(known, abs=1.0)
        assert gains[name].ci[0] <= known <= gains[name].ci[1]
        assert gains[name].is_worth_it
    assert not gains["dropout"].is_worth_it
    assert gains["dropout"].ci[1] < 1.5
    assert result.gains[-1].name == "dropout"


def test_sentences_say_gain_and_interval_or_what_it_is_at_most() -> None:
    """They are what people quote, with the unit."""
    first, *_, dropout, every = found().sentences
    assert first.split(":")[0] in ("alpha", "learning_rate")
    assert " BLEU (" in first
    assert dropout.startswith("dropout: nothing to gain for certain, at most ")
    assert every.startswith("all together: +")


def test_the_flat_region_is_the_product_within_the_margin() -> None:
    """Half a decade on each side of the best product loses 1; any dropout is good enough."""
    result = found()
    assert result.product is not None
    assert result.product.name == "learning_rate · alpha"
    low, high = np.log10([result.product.low, result.product.high])
    assert (low, high) == pytest.approx((BEST - 0.5, BEST + 0.5), abs=0.25)
    flat = {r.name: r for r in result.flat}
    assert flat["dropout"].whole
    assert flat["alpha"].whole  # the learning rate makes up for it
    text = result.document().to_text()
    assert "within 1 BLEU of the best" in text
    assert "(all)" in text


def test_a_margin_belongs_to_tuning_and_is_no_less_than_zero() -> None:
    """Another question with a margin, or a negative one, is refused."""
    with pytest.raises(QuestionError, match="applies only to the question tuning"):
        Question("variance", margin=1.0)
    with pytest.raises(QuestionError, match="must be zero or more, got -1"):
        Question("tuning", margin=-1.0)


def test_a_best_far_beyond_every_trial_is_not_believed() -> None:
    """Beside a cliff a smooth surrogate overshoots: then nothing is called worth tuning."""
    rng = np.random.default_rng(1)
    points = [
        {"rate": float(10 ** rng.uniform(-5, -1)), "idle": float(rng.random())} for _ in range(100)
    ]
    space: dict[str, BaseDistribution] = {
        "rate": FloatDistribution(1e-5, 0.1, log=True),
        "idle": FloatDistribution(0, 1),
    }
    lost = [
        1000.0 if p["rate"] > 0.05 else 2 + 0.3 * (np.log10(p["rate"]) + 3) ** 2 for p in points
    ]
    found = answer(Question("tuning"), Points(points, lost, space, direction="minimize"))
    assert isinstance(found, Tuning)
    assert "lies far beyond the best trial" in found.sentences[0]
    text = found.document().to_text()
    assert "Good enough" not in text
    assert "worth tuning" not in text


@pytest.mark.parametrize("seed", [1, 4])
def test_ranges_are_not_too_narrow_where_the_expected_best_is_in_a_corner(seed: int) -> None:
    """A clean product is flat along its ridge, and an idle parameter has no bad value."""
    space: dict[str, BaseDistribution] = {
        "learning_rate": FloatDistribution(1e-4, 1e-1, log=True),
        "alpha": FloatDistribution(1, 100, log=True),
        "idle": FloatDistribution(0, 1),
    }

    rng = np.random.default_rng(seed)
    unit = rng.random((100, 3))
    points = [
        {"learning_rate": float(10 ** (-4 + 3 * a)), "alpha": float(100**b), "idle": float(c)}
        for a, b, c in unit
    ]
    values = -((3 * unit[:, 0] + 2 * unit[:, 1] - 2) ** 2) + rng.normal(0, 0.1, 100)
    result = answer(Question("tuning"), Points(points, values, space))
    assert isinstance(result, Tuning)
    flat = {r.name: r for r in result.flat}
    assert flat["idle"].whole
    assert np.log10(flat["alpha"].high / flat["alpha"].low) > 1.0  # of two decades
    assert result.together.ci[0] <= 0.25 <= result.together.ci[1]
    for gain in result.gains:
        assert result.together.gain >= gain.gain
        assert result.together.ci[0] >= gain.ci[0]
        assert result.together.ci[1] >= gain.ci[1]


def test_only_parameters_that_are_active_have_a_gain_and_a_range() -> None:
    """The best configuration is one that a trial could have."""
    rng = np.random.default_rng(0)
    space: dict[str, BaseDistribution] = {
        "kind": CategoricalDistribution(["tree", "line"]),
        "depth": FloatDistribution(0, 1),
        "decay": FloatDistribution(0, 1),
    }
    points: list[dict[str, Any]] = []
    for i in range(80):
        name = "depth" if i % 2 else "decay"
        points.append({"kind": "tree" if i % 2 else "line", name: float(rng.random())})
    values = [-2 * (p["depth"] - 0.8) ** 2 if "depth" in p else -1 - p["decay"] for p in points]
    noisy = np.array(values) + rng.normal(0, 0.02, 80)
    result = answer(Question("tuning"), Points(points, noisy, space, default={"kind": "line"}))
    assert isinstance(result, Tuning)
    assert {g.name for g in result.gains} == {"kind", "decay"}
    assert set(result.together.best) == {"kind", "depth"}
    assert result.together.best["kind"] == "tree"
    assert {r.name for r in result.flat} == {"kind", "depth"}
    assert "decay" not in result.together.sentence("value")


def test_it_says_which_trials_are_left_out_and_how_they_were_chosen() -> None:
    """The same words as the shares have, for trials without a value and an adaptive sampler."""
    rng = np.random.default_rng(3)
    points = [{"rate": float(rng.uniform(0, 0.3)), "idle": float(rng.random())} for _ in range(60)]
    space: dict[str, BaseDistribution] = {
        "rate": FloatDistribution(0, 1),
        "idle": FloatDistribution(0, 1),
    }
    values = [p["rate"] + rng.normal(0, 0.02) for p in points]
    values[:2] = [float("inf"), float("nan")]
    counts = {"complete": 60, "failed": 3}
    given = Points(points, values, space, counts=counts, sampler="tpe", remarks=("a remark",))
    result = answer(Question("tuning"), given)
    assert isinstance(result, Tuning)
    said = " ".join(result.remarks)
    assert "2 trials have no finite value, or one beyond 1e150, and are left out" in said
    assert "3 failed trials have no value" in said
    assert "tpe chose the trials by earlier scores" in said
    assert "a remark" in said


def test_rounding_is_no_gain() -> None:
    """A forest that is flat in a parameter gives its best value a lead of 1e-14."""
    assert not Gain("x", 8, 9, 1e-14, (1e-14, 2.7)).is_worth_it
    assert Gain("x", 8, 9, 0.5, (0.1, 2.7)).is_worth_it
