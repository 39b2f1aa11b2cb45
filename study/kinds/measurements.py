"""The measurements by name: the numbers that each training records beside its scores.

A row's name is its key in the database and in a study file, and the attribute of `Training`
(study/engines/trial_state.py) that holds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from study.kinds.table_names import names_where


@dataclass(frozen=True)
class Measurement:
    """What a measurement's name stands for."""

    label: str  # heads its column
    in_words: str = ""  # names its axis, with the unit; empty: the label
    per_unit: float = 1.0  # how many of what is stored make one of what is shown
    direction: Literal["minimize", "maximize"] = "minimize"  # which way is better
    is_shared: bool = True  # trials that are trained together divide it among themselves
    is_cost: bool = False  # can be an objective, is set against the scores, and is confirmed
    is_shown: bool = False  # has a column in the page's table of trials
    ratio: str = ""  # what the winner does with so many times the default's

    @property
    def axis(self) -> str:
        """Its name with its unit."""
        return self.in_words or self.label


MEASUREMENTS: Mapping[str, Measurement] = {
    "trainable_parameters": Measurement(
        "trainable parameters", is_shared=False, is_cost=True, is_shown=True
    ),
    "steps": Measurement("steps", is_shared=False),
    "train_seconds": Measurement(
        "train seconds",
        "seconds of training",
        is_cost=True,
        is_shown=True,
        ratio="trains {:.2f} times as long",
    ),
    "evaluation_seconds": Measurement("evaluation seconds"),
    "tokens_per_second": Measurement("tokens per second", direction="maximize", is_shown=True),
    "peak_memory_bytes": Measurement(
        "peak memory MB",
        "MB of peak memory",
        per_unit=1e6,
        is_cost=True,
        is_shown=True,
        ratio="needs {:.2f} times the memory",
    ),
}
"""A measurement's name -> what it is, in the order in which they are stored and shown."""

COSTS = tuple(names_where(MEASUREMENTS, lambda row: row.is_cost))
SHARED_COSTS = tuple(names_where(MEASUREMENTS, lambda row: row.is_cost and row.is_shared))
