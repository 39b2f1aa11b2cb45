"""What a study is told about its parameters."""

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from analysis.importance.grid import SeedNoise, grid_shares, noise_doubts
from analysis.importance.refits import (
    Refits,
    _taking_turns,
    interaction_importances,
    resolution_of_pairs,
)
from analysis.importance.reliability import intervals
from analysis.importance.variance import Importances, importances
from analysis.importance.verdict import Verdict, per_configuration
from analysis.surrogates.encoding import Encoding, make_column
from analysis.surrogates.forest import Shares

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


@pytest.mark.whole
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
    assert set(document["parameters"][0]) == {"name", "importance", "ci", "p", "significant"}
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
        ([], [], "no sampled trial"),
        (draw(1), [1.0], "only one trial finished"),
        (draw(20), [2.5] * 20, "objective is constant"),
        (draw(20), [math.nan] * 20, "no sampled trial finished with a finite value"),
        ([{"alpha": 8} for _ in range(20)], range(20), "no parameter varied"),
        (draw(3), [1.0, 2.0, 3.0], "3 trials are too few"),
    ],
)
def test_where_nothing_can_be_said_nothing_is(points: Any, values: Any, reason: str) -> None:
    """No bars, not reliable, and the reason in words."""
    result = importances(points, list(values), SPACE, resamples=2)
    assert not result.reliable
    assert result.parameters == ()
    assert reason in result.reasons[0]
    json.dumps(result.to_json(), allow_nan=False)


@pytest.mark.whole
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
    with pytest.raises(ValueError, match="surrogate: must be one of auto, gp, forest, got 'tree'"):
        importances([], [], SPACE, surrogate="tree")


@pytest.mark.whole
def test_what_matters_among_the_good_differs_from_what_matters_overall() -> None:
    """With bad values clipped, the parameter that only separates bad from worse loses its share."""
    points = draw(80)
    values = [
        (-50 if p["alpha"] < 8 else 0) + 40 * p["dropout"] + 0.1 * math.log2(p["alpha"])
        for p in points
    ]
    overall = importances(points, values, SPACE, resamples=0)
    good = importances(points, values, SPACE, resamples=0, quantile=0.5)
    assert overall.parameters[0].name == "alpha"
    assert good.parameters[0].name == "dropout"
    assert any("count as" in remark for remark in good.remarks)


def test_a_quantile_that_holds_one_value_only_has_nothing_to_say() -> None:
    """Many trials at the ceiling: among the best the objective is constant, which is said."""
    points = draw(40)
    found = importances(points, [float(i % 2) for i in range(40)], SPACE, resamples=0, quantile=0.3)
    assert found.parameters == ()
    assert found.reasons == ("the objective is constant: all 40 trials have the value 1",)
    assert "values worse than 1" in found.remarks[-1]


@pytest.mark.whole
def test_pruned_trials_are_shown_under_every_policy() -> None:
    """The main effects under drop, last and worst stand side by side."""
    points = draw(40)
    values = rises_then_falls(points)
    pruned = [
        (p, v - 20) for p, v in zip(draw(10, seed=7), rises_then_falls(draw(10, 7)), strict=True)
    ]
    result = importances(points, values, SPACE, resamples=0, pruned=pruned)
    assert set(result.policies) == {"drop", "last", "worst"}
    assert result.trials["pruned"] == 10
    assert any("biases the sample" in remark for remark in result.remarks)
    taken = importances(points, values, SPACE, resamples=0, pruned=pruned, policy="last")
    assert taken.trials["used"] == 50


@pytest.mark.whole
def test_a_larger_subset_is_given_on_request() -> None:
    """Three parameters' own interaction, by name; an unknown name is an error."""
    points = draw(40)
    values = rises_then_falls(points)
    subset = ("alpha", "rank", "dropout")
    for surrogate in ("gp", "forest"):
        result = importances(
            points, values, SPACE, resamples=0, subsets=[subset], surrogate=surrogate
        )
        (found,) = [i for i in result.interactions if i.names == subset]
        assert found.ci is None  # without refits nothing is known of its spread
    with_refits = importances(points, values, SPACE, resamples=3, subsets=[subset], surrogate="gp")
    (found,) = [i for i in with_refits.interactions if i.names == subset]
    assert found.ci is not None
    assert 0.0 <= found.ci[0] <= found.importance <= found.ci[1] < 1.0
    with pytest.raises(ValueError, match="no share for colour"):
        importances(points, values, SPACE, resamples=0, subsets=[("colour", "rank", "alpha")])


