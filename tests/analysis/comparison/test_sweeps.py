"""A sweep is a row a level, held against what learns nothing."""

from __future__ import annotations

from dataclasses import replace

import optuna
import pytest

from analysis import StudyData
from analysis.comparison.permutation import holm
from analysis.comparison.sweeps import SweepRow, learnt, sweep_of

pytestmark = pytest.mark.whole


def as_sweep(data: StudyData) -> StudyData:
    """The study as if only the learning rate had been searched."""
    trials = tuple(
        optuna.trial.create_trial(
            params={"learning_rate": t.params["learning_rate"]},
            distributions={"learning_rate": t.distributions["learning_rate"]},
            value=t.value,
            user_attrs=t.user_attrs,
        )
        for t in data.complete
    )
    for number, trial in enumerate(trials):
        trial.number = number
    return replace(data, frozen_trials=trials)


def test_one_row_a_level_largest_first(pairs: StudyData) -> None:
    """The untrained base, then every level with its stored scores and what it says."""
    found = sweep_of(as_sweep(pairs))
    assert found is not None
    assert (found.parameter, found.metrics[0]) == ("learning_rate", "accuracy")
    assert found.rows[0].name == "untrained base"
    values = [row.value for row in found.rows[1:]]
    assert values == sorted(values, reverse=True)
    for row in found.rows[1:]:
        number = int(row.name.removeprefix("trial "))
        assert row.scores["accuracy"] == pairs.score(number, "accuracy")
        assert "answers" in row.remark


def test_a_level_is_held_against_the_largest_class(pairs: StudyData) -> None:
    """The comparison is with always answering the most frequent label of the dev examples."""
    targets = pairs.examples["dev"].targets
    most = max(sorted(set(targets)), key=targets.count)
    found = sweep_of(as_sweep(pairs))
    assert found is not None
    assert found.nothing == f"always answering {most}"
    against = found.rows[1].against
    assert against is not None
    assert against.b.score == pytest.approx(targets.count(most) / len(targets))
    assert against.a.score == found.rows[1].scores["accuracy"]


def test_a_search_is_no_sweep(pairs: StudyData, petroleum: StudyData) -> None:
    """Several parameters, or many trials, are shown otherwise."""
    assert sweep_of(pairs) is None
    assert sweep_of(petroleum) is None


def test_what_is_not_clearly_better_has_not_learnt(pairs: StudyData) -> None:
    """The verdict follows the p-value that is corrected for all levels, not the difference."""
    found = sweep_of(as_sweep(pairs))
    assert found is not None
    for row in found.rows[1:]:
        assert row.against is not None
        better = row.against.a.score > row.against.b.score  # accuracy, of which more is better
        way = "better" if better else "worse"
        assert learnt(row) == (way if row.against.p_adjusted < 0.05 else "not clearly better")
    tested = [row.against for row in found.rows[1:] if row.against is not None]
    assert [c.p_adjusted for c in tested] == pytest.approx(list(holm([c.p for c in tested])))
    assert learnt(SweepRow("x", 1, {}, None, "")) == ""


def test_what_is_tested_already_is_not_tested_again(pairs: StudyData) -> None:
    """A page that holds the same test elsewhere shows it here with the same p-value."""
    data = as_sweep(pairs)
    alone = sweep_of(data)
    assert alone is not None
    own = alone.rows[1].against
    assert own is not None
    known = replace(own, p_adjusted=0.5)
    found = sweep_of(data, known=[known])
    assert found is not None
    assert found.rows[1].against is known
    assert [row.against for row in found.rows[2:]] == [row.against for row in alone.rows[2:]]
