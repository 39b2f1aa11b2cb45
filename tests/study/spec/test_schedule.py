"""The key `search.schedule`: what it needs, and how often trials report with it."""

from __future__ import annotations

from typing import Any

import pytest

from study.errors import InputError
from study.spec.files import parse_spec


def document(**changes: Any) -> dict[str, Any]:
    """Return a study file with a schedule and no report_every."""
    parameters = {"rank": {"choices": [4, 8]}}
    search = {"parameters": parameters, "schedule": "bracket", **changes.pop("search", {})}
    return {"name": "x", "search": search, **changes}


@pytest.mark.parametrize(("steps", "often"), [(120, 20), (600, 30), (6, 1)])
def test_a_first_rung_is_at_a_sixth(steps: int, often: int) -> None:
    """Short trainings report at a sixth of their steps unless the file says how often."""
    spec = parse_spec(document(training={"steps": steps}), "x.toml")
    assert spec.training.report_every == often
    own = parse_spec(document(training={"steps": steps, "report_every": 2}), "x.toml")
    assert own.training.report_every == 2


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"search": {"pruner": "median"}},
            "search.schedule: bracket decides itself which trials go on, so pruner must be 'none', "
            "got 'median'",
        ),
        (
            {"evaluation": {"objective": ["train_seconds", "trainable_parameters"]}},
            "search.schedule: bracket compares scores of reports, got train_seconds and "
            "trainable_parameters; allowed: 'none'",
        ),
        (
            {"evaluation": {"objective": "train_seconds"}},
            "search.schedule: bracket compares scores of reports, got train_seconds; "
            "allowed: 'none'",
        ),
        (
            {"training": {"steps": 40, "report_every": 40}},
            "search.schedule: bracket compares trials at reports before their end, got "
            "training.report_every = 40 for 40 steps; report more often",
        ),
        (
            {"search": {"schedule": "brackets"}},
            "search.schedule: must be 'none', 'bracket' or 'careful', got 'brackets'; "
            "did you mean bracket?",
        ),
    ],
)
def test_a_schedule_that_cannot_work_is_refused(changes: dict[str, Any], says: str) -> None:
    """One line says what it needs."""
    with pytest.raises(InputError) as refused:
        parse_spec(document(**changes), "x.toml")
    assert any(says in problem for problem in refused.value.problems), refused.value.problems


@pytest.mark.parametrize(
    ("schedule", "scored"), [("bracket", ("bleu", "general_loss")), ("none", ("bleu",))]
)
def test_reports_score_what_rungs_compare(schedule: str, scored: tuple[str, ...]) -> None:
    """Every objective but costs with a schedule, otherwise the first."""
    objectives = ["bleu", "train_seconds", "general_loss"]
    changes = {"evaluation": {"objective": objectives}, "search": {"schedule": schedule}}
    assert parse_spec(document(**changes), "x.toml").scored_at_reports == scored