def test_replicates_tell_the_noise() -> None:
    """The same points run again show how much of the variance is noise."""
    points = draw(30) * 3
    values = rises_then_falls(points, noise=20.0)
    signal = np.var(rises_then_falls(draw(400, 3), noise=0.0))
    result = importances(points, values, SPACE, resamples=0, surrogate="gp")
    assert result.noise == pytest.approx(400 / (400 + signal), abs=0.12)


GRID: dict[str, BaseDistribution] = {
    "alpha": CategoricalDistribution([8, 16, 32]),
    "rank": CategoricalDistribution([4, 8, 16, 32]),
}


def on_the_grid(seeds: int, noise: float, seed: int = 0, **options: Any) -> Importances:
    """Return the analysis of a complete grid, each cell `seeds` times, driven by α and little r."""
    rng = np.random.default_rng(seed)
    cells = [{"alpha": a, "rank": r} for a in (8, 16, 32) for r in (4, 8, 16, 32)]
    values = [
        math.log2(p["alpha"]) + 0.5 * math.log2(p["rank"]) + noise * rng.normal()
        for p in cells
        for _ in range(seeds)
    ]  # variances 2 / 3 and 5 / 16
    points = [p for p in cells for _ in range(seeds)]
    return importances(points, values, GRID, resamples=3, **options)


def test_a_grid_without_repeats_is_exact_for_its_values() -> None:
    """The shares are sums over the cells: no interval surrounds them, and nothing is refitted."""
    heard: list[tuple[int, int]] = []
    found = on_the_grid(1, 0.0, progress=lambda done, total: heard.append((done, total)))
    alpha = found.parameters[0]
    assert alpha.importance == pytest.approx((2 / 3) / (2 / 3 + 5 / 16), abs=1e-6)
    assert alpha.ci == pytest.approx((alpha.importance, alpha.importance))
    assert found.seed_noise is None
    assert not found.stability
    assert found.share_table().rows[0][2].text == "exact"
    assert "sums over a complete grid" in found.verdict
    assert "forest" not in found.verdict
    assert heard[-1][0] == heard[-1][1]


def test_a_grid_that_may_be_noise_is_not_reliable() -> None:
    """Exact shares of noise are no evidence: repeats or the test against chance say so."""
    nothing, something = Verdict(np.ones(2), np.ones(2)), Verdict(np.array([0.01, 1]), np.ones(2))
    assert "no effect is beyond chance" in noise_doubts(nothing, None, True)[0]
    assert noise_doubts(something, None, True) == noise_doubts(nothing, None, False) == []
    columns = (make_column("alpha", GRID["alpha"]),)
    encoding = Encoding(columns, np.repeat(columns[0].grid(), 4)[:, None], {}, {})
    values = np.array([1.0, 2, 3, 4, 2, 1, 4, 3, 4, 3, 1, 2])
    equal, apart = (SeedNoise.of(encoding, values + 9 * up * encoding.units[:, 0]) for up in (0, 1))
    assert "may be nothing but seed noise" in noise_doubts(something, equal, False)[0]
    assert noise_doubts(something, apart, False) == []


def test_refits_of_many_parameters_take_turns() -> None:
    """Every parameter is in ten refits or more, those wanted in all, and none has too many."""
    turns = _taking_turns(40, [3, 5], 60, np.random.default_rng(0))
    times = np.bincount(np.concatenate(turns), minlength=40)
    assert times[[3, 5]].tolist() == [60, 60]
    assert times.min() >= 10
    assert max(map(len, turns)) <= 12
    assert _taking_turns(4, range(4), 2, np.random.default_rng(0)) == [[0, 1, 2, 3]] * 2


def test_a_parameter_has_an_interval_from_the_refits_that_it_was_in() -> None:
    """What a refit left out neither narrows nor widens the interval of the others."""
    refits = np.random.default_rng(0).random((40, 2))
    whole = intervals(np.array([0.5, 0.5]), refits, kept=0.5)
    refits[20:, 1] = np.nan
    some = intervals(np.array([0.5, 0.5]), refits, kept=0.5)
    alone = intervals(np.array([0.5]), refits[:20, 1:], kept=0.5)
    assert some[0][0] == whole[0][0]
    assert some[1][1] == alone[1][0]


