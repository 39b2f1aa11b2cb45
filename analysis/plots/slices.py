"""One parameter against one objective, and the parameters that varied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.studies.study_data import StudyData, is_enqueued
from analysis.surrogates.encoding import make_column
from study.metrics import Array

if TYPE_CHECKING:
    from analysis.importance.variance import Importances

MAX_LEVELS = 16  # a parameter with more levels is drawn along a continuous axis


@dataclass(frozen=True)
class Slice:
    """One parameter against one objective: x and y are (N,), N finite COMPLETE trials.

    `levels` holds the parameter's levels in order where it is discrete, and x their positions.
    """

    parameter: str
    objective: str
    x: Array
    y: Array
    numbers: tuple[int, ...]
    enqueued: tuple[bool, ...]
    levels: tuple[Any, ...]
    is_log: bool


def slice_of(data: StudyData, parameter: str, objective: str | None = None) -> Slice:
    """Return one parameter's slice; raise KeyError for a parameter that no trial has."""
    column = make_column(parameter, data.distributions[parameter])
    trials = [t for t in data.drawn if parameter in t.params]
    trials = [t for t in trials if np.isfinite(data.value(t, objective))]
    values = [t.params[parameter] for t in trials]
    is_few = len(column.values) <= MAX_LEVELS
    levels = column.values if is_few or column.is_categorical else ()
    x = [column.level_of(v) if levels else v for v in values]
    return Slice(
        parameter=parameter,
        objective=data.objectives[data.index_of(objective)],
        x=np.array(x, dtype=float),
        y=np.array([data.value(t, objective) for t in trials], dtype=float),
        numbers=tuple(t.number for t in trials),
        enqueued=tuple(is_enqueued(t) for t in trials),
        levels=levels,
        is_log=column.is_log and not levels,
    )


def varied_parameters(data: StudyData, result: Importances | None = None) -> list[str]:
    """The parameters with more than one value among the COMPLETE trials, important ones first."""
    order = [p.name for p in result.parameters] if result is not None else []
    values = {
        name: {t.params[name] for t in data.complete if name in t.params}
        for name in data.distributions
    }
    names = [name for name, seen in values.items() if len(seen) > 1]
    return sorted(names, key=lambda n: order.index(n) if n in order else len(order))
