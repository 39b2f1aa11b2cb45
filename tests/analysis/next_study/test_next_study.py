"""What a study teaches of the next: each rule on studies whose truth is known."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.importance.answers import confounding_of, importances_of
from analysis.importance.reliability import more_trials
from analysis.importance.result import ParameterImportance
from analysis.next_study.boundaries import crowd_at_end
from analysis.next_study.proposal import Change, Proposal, propose
from analysis.next_study.widening import narrowed, widened
from analysis.studies.study_data import StudyData
from analysis.surrogates.encoding import make_column
from reports.next_file import next_file, next_name
from reports.sections.next_study import conclusion
from search_spaces import Parameter
from search_spaces.unit_cube import from_unit
from study.spec.hyperparameters import is_integer, limits_of
from study.spec.sections import parse_spec

ALPHA = {"choices": [8, 16, 32, 64, 128]}
RATE = {"low": 1e-4, "high": 1e-2, "log": True}
DROPOUT = {"low": 0.0, "high": 0.3}
RANK = {"choices": [4, 8, 16, 32]}
NOISE = 0.02


def study_of(
    parameters: Mapping[str, Mapping[str, Any]],
    truth: Callable[[Mapping[str, Any]], float],
    trials: int = 60,
    seed: int = 0,
) -> StudyData:
    """Return random trials of a known function with a little noise, as a study of ours."""
    spec = parse_spec({"name": "known", "search": {"parameters": parameters}}, "known")
    found = {n: Parameter(**p).distribution(integer=is_integer(n)) for n, p in parameters.items()}
    distributions = {n: d for n, d in found.items() if d is not None}
    rng = np.random.default_rng(seed)
    frozen = []
    for number in range(trials):
        point = {n: from_unit(d, float(rng.random())) for n, d in distributions.items()}
        value = truth(point) + NOISE * rng.standard_normal()
        trial = optuna.trial.create_trial(params=point, distributions=distributions, value=value)
        trial.number = number
        frozen.append(trial)
    return StudyData("known", "known", ("bleu",), ("maximize",), tuple(frozen), {}, spec.to_toml())


def proposal(data: StudyData) -> Proposal:
    """Return what `optuna-study next` would say, with few resamples."""
    found = importances_of(data, resamples=30)
    product = confounding_of(data, resamples=10) if found.reliable else None
    return propose(data, found, product)


def change(data: StudyData, name: str) -> Change:
    """Return what becomes of one parameter."""
    return next(c for c in proposal(data).changes if c.parameter == name)


def hump(position: float) -> float:
    """Return a score that is best at 0."""
    return math.exp(-(position**2))


def test_a_range_grows_where_its_best_trials_crowd() -> None:
    """A score that still rises at the upper end asks for more there, and only there."""
    data = study_of(
        {"learning_rate": RATE, "dropout": DROPOUT}, lambda p: p["learning_rate"] ** 0.5
    )
    found = change(data, "learning_rate")
    assert found.kind == "widened"
    assert found.becomes["low"] == RATE["low"]
    assert found.becomes["high"] > 2 * 1e-2


def test_a_best_inside_the_range_is_left_there() -> None:
    """A maximum in the middle moves no end outwards."""
    data = study_of(
        {"learning_rate": RATE, "dropout": DROPOUT},
        lambda p: hump(0.3 * math.log10(p["learning_rate"] / 1e-3)),
    )
    assert change(data, "learning_rate").kind in ("kept", "narrowed")


@pytest.mark.whole
def test_a_product_is_searched_through_one_of_its_factors() -> None:
    """Where only learning rate · α acts, α is held and the learning rate covers the products."""
    data = study_of(
        {"alpha": ALPHA, "learning_rate": RATE, "dropout": DROPOUT},
        lambda p: hump(0.4 * math.log10(p["learning_rate"] * p["alpha"] / 0.03)),
    )
    by_name = {c.parameter: c for c in proposal(data).changes}
    assert by_name["alpha"].kind == "fixed"
    assert by_name["learning_rate"].kind == "replaced"
    held = by_name["alpha"].becomes["value"]
    low, high = by_name["learning_rate"].becomes["low"], by_name["learning_rate"].becomes["high"]
    assert low < 0.03 / held < high


@pytest.mark.whole
def test_the_points_that_are_tried_first_have_the_same_product() -> None:
    """A known good point becomes one of the next space: α held, its product unchanged."""
    data = study_of(
        {"alpha": ALPHA, "learning_rate": RATE},
        lambda p: hump(0.4 * math.log10(p["learning_rate"] * p["alpha"] / 0.03)),
    )
    found = proposal(data)
    held = next(c for c in found.changes if c.parameter == "alpha").becomes["value"]
    best = data.ranked()[0].params
    assert found.enqueue[0]["learning_rate"] * held == pytest.approx(
        best["learning_rate"] * best["alpha"], rel=1e-5
    )
    assert "alpha" not in found.enqueue[0]


@pytest.mark.whole
def test_a_small_effect_is_fixed_only_where_the_rest_could_have_shown() -> None:
    """Beside a learning rate whose bad values carry the variance, nothing is called unimportant."""
    mild = study_of(
        {"learning_rate": RATE, "dropout": DROPOUT},
        lambda p: math.log10(p["learning_rate"] / 1e-3) ** 2 * -0.1 + math.sin(4 * p["dropout"]),
        trials=80,
    )
    cliff = study_of(
        {"learning_rate": {"low": 1e-6, "high": 1e-1, "log": True}, "dropout": DROPOUT},
        lambda p: hump(2 * math.log10(p["learning_rate"] / 1e-3)),
        trials=80,
    )
    assert change(cliff, "learning_rate").kind == "narrowed"
    assert change(cliff, "dropout").kind == "kept"
    assert all(c.kind != "narrowed" for c in proposal(mild).changes)


@pytest.mark.whole
def test_a_settled_study_says_so() -> None:
    """What matters has its best inside and hides nothing, the rest does not matter: the end."""
    found = proposal(
        study_of(
            {"learning_rate": RATE, "alpha": ALPHA, "rank": RANK, "dropout": DROPOUT},
            lambda p: (
                hump(math.log10(p["learning_rate"] / 1e-3))
                + hump(math.log2(p["alpha"] / 32) / 2)
                + hump(math.log2(p["rank"] / 11) / 1.5)
            ),
            trials=150,
        )
    )
    assert {c.parameter: c.kind for c in found.changes} == {
        "learning_rate": "kept",
        "alpha": "kept",
        "rank": "kept",
        "dropout": "fixed",
    }
    assert found.settled


def test_too_few_trials_change_nothing() -> None:
    """Ten trials of noise: every range is kept, and more trials are asked for."""
    found = proposal(study_of({"alpha": ALPHA, "dropout": DROPOUT}, lambda p: 0.0, trials=10))
    assert {c.kind for c in found.changes} == {"kept"}
    assert found.more_trials is not None
    assert found.more_trials >= 10
    assert not found.settled


def test_how_many_more() -> None:
    """Shares are squares of effects: what hides a small one falls as 1 / N."""
    found = importances_of(study_of({"dropout": DROPOUT}, lambda p: 0.0, trials=40), resamples=2)

    def more(p: float, high: float, reliable: bool = True) -> int | None:
        effect = ParameterImportance("dropout", 0.01, (0.0, high), p, significant=False)
        return more_trials(replace(found, parameters=(effect,), reliable=reliable))

    assert more(0.9, high=0.10) == 40  # the interval's end must fall to half
    assert more(0.05**0.5, high=0.40) == 40  # with twice the evidence it is beyond chance
    assert more(1.0, high=0.25) == 160
    assert more(0.9, high=0.06, reliable=False) == 40  # as many again, at least
    assert more(0.9, high=0.04) is None  # surely small: nothing is open


@given(
    good=st.lists(st.floats(1e-4, 1e-2), min_size=1, max_size=30),
    best=st.floats(1e-4, 1e-2),
    chosen=st.lists(st.sampled_from([8, 16, 32, 64, 128]), min_size=1, max_size=30),
    best_choice=st.sampled_from([8, 16, 32, 64, 128]),
)
@settings(max_examples=30, deadline=None)
def test_narrowing_never_cuts_out_the_best_trial(
    good: list[float], best: float, chosen: list[int], best_choice: int
) -> None:
    """Whatever the good values are, the best observed one stays in the range."""
    part = narrowed(RATE, good, best)
    assert part is None or part["low"] <= best <= part["high"]
    levels = narrowed(ALPHA, chosen, best_choice)
    assert levels is None or best_choice in levels["choices"]


@pytest.mark.slow
def test_the_best_trial_is_in_the_next_space() -> None:
    """Of studies with a peak inside the range and noise, none loses its best trial."""
    for seed in range(12):
        width = float(np.random.default_rng(seed).uniform(0.3, 3))
        data = study_of(
            {"learning_rate": RATE, "alpha": ALPHA, "rank": RANK},
            lambda p, w=width: hump(w * math.log10(p["learning_rate"] * p["alpha"] / 0.05)),
            seed=seed,
        )
        found = proposal(data)
        best = data.ranked()[0].params
        for change in found.changes:
            if change.kind in ("kept", "narrowed", "widened"):
                becomes, value = change.becomes, best[change.parameter]
                inside = value in becomes.get("choices", [value])
                assert inside
                assert becomes.get("low", value) <= value <= becomes.get("high", value)
            elif change.kind == "fixed" and change.parameter not in ("alpha", "learning_rate"):
                assert change.becomes["value"] == best[change.parameter]


@pytest.mark.slow
def test_noise_moves_no_end_too_often() -> None:
    """On pure noise an end is moved in few studies, however small they are."""
    moved = 0
    for seed in range(5):
        data = study_of({"alpha": ALPHA, "dropout": DROPOUT}, lambda p: 0.0, 40, seed)
        moved += any(c.kind != "kept" for c in proposal(data).changes)
    assert moved <= 1


@pytest.mark.parametrize(
    ("parameter", "end", "expected"),
    [
        (RATE, "high", {"low": 1e-4, "high": 0.047, "log": True}),
        (RATE, "low", {"low": 2.1e-5, "high": 1e-2, "log": True}),
        ({"choices": [8, 16, 32]}, "high", {"choices": [8, 16, 32, 64, 128]}),
        ({"choices": [8, 16, 32]}, "low", {"choices": [2, 4, 8, 16, 32]}),
        ({"choices": [1, 2, 4]}, "low", None),
        ({"choices": ["qv", "attention"]}, "high", None),
        ({"low": 0.1, "high": 0.4}, "high", {"low": 0.1, "high": 0.5}),
        ({"low": 2, "high": 8}, "high", {"low": 2, "high": 10}),
        ({"low": 5, "high": 6}, "high", {"low": 5, "high": 7}),
        ({"low": 0.0, "high": 0.9}, "high", {"low": 0.0, "high": 0.95}),
        ({"low": 0.0, "high": 0.3}, "low", None),
        ({"low": 16, "high": 208, "step": 16}, "high", {"low": 16, "high": 272, "step": 16}),
        ({"low": 8, "high": 1000, "step": 8}, "high", {"low": 8, "high": 1016, "step": 8}),
        ({"low": 0.1, "high": 0.9, "step": 0.1}, "high", None),
        ({"low": 0.3, "high": 0.9, "step": 0.1}, "low", {"low": 0.1, "high": 0.9, "step": 0.1}),
        ({"low": 1, "high": 64, "log": True}, "low", None),
    ],
)
def test_widening(parameter: dict[str, Any], end: Any, expected: dict[str, Any] | None) -> None:
    """Each kind of parameter grows on its own scale, and stops where the hyperparameter does."""
    limits = (0.0, 1.0) if isinstance(parameter.get("high"), float) else (0, 1024)
    assert widened(parameter, end, limits) == expected
    if expected is not None:
        Parameter.model_validate(expected)  # a step still divides the range


def test_narrowing_keeps_what_is_good_and_a_margin() -> None:
    """A part of a range, or some of the choices; None where that is most of it."""
    part = narrowed({"low": 1e-5, "high": 1e-1, "log": True}, [1e-3] * 8 + [2e-3] * 8, 1e-3)
    assert part is not None
    assert 1e-4 < part["low"] < 1e-3
    assert 2e-3 < part["high"] < 1e-2
    assert narrowed(RATE, [1.1e-4, 9e-3], 1e-3) is None
    assert narrowed({"choices": [1, 2, 4, 8, 16, 32]}, [4, 4, 4], 4) == {"choices": [2, 4, 8]}
    assert narrowed({"choices": ["qv", "attention"]}, ["qv"], "qv") is None


def test_two_levels_and_few_trials_are_no_crowd() -> None:
    """Four of four at one of two levels happens by chance; seven of seven does not."""
    column = make_column("rank", optuna.distributions.CategoricalDistribution([8, 16]))
    high = column.to_unit(16)
    assert crowd_at_end(np.full(4, high), column) is None
    found = crowd_at_end(np.full(7, high), column)
    assert found is not None
    assert (found.end, found.inside, found.best) == ("high", 7, 7)


def test_limits_are_those_of_the_study_file() -> None:
    """What a hyperparameter may be at all is read from the one place that says it."""
    assert limits_of("dropout") == (0, 1)
    assert limits_of("rank") == (1, 1024)
    assert limits_of("learning_rate") == (0, math.inf)


def test_the_file_is_a_study_file(petroleum: StudyData) -> None:
    """What is written is read again as the space that was proposed, under the next name."""
    import tomllib

    found = proposal(petroleum)
    document = tomllib.loads(next_file(petroleum, found))
    spec = parse_spec(document, "next.toml")
    assert spec.name == next_name(petroleum.name)
    for c in found.changes:
        written = spec.search.parameters[c.parameter].model_dump(mode="json", exclude_defaults=True)
        assert written == {k: v for k, v in c.becomes.items() if v is not False}
    assert len(spec.search.enqueue) == len(found.enqueue)


@pytest.mark.whole
@pytest.mark.parametrize(
    ("task", "data"),
    [
        ("sft", {"train": "chat.jsonl"}),
        (
            "causal_translation",
            {
                "train": "t.tsv",
                "dev": "d.tsv",
                "source_language": "eng_Latn",
                "target_language": "fra_Latn",
            },
        ),
    ],
)
def test_defaults_that_depend_on_the_data_stay(
    task: str, data: dict[str, str], petroleum: StudyData
) -> None:
    """The next file of a study on own data names its base and is accepted as it is."""
    import tomllib

    parameters = {"alpha": {"choices": [8, 16]}, "learning_rate": {"low": 1e-4, "high": 1e-3}}
    document = {
        "name": "own",
        "task": task,
        "base": {"model": "embedded" if "dev" in data else "my-model"},
        "data": data,
        "search": {"parameters": parameters},
    }
    before = parse_spec(document, "own.toml")
    study = replace(petroleum, name="own", spec_text=before.to_toml())
    after = parse_spec(tomllib.loads(next_file(study, proposal(petroleum))), "next.toml")
    assert (after.base, after.data) == (before.base, before.data)


def test_the_next_file_keeps_goal_and_sampler(petroleum: StudyData) -> None:
    """A sampler that a study chose stays, and its best points replace the ladder."""
    import tomllib

    parameters = {"alpha": {"choices": [8, 16]}, "learning_rate": {"low": 1e-4, "high": 1e-3}}
    search = {"goal": "best", "sampler": "tpe", "parameters": parameters}
    before = parse_spec({"name": "own", "search": search}, "own.toml")
    study = replace(petroleum, name="own", spec_text=before.to_toml())
    document = tomllib.loads(next_file(study, proposal(petroleum)))
    after = parse_spec(document, "next.toml").search
    assert (after.goal, after.sampler, after.start) == ("best", "tpe", "none")


def test_what_is_judged_by_one_of_several_objectives_says_so() -> None:
    """A second objective may want the other end: the file and the sentences name the first."""
    one = study_of({"dropout": DROPOUT}, lambda p: p["dropout"], trials=20)
    found = proposal(one)
    assert "judged by bleu" in next_file(one, found)
    assert not any("Based on" in sentence for sentence in conclusion(found))
    both = replace(found, objectives=2)
    assert conclusion(both)[0] == "This is based only on bleu, the first of 2 objectives."


@pytest.mark.whole
def test_the_reason_for_what_is_kept_is_true() -> None:
    """A parameter that still rises at its end is not said to be best inside its range."""
    data = study_of(
        {"alpha": ALPHA, "rank": RANK},
        lambda p: math.log(p["alpha"]) + 0.3 * math.log(p["rank"]),
        trials=40,
    )
    found = change(data, "rank")
    assert found.kind == "kept"
    assert "beyond chance" in found.reason
    assert "inside" not in found.reason


def test_names_count_on() -> None:
    """The study after petroleum is petroleum-2, and then petroleum-3."""
    assert next_name("petroleum") == "petroleum-2"
    assert next_name("petroleum-2") == "petroleum-3"
    assert next_name("nllb-600m") == "nllb-600m-2"