def test_no_interval_of_a_pair_is_narrower_than_trials_can_tell() -> None:
    """A pair that the surrogate misses in every refit may still be there."""
    shares = Shares(np.array([0.5, 0.3]), np.zeros((2, 2)), 0.2, 1.0)
    refits = Refits(0.5, np.full((9, 2), 0.4), np.zeros((9, 2, 2)), [])
    ordered = [make_column(name, FloatDistribution(0, 1)) for name in "ab"]
    resolved = resolution_of_pairs(ordered, 0.5, 60)
    assert resolved[0, 1] == pytest.approx(9.49 * 0.5 / 60, rel=1e-3)  # χ² of four curves
    (pair,) = interaction_importances("ab", shares, refits, resolved)
    assert pair.ci == (0.0, pytest.approx(resolved[0, 1]))
    five = make_column("c", CategoricalDistribution(list("vwxyz")))
    assert resolution_of_pairs([ordered[0], five], -3.0, 60)[0, 1] == pytest.approx(
        15.51 / 60, rel=1e-3
    )


def test_repeats_of_a_grid_have_a_row_for_the_seed_noise() -> None:
    """Shares are of the reproducible variance; what repeats differ by stands below them."""
    found = on_the_grid(seeds=4, noise=1.0)
    assert found.seed_noise == pytest.approx(1 / (1 + 47 / 48), abs=0.2)
    table = found.share_table()
    assert table.caption.startswith("Share of the reproducible variance")
    assert table.rows[-1][0].text == "seed noise"


def test_the_noise_in_the_means_of_a_grid_is_no_effect() -> None:
    """Corrected for it, shares hold the truth as often as promised and are right on average."""
    rng = np.random.default_rng(0)
    columns = tuple(make_column(name, d) for name, d in GRID.items())
    cells = np.array([(a, r) for a in columns[0].grid() for r in columns[1].grid()])
    effect = 3 * cells[:, 0] + 2 * cells[:, 1]
    truth = np.var(3 * columns[0].grid()) / np.var(effect)
    units, shares, held = np.repeat(cells, 3, axis=0), [], 0
    for _ in range(60):
        encoding = Encoding(columns, units, {}, {})
        values = np.repeat(effect, 3) + rng.normal(size=36)
        noise = SeedNoise.of(encoding, values)
        found, again = grid_shares(*per_configuration(encoding, values), noise)
        low, high = intervals(found.main, again.main, again.kept)
        shares.append(found.main[0])
        held += low[0] <= truth <= high[0]
    assert np.mean(shares) == pytest.approx(truth, abs=0.05)
    assert held >= 52  # binomial(60, 0.95): fewer with probability 0.01


@pytest.mark.whole
def test_the_importance_does_not_depend_on_unit_or_offset() -> None:
    """Shares are the same for BLEU in points and in thousandths."""
    points = draw(40)
    values = np.array(rises_then_falls(points))
    one = importances(points, values, SPACE, resamples=0)
    two = importances(points, 1000 * values - 7, SPACE, resamples=0)
    for a, b in zip(one.parameters, two.parameters, strict=True):
        assert a.importance == pytest.approx(b.importance, abs=1e-3)


def test_a_conditional_parameter_is_analysed_and_said() -> None:
    """A parameter that is active in half of the trials has a share and a remark."""
    rng = np.random.default_rng(0)
    points: list[dict[str, Any]] = []
    for _ in range(80):
        point: dict[str, Any] = {"method": str(rng.choice(["lora", "full"]))}
        if point["method"] == "lora":
            point["dropout"] = float(0.3 * rng.random())
        points.append(point)
    values = [20 * p["dropout"] if "dropout" in p else 3.0 for p in points]
    space: dict[str, BaseDistribution] = {
        "method": CategoricalDistribution(["lora", "full"]),
        "dropout": SPACE["dropout"],
    }
    result = importances(points, values, space, resamples=0)
    shares = {p.name: p.importance for p in result.parameters}
    # f = 3 or 6u, u uniform: half of the variance is dropout's own, half needs the method
    assert shares["dropout"] == pytest.approx(0.5, abs=0.12)
    assert shares["method"] < 0.1
    assert any("dropout is inactive in" in remark for remark in result.remarks)


def test_a_log_scaled_learning_rate_keeps_its_share() -> None:
    """Optuna's evaluator gives 0.1 here: it integrates over linear values."""
    rng = np.random.default_rng(0)
    points = [
        {"learning_rate": float(10 ** rng.uniform(-5, -1)), "dropout": float(0.3 * rng.random())}
        for _ in range(100)
    ]
    values = [
        -abs(math.log10(p["learning_rate"]) + 3) + p["dropout"] for p in points
    ]  # var 1/3 and 0.0075
    space: dict[str, BaseDistribution] = {
        "learning_rate": FloatDistribution(1e-5, 1e-1, log=True),
        "dropout": SPACE["dropout"],
    }
    for surrogate in ("gp", "forest"):
        result = importances(points, values, space, resamples=0, surrogate=surrogate)
        assert result.parameters[0].importance == pytest.approx(0.978, abs=0.03)


