"""What a study is told about its parameters."""

import json
import math
from typing import Any

import numpy as np
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from analysis.importance import Importances, importances

SPACE: dict[str, BaseDistribution] = {
    "alpha": CategoricalDistribution([2**i for i in range(9)]),
    "rank": CategoricalDistribution([8, 16]),
    "learning_rate": FloatDistribution(2e-4, 5e-4, log=True),
    "dropout": FloatDistribution(0.0, 0.3),
}


def draw(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Return random points of SPACE."""
    rng = np.random.default_rng(seed)
    return [
        {
            "alpha": int(2 ** rng.integers(9)),
            "rank": int(rng.choice([8, 16])),
            "learning_rate": float(2e-4 * 2.5 ** rng.random()),
            "dropout": float(0.3 * rng.random()),
        }
        for _ in range(count)
    ]


def rises_then_falls(points: list[dict[str, Any]], noise: float = 1.0) -> list[float]:
    """Return an objective with its best alpha inside the range."""
    rng = np.random.default_rng(1)
    return [60 - 3 * (math.log2(p["alpha"]) - 5) ** 2 + rng.normal(0, noise) for p in points]


@pytest.fixture(scope="module")
def study() -> Importances:
    """Return one small finished analysis."""
    points = draw(64)
    return importances(points, rises_then_falls(points), SPACE, resamples=10, study="petroleum")


def test_alpha_that_rises_and_falls_carries_the_variance(study: Importances) -> None:
    """The one parameter that matters comes first, significant, and alone."""
    assert study.reliable, study.reasons
    assert [p.name for p in study.parameters if p.significant] == ["alpha"]
    alpha = study.parameters[0]
    assert alpha.name == "alpha"
    assert alpha.importance > 0.8
    assert alpha.ci[0] <= alpha.importance <= alpha.ci[1]


def test_the_document_holds_what_it_promises(study: Importances) -> None:
    """The JSON document survives a round trip and has the promised keys."""
    document = json.loads(json.dumps(study.to_json(), allow_nan=False))
    assert document["study"] == "petroleum"
    assert document["trials"] == {"complete": 64, "pruned": 0, "failed": 0, "used": 64}
    assert set(document["parameters"][0]) == {"name", "importance", "ci", "null", "significant"}
    assert set(document["interactions"][0]) == {"names", "importance", "ci"}
    assert 0.0 <= document["unexplained"] <= 1.0


def test_marginals_hold_external_values(study: Importances) -> None:
    """A marginal is drawn over the values a person wrote, within its band."""
    marginal = next(m for m in study.marginals if m.name == "alpha")
    assert marginal.values == tuple(2**i for i in range(9))
    assert np.all(marginal.low <= marginal.mean)
    assert np.all(marginal.mean <= marginal.high)
    assert abs(int(np.argmax(marginal.mean)) - 5) <= 1


def test_the_frame_has_one_row_a_parameter(study: Importances) -> None:
    """The table for a notebook is sorted as the result is."""
    assert list(study.to_frame()["name"]) == [p.name for p in study.parameters]


@pytest.mark.parametrize(
    ("points", "values", "reason"),
    [
        ([], [], "no finished trial"),
        (draw(1), [1.0], "a single finished trial"),
        (draw(20), [2.5] * 20, "objective is constant"),
        (draw(20), [math.nan] * 20, "no finished trial with a finite value"),
        ([{"alpha": 8} for _ in range(20)], range(20), "no parameter varied"),
        (draw(3), [1.0, 2.0, 3.0], "too few trials"),
    ],
)
def test_where_nothing_can_be_said_nothing_is(points: Any, values: Any, reason: str) -> None:
    """No bars, not reliable, and the reason in words."""
    result = importances(points, list(values), SPACE, resamples=2)
    assert not result.reliable
    assert result.parameters == ()
    assert reason in result.reasons[0]
    json.dumps(result.to_json(), allow_nan=False)


def test_values_that_are_not_finite_are_left_out_and_counted() -> None:
    """A diverged trial is no value of the objective, and the result says so."""
    points = draw(30)
    values = rises_then_falls(points)
    values[3], values[7] = math.inf, math.nan
    result = importances(points, values, SPACE, resamples=2)
    assert result.trials["used"] == 28
    assert any("2 trials have no finite value" in remark for remark in result.remarks)


def test_one_parameter_is_enough() -> None:
    """A study of one parameter has one bar and no pairs."""
    points = [{"alpha": p["alpha"]} for p in draw(40)]
    result = importances(points, rises_then_falls(points), {"alpha": SPACE["alpha"]}, resamples=2)
    assert [p.name for p in result.parameters] == ["alpha"]
    assert result.interactions == ()


def test_pure_noise_is_called_noise() -> None:
    """No parameter is significant and the result is not reliable."""
    result = importances(draw(30), np.random.default_rng(5).normal(size=30), SPACE, resamples=2)
    assert not result.reliable
    assert not any(p.significant for p in result.parameters)


def test_the_same_seed_gives_the_same_answer() -> None:
    """Nothing depends on global random state."""
    points = draw(24)
    one, two = (
        importances(points, rises_then_falls(points), SPACE, resamples=3, seed=4).to_json()
        for _ in range(2)
    )
    assert one == two


def test_progress_is_told() -> None:
    """The callback hears of every refit, the last one too."""
    heard: list[tuple[int, int]] = []
    points = draw(20)
    importances(
        points,
        rises_then_falls(points),
        SPACE,
        resamples=3,
        progress=lambda done, total: heard.append((done, total)),
    )
    assert heard[-1][0] == heard[-1][1]


def test_an_unknown_surrogate_is_an_error() -> None:
    """The message says what is allowed."""
    with pytest.raises(ValueError, match="'auto', 'gp' or 'forest' but got 'tree'"):
        importances([], [], SPACE, surrogate="tree")
