"""The schedules by name: how many trials begin together, and how many go on from each rung."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from study.kinds.table_names import NameIn

RUNGS = "rungs"
"""The user attribute of a trial with what was decided at its rungs."""


def rungs_of(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rungs that a trial with these user attributes came to, the first one first.

    Another program's attribute of this name holds none.
    """
    found = attributes.get(RUNGS)
    entries = found if isinstance(found, list) else []
    return [
        entry
        for entry in entries
        if isinstance(entry, dict) and {"step", "score", "goes_on"} <= entry.keys()
        if isinstance(entry.get("further", {}), dict)
    ]


def rung_values(entry: Mapping[str, Any]) -> list[float | None]:
    """Return the objectives' values at a rung, in their order; None where they are not known.

    `score` is the first objective's, which is all that earlier versions wrote; `further` has the
    others by name.
    """
    return [entry["score"], *entry.get("further", {}).values()]


@dataclass(frozen=True)
class Schedule:
    """How many trials begin together, and how many of them go on from each rung.

    A rung is the report nearest to a share of a trial's own steps.
    """

    sizes: tuple[int, ...] = ()
    rungs: tuple[float, ...] = ()  # shares of a training, one fewer than sizes

    @property
    def pauses(self) -> bool:
        """Whether trials are put aside."""
        return bool(self.rungs)

    def steps(self, steps: int, every: int) -> tuple[int, ...]:
        """Return the steps of the rungs of a training that reports every so many steps.

        A training too short for a rung of its own at a report has fewer rungs.
        """
        found: list[int] = []
        for share in self.rungs:
            nearest = max(every, every * round(share * steps / every))
            step = max(nearest, found[-1] + every) if found else nearest
            if step < steps:
                found.append(step)
        return tuple(found)


SCHEDULES: Mapping[str, Schedule] = {
    "none": Schedule(),
    "bracket": Schedule((8, 2, 1), (1 / 6, 1 / 2)),
    "careful": Schedule((8, 4, 2, 1), (1 / 6, 1 / 3, 2 / 3)),
}
"""A schedule's name in a study file -> the schedule."""

ScheduleName = Annotated[str, NameIn(SCHEDULES)]
