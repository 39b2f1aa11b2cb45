"""What a study can explain: its objectives, and every number stored with its trials."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analysis.studies.study_data import MAXIMIZE, MINIMIZE, StudyData
from analysis.studies.trial_values import Pruned, is_enqueued, last_report, seconds_of
from study.errors import InputError, did_you_mean
from study.kinds.measurements import MEASUREMENTS
from study.metrics import METRICS, Metric
from study.store.from_other_programs import usable

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

SECONDS = "seconds"  # from start to end of a trial; every database stores them
GAINS = ("accuracy", "f1", "score", "per_second")  # endings of names where more is better
NO_TARGETS = ("seed", "attempt", "retry_of", "enqueued")  # bookkeeping


@dataclass(frozen=True)
class Target:
    """The number to explain: a value for each of N trials, and which way is better.

    `trials` are the COMPLETE ones that were not enqueued by hand, `values` may be NaN;
    `pruned_trials` are the PRUNED ones, where they report this number.
    """

    name: str
    direction: str
    trials: tuple[FrozenTrial, ...]
    values: tuple[float, ...]
    pruned_trials: tuple[FrozenTrial, ...] = ()

    @property
    def pruned(self) -> list[Pruned]:
        """Each pruned trial's point and last report, NaN where it made none."""
        reports = ((t.params, last_report(t)) for t in self.pruned_trials)
        return [(point, math.nan if last is None else last[1]) for point, last in reports]


def target_of(
    data: StudyData,
    name: str | None = None,
    direction: str | None = None,
    field: str = "objective",
) -> Target:
    """Return an objective (the first for None), a stored metric, or a trial's own number.

    An objective keeps its direction, and a metric that of `study.metrics`.  For other numbers less
    is better, unless the name or `direction` says otherwise.  Raises InputError for a name that no
    trial has, which it says of `field`.
    """
    name = data.objective if name is None else name
    if name not in data.objectives and name not in (known := target_names(data)):
        meant = did_you_mean(name, known)
        raise InputError(
            f"{field}: study {data.name!r} has no number {name!r}{meant}; "
            f"allowed: {', '.join(known)}"
        )
    trials = tuple(t for t in data.complete if not is_enqueued(t))
    if name in data.objectives:
        way = data.directions[data.objectives.index(name)]
        measured = tuple(data.value(t, name) for t in trials)
        return Target(name, way, trials, measured, pruned_of(data))
    values = tuple(usable(value_of(data, t, name)) for t in trials)
    return Target(name, direction or direction_of(name, data.metric_rows), trials, values)


def target_names(data: StudyData) -> list[str]:
    """Everything that `target_of` takes, the objectives first."""
    own = [
        name
        for name in dict.fromkeys(n for t in data.complete for n in t.user_attrs)
        if name not in NO_TARGETS and any(_is_number(t.user_attrs.get(name)) for t in data.complete)
    ]
    timed = [SECONDS] if any(seconds_of(t) is not None for t in data.complete) else []
    return list(dict.fromkeys([*data.objectives, *_stored(data), *own, *timed]))


def value_of(data: StudyData, trial: FrozenTrial, name: str) -> float:
    """A COMPLETE trial's objective, attribute, stored score or seconds; NaN where it has none."""
    if name in data.objectives:
        return data.value(trial, name)
    own = trial.user_attrs.get(name)
    if isinstance(own, (int, float)) and not isinstance(own, bool):
        return float(own)
    if name in _stored(data):
        split, metric = _split_and_metric(data, name)
        stored = data.score(trial.number, metric, split)
        return math.nan if stored is None else stored
    taken = seconds_of(trial) if name == SECONDS else None
    return math.nan if taken is None else taken


def pruned_of(data: StudyData) -> tuple[FrozenTrial, ...]:
    """The sampled PRUNED trials; none with several objectives, where Optuna takes no reports."""
    from optuna.trial import TrialState

    if len(data.objectives) > 1:
        return ()
    pruned = (t for t in data.frozen_trials if t.state == TrialState.PRUNED)
    return tuple(t for t in pruned if not is_enqueued(t))


def direction_of(name: str, stored: Mapping[str, Metric] | None = None) -> str:
    """The direction of a number that is not an objective; `stored` are metrics of its study."""
    known = {**METRICS, **(stored or {})}
    metric = known.get(name) or known.get(name.partition("_")[2])
    if metric is not None:
        return metric.direction
    if name in MEASUREMENTS:
        return MEASUREMENTS[name].direction
    return MAXIMIZE if name.endswith(GAINS) else MINIMIZE


def sampler_of(data: StudyData) -> str | None:
    """The sampler as recorded, or as its traces in the trials show; None if unknown."""
    if data.spec is not None:
        return str(data.spec.get("search", {}).get("sampler", "")) or None
    traces = {
        "grid_id": "grid",
        "tpe:": "tpe",
        "cma": "cmaes",
        "nsga2:": "nsga2",
        "NSGAII": "nsga2",
        "gp:": "gp",
    }
    keys = {key for trial in data.frozen_trials for key in trial.system_attrs}
    found = (name for trace, name in traces.items() if any(k.startswith(trace) for k in keys))
    return next(found, None)


def _stored(data: StudyData) -> Sequence[str]:
    """The metrics of the trials' evaluations, prefixed with the split unless that is dev."""
    return [m if s == "dev" else f"{s}_{m}" for s in data.splits for m in data.metrics]


def _split_and_metric(data: StudyData, name: str) -> tuple[str, str]:
    split = next((s for s in data.splits if name.startswith(f"{s}_")), "dev")
    return split, name.removeprefix(f"{split}_")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
