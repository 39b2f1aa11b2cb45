"""What a study is for: a good configuration soon, or what mattered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from study.kinds.table_names import NameIn

DRAWN = "optuna_study:drawn"
"""The system attribute of a trial whose point was drawn without a model by a sampler that has one.
"""


@dataclass(frozen=True)
class Goal:
    """A goal, and what a study file that names it leaves unsaid."""

    sampler: str
    start: str
    confirms: bool = False  # the best trials are trained again at the end
    schedule: str | None = None  # None: that of the study file
    stops_diverged: bool = False
    needs_drawn: int = 0  # importances need as many trials that no model proposed


GOALS: Mapping[str, Goal] = {
    "understand": Goal(sampler="sobol", start="none", schedule="none"),
    "best": Goal("lora", "ladder", confirms=True, stops_diverged=True, needs_drawn=30),
}
"""A goal's name in a study file -> what it asks for."""


def of_goal(name: str) -> dict[str, str]:
    """Return the keys of a study file that `run --goal` sets, whatever the file says."""
    goal = GOALS[name]
    keys = {"goal": name, "sampler": goal.sampler, "start": goal.start, "schedule": goal.schedule}
    return {f"search.{key}": value for key, value in keys.items() if value is not None}


STARTS: Mapping[str, bool] = dict(none=False, ladder=True)  # noqa: C408 - not a pruner's name
"""Where a search starts -> whether that is the ladder of study/searching/ladder.py."""

GoalName = Annotated[str, NameIn(GOALS)]
StartName = Annotated[str, NameIn(STARTS)]
