"""Part of a study: an expression names a region, and the search space shrinks to it."""

from __future__ import annotations

import pytest
from optuna import distributions as od
from optuna.trial import create_trial

from analysis.studies.region import narrowed, parsed
from analysis.studies.study_data import StudyData
from study.errors import InputError

SPACE: dict[str, od.BaseDistribution] = {
    "rate": od.FloatDistribution(1e-5, 1e-1, log=True),
    "method": od.CategoricalDistribution(["lora", "rslora", "pissa"]),
    "rank": od.IntDistribution(4, 64, step=4),
    "drop": od.FloatDistribution(0.0, 0.5, step=0.1),
}


def study() -> StudyData:
    """A study of twelve trials; the last one has no rank."""
    trials = []
    for i in range(12):
        params = {
            "rate": 10 ** (-5 + i / 3),
            "method": ("lora", "rslora", "pissa")[i % 3],
            "rank": 4 + 4 * i,
            "drop": 0.1 * (i % 6),
        }
        if i == 11:
            del params["rank"]
        space = {name: SPACE[name] for name in params}
        trials.append(create_trial(params=params, distributions=space, value=float(i)))
    for number, trial in enumerate(trials):
        trial.number = number
    return StudyData("s", "s", ("value",), ("maximize",), tuple(trials))


def test_trials_and_search_space_are_those_of_the_region() -> None:
    """A share of the variance then means the same, over the smaller space."""
    part = study().where("rate < 1e-3 and method in ['lora', 'pissa']")
    assert [t.number for t in part.complete] == [0, 2, 3, 5]
    assert part.distributions["rate"] == od.FloatDistribution(1e-5, 1e-3, log=True)
    assert part.distributions["method"] == od.CategoricalDistribution(["lora", "pissa"])
    assert part.distributions["rank"] == SPACE["rank"]
    assert part.sampled == (
        "only 4 of 12 trials, where rate < 1e-3 and method in ['lora', 'pissa']"
    )
    assert part.region == "rate < 1e-3 and method in ['lora', 'pissa']"
    assert part.where("rank < 9").region.endswith("'pissa'] and rank < 9")
    assert study().distributions["rate"] == SPACE["rate"]  # the whole is as it was


def test_a_trial_without_the_parameter_is_outside() -> None:
    """A condition on what was not active does not hold."""
    assert [t.number for t in study().where("rank >= 40").complete] == [9, 10]


@pytest.mark.parametrize(
    ("expression", "low", "high"),
    [
        ("rank > 8", 12, 64),
        ("rank >= 8", 8, 64),
        ("rank >= 9", 12, 64),
        ("8 < rank < 30", 12, 28),
        ("rank <= 28", 4, 28),
        ("rank < 28", 4, 24),
        ("rank == 16", 16, 16),
        ("drop >= 0.3", 0.3, 0.5),
        ("drop > 0.3", 0.4, 0.5),
        ("0.2 >= drop", 0.0, 0.2),
        ("rate > -1", 1e-5, 1e-1),
        ("rate < 1e999", 1e-5, 1e-1),
    ],
)
def test_a_range_ends_on_its_levels(expression: str, low: float, high: float) -> None:
    """A bound between two levels, or a strict one, moves the end to the next level inside."""
    conditions = parsed(expression)
    found = narrowed(SPACE[conditions[0].name], conditions)
    assert isinstance(found, (od.FloatDistribution, od.IntDistribution))
    assert (found.low, found.high) == pytest.approx((low, high))


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("rate <", "cannot be read, got 'rate <'"),
        ("(" * 500, "cannot be read"),
        ("rate" * 300, "at most 1000 characters, got 1200"),
        ("__import__('os').system('true')", "is no condition on one parameter"),
        ("rate < 1 or rank < 8", "is no condition on one parameter"),
        ("not rate < 1", "is no condition on one parameter"),
        ("rate * rank < 1", "is no condition on one parameter"),
        ("rate < drop", "write a text in quotes, as in 'drop'"),
        ("method == lora", "write a text in quotes, as in 'lora'"),
        ("rate < (lambda: 1)()", "compare with a number, a text or a list"),
        ("method == ['lora']", "use `in` with a list"),
        ("method in 'lora'", "use `in` with a list"),
        ("rank in [8, 16]", "rank is a range, which takes"),
        ("rate != 1e-3", "rate is a range, which takes"),
        ("rate < 'x'", "rate is a range, which takes"),
        ("rnk < 8", "no parameter 'rnk'; did you mean rank?; allowed: rate, method, rank, drop"),
        ("rank > 64", "no value of rank in the search space has rank > 64"),
        ("method == 'dora'", "method has no choice 'dora'; allowed: 'lora', 'rslora', 'pissa'"),
        ("method in ['lora', 'x', 'y']", "method has no choice 'x', 'y'; allowed: 'lora'"),
        ("method not in ['x']", "method has no choice 'x'; allowed"),
        ("lora-alpha < 8", "a name such as lora-alpha in quotes"),
        ("'rnk' < 8", "no parameter 'rnk'; did you mean rank?"),
        ("4 in rank", "is no condition on one parameter"),
        ("rank > 40 and rate < 1e-4", "holds for no trial of s"),
    ],
)
def test_what_is_no_region_is_refused_in_one_line(expression: str, said: str) -> None:
    """Nothing in an expression is ever run."""
    with pytest.raises(InputError) as refused:
        study().where(expression)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["lora-alpha", "optim.lr", "learning rate", "naïve"])
@pytest.mark.parametrize("quote", ["'", '"', "`"])
def test_any_name_can_stand_in_quotes(name: str, quote: str) -> None:
    """Parameters of other programs have names with dashes, dots and spaces."""
    quoted = f"{quote}{name}{quote}"
    for expression in (f"{quoted} < 3", f"3 > {quoted}"):
        assert [(c.name, c.value) for c in parsed(expression)] == [(name, 3)]
    assert [c.name for c in parsed(f"1 <= {quoted} < 3 and kind == 'x`y'")] == [name, name, "kind"]
    assert [(c.name, c.value) for c in parsed(f"{quoted} in ['a', 'b']")] == [(name, ["a", "b"])]
    assert [(c.name, c.value) for c in parsed(f"{quoted} == 'a'")] == [(name, "a")]
