"""Quality against what it costs: trainable parameters, time, memory.

A study of one objective has such a front too: the trials that no other trial beats both in the
objective and in a cost.  The costs are those that the trials recorded.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.display import own_names
from analysis.plots import marks
from analysis.plots.palette import colour_of as colour_of_model
from analysis.plots.palette import in_house_style, legend_above, new_axes
from analysis.studies.study_data import MAXIMIZE, StudyData, is_enqueued
from analysis.studies.targets import SECONDS, value_of
from analysis.studies.trial_values import in_utc
from analysis.wording import label_of, shortened
from study.kinds.measurements import COSTS, MEASUREMENTS
from study.metrics import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from optuna.trial import FrozenTrial

SPREAD = 1.02  # costs whose largest value is below this times the smallest are left out


@dataclass(frozen=True)
class TradeOff:
    """One objective against one cost: x and y are (N,), N COMPLETE trials with both.

    x is in the unit that `cost_label` names.
    `front` holds the positions of the trials that no other trial beats in both, cheapest first.
    """

    cost: str
    objective: str
    numbers: tuple[int, ...] = field(repr=False)
    enqueued: tuple[bool, ...] = field(repr=False)
    x: Array = field(repr=False)
    y: Array = field(repr=False)
    front: tuple[int, ...]


def trade_offs(data: StudyData, objective: str | None = None) -> list[TradeOff]:
    """Return the objective against every cost that differs between trials and is their own.

    Wall-clock seconds replace training seconds that were not recorded, if they exceed a second.
    """
    return [t for t in _that_differ(data, objective) if not is_shared(data, t.cost)]


def shared_costs(data: StudyData) -> list[str]:
    """The costs that differ between trials, but that trials trained together divided or shared."""
    return [t.cost for t in _that_differ(data, None) if is_shared(data, t.cost)]


def is_shared(data: StudyData, cost: str) -> bool:
    """Whether a cost was measured for trials together: for a pack, or for trials at one time."""
    if cost in MEASUREMENTS and not MEASUREMENTS[cost].is_shared:
        return False
    if (engine := data.provenance.get("engine")) is not None:
        return (engine, data.provenance.get("workers", 1)) != ("sequential", 1)
    times = ((t.datetime_start, t.datetime_complete) for t in data.complete)
    known = sorted((in_utc(start), in_utc(end)) for start, end in times if start and end)
    return any(start < end for (_, end), (start, _) in pairwise(known))


def _that_differ(data: StudyData, objective: str | None) -> list[TradeOff]:
    found = {cost: trade_off(data, cost, objective) for cost in (*COSTS, SECONDS)}
    kept = {
        cost: t
        for cost, t in found.items()
        if len(t.x) > 1 and t.x.max() > SPREAD * max(t.x.min(), 0.0)
    }
    if SECONDS in kept and ("train_seconds" in kept or kept[SECONDS].x.max() < 1):
        del kept[SECONDS]
    return [t for cost, t in kept.items() if cost not in data.objectives]


def trade_off(data: StudyData, cost: str, objective: str | None = None) -> TradeOff:
    """Return the objective against one cost, of which less is better."""
    trials = [(t, cost_of(data, t, cost)) for t in data.ranked(objective)]
    trials = [(t, x) for t, x in trials if np.isfinite(x) and np.isfinite(data.value(t, objective))]
    index = data.index_of(objective)
    sign = -1.0 if data.directions[index] == MAXIMIZE else 1.0
    x = np.array([x for _, x in trials], dtype=float)
    y = np.array([data.value(t, objective) for t, _ in trials], dtype=float)
    return TradeOff(
        cost,
        data.objectives[index],
        tuple(t.number for t, _ in trials),
        tuple(is_enqueued(t) for t, _ in trials),
        x,
        y,
        _front(x, sign * y),
    )


def _front(x: Array, loss: Array) -> tuple[int, ...]:
    """Return the positions, cheapest first, at which the loss is lower than at any lower cost."""
    front: list[int] = []
    for place in np.lexsort((loss, x)):
        if not front or loss[place] < loss[front[-1]]:
            front.append(int(place))
    return tuple(front)


@in_house_style
def plot_trade_off(data: StudyData, found: TradeOff, ax: Axes | None = None) -> Axes:
    """The objective of every trial over its cost, the front as a stepped line, the baselines."""
    ax = new_axes(ax)
    marks.dots(ax, found.x, found.y, found.enqueued, found.numbers)
    at = list(found.front)
    numbers = [found.numbers[place] for place in at]
    label = "not beaten by a cheaper trial"
    marks.front(ax, found.x[at], found.y[at], numbers, label, drawstyle="steps-post")
    known = list(found.y)
    for name in data.baselines:
        x, y = (data.baseline_value(name, n) for n in (found.cost, found.objective))
        if x and y is not None:  # the untrained base costs 0, which a log axis cannot show
            style: dict[str, Any] = {"marker": "s", "s": 26, "linewidths": 0}
            style["color"] = colour_of_model(name)
            ax.scatter(x / per_unit(found.cost), y, label=shortened(name), **style)
            known.append(y)
    if found.x.min() > 0 and found.x.max() > 3 * found.x.min():
        marks.log_ticks(ax, "x", found.x)
    marks.keep_in_view(ax, known, [data], found.objective)
    ax.set(xlabel=cost_label(found.cost), ylabel=shortened(label_of(found.objective)))
    legend_above(ax)
    return ax


def cost_of(data: StudyData, trial: FrozenTrial, cost: str) -> float:
    """The cost of a COMPLETE trial, in the unit that `cost_label` names; NaN where unknown."""
    return value_of(data, trial, cost) / per_unit(cost)


def cost_label(cost: str) -> str:
    """A cost in words, with its unit."""
    row = MEASUREMENTS.get(cost)
    return row.axis if row else cost.replace("_", " ")


def per_unit(cost: str) -> float:
    """How much of what is stored makes one of the unit that is shown."""
    row = MEASUREMENTS.get(cost)
    return row.per_unit if row else 1.0


def __dir__() -> list[str]:
    return own_names(globals())