@pytest.mark.slow
def test_optunas_forest_agrees_on_linear_scales() -> None:
    """On uniform linear parameters our forest's main effects are Optuna's before its rescaling."""
    import optuna

    space = {name: FloatDistribution(0, 1) for name in "abc"}
    rng = np.random.default_rng(0)
    points = [{n: float(rng.random()) for n in "abc"} for _ in range(120)]
    values = [p["a"] + 0.5 * math.sin(6 * p["b"]) for p in points]
    study = optuna.create_study()
    study.add_trials(
        [
            optuna.trial.create_trial(params=p, distributions=space, value=v)
            for p, v in zip(points, values, strict=True)
        ]
    )
    theirs = optuna.importance.get_param_importances(
        study, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0)
    )
    ours = importances(points, values, space, surrogate="forest", resamples=0)
    total = sum(p.importance for p in ours.parameters)
    for parameter in ours.parameters:
        assert parameter.importance / total == pytest.approx(theirs[parameter.name], abs=0.03)


def test_pruned_trials_that_are_only_counted_are_mentioned() -> None:
    """Where a study pruned, a remark says that this biases the sample."""
    points = draw(24)
    result = importances(
        points, rises_then_falls(points), SPACE, resamples=0, counts={"pruned": 7, "failed": 1}
    )
    assert result.trials == {"complete": 24, "pruned": 7, "failed": 1, "used": 24}
    assert any("7 pruned trials were left out" in remark for remark in result.remarks)


def test_a_subset_of_two_is_a_pair() -> None:
    """Pairs are always given, so asking for one is an error that says so."""
    points = draw(24)
    with pytest.raises(ValueError, match="pairs are always reported"):
        importances(points, rises_then_falls(points), SPACE, subsets=[("alpha", "rank")])


@pytest.mark.whole
@given(count=st.integers(0, 14), seed=st.integers(0, 999), kinds=st.integers(1, 15))
@settings(max_examples=12, deadline=None)
def test_any_small_study_has_a_finite_document(count: int, seed: int, kinds: int) -> None:
    """Whatever the trials, shares are shares and the document is valid JSON without NaN."""
    names = [name for bit, name in enumerate(SPACE) if kinds >> bit & 1]
    rng = np.random.default_rng(seed)
    points = [{n: p[n] for n in names if rng.random() > 0.1} for p in draw(count, seed)]
    values = np.round(rng.normal(size=count), 1)
    result = importances(points, values, {n: SPACE[n] for n in names}, resamples=2, seed=seed)
    json.dumps(result.to_json(), allow_nan=False)
    for parameter in result.parameters:
        low, high = parameter.ci
        assert 0.0 <= low <= parameter.importance <= high <= 1.0
    assert sum(p.importance for p in result.parameters) <= 1.0 + 1e-9
    assert result.parameters or (result.reasons and not result.reliable)


def test_shares_of_reproducible_variance_sum_to_one_at_most() -> None:
    """Two trials of one configuration that differ widely leave the parts within the whole."""
    cells = [(16, 16), (128, 16), (4, 16), (1, 8), (128, 8), (2, 8), (256, 8), (1, 8)]
    points = [{"alpha": alpha, "rank": rank} for alpha, rank in cells]
    values = [0.0, -0.3, -0.8, -0.3, 0.0, -0.3, 1.3, 1.0]
    space = {name: SPACE[name] for name in ("alpha", "rank")}
    for surrogate in ("forest", "gp"):
        result = importances(points, values, space, resamples=2, surrogate=surrogate)
        assert result.seed_noise is not None
        assert result.seed_noise > 0.5
        parts = [p.importance for p in (*result.parameters, *result.interactions)]
        assert sum(parts) <= 1.0 + 1e-9


def test_a_noisy_grid_s_shares_sum_to_one_at_most() -> None:
    """Parts that fall below zero without the noise's own do not push the others above the whole."""
    rng = np.random.default_rng(0)
    space = {name: SPACE[name] for name in ("alpha", "rank")}
    cells = [{"alpha": 2**i, "rank": rank} for i in range(9) for rank in (8, 16)]
    for _ in range(8):
        values = rng.normal(size=2 * len(cells))
        result = importances(cells * 2, values, space, resamples=2)
        parts = [p.importance for p in (*result.parameters, *result.interactions)]
        assert sum(parts) <= 1.0 + 1e-9
