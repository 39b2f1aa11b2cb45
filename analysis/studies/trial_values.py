"""Facts about one trial, and the value that pruned, infinite and bad trials count with."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from analysis.wording import choice, columns_of, percent
from study.metrics import Array

Pruned = tuple[Mapping[str, Any], float]  # a pruned trial's point and its last report
POLICIES = ("drop", "last", "worst")


def is_feasible(trial: FrozenTrial) -> bool:
    """Return whether a trial satisfies its constraints; what another program stored may be none."""
    try:
        values = trial.constraints.values()
    except TypeError:
        return False
    return all(isinstance(value, (int, float)) and value <= 0 for value in values)


def is_enqueued(trial: FrozenTrial) -> bool:
    """Whether this point was enqueued by hand, by this program's attribute or else by Optuna's.

    A retried trial has Optuna's attribute too, but its point was sampled.
    """
    if "enqueued" in trial.user_attrs:
        return bool(trial.user_attrs["enqueued"])
    retried = "retry_of" in trial.user_attrs or "failed_trial" in trial.system_attrs
    return "fixed_params" in trial.system_attrs and not retried


def state_of(trial: FrozenTrial) -> str:
    """The state in lower case; `interrupted` where the trial itself did not fail."""
    if trial.state == TrialState.FAIL and trial.user_attrs.get("interrupted"):
        return "interrupted"
    return trial.state.name.lower()


def in_utc(moment: datetime) -> datetime:
    """A trial's time in UTC, which unlike local times can be compared and subtracted."""
    return moment.astimezone(UTC)


def seconds_of(trial: FrozenTrial) -> float | None:
    """The seconds from start to end; None for a trial that has not ended.

    None also where it ended before it started: an older Optuna stored what the clock showed, and
    that was set back.
    """
    start, end = trial.datetime_start, trial.datetime_complete
    if trial.state in (TrialState.RUNNING, TrialState.WAITING) or start is None or end is None:
        return None
    if in_utc(end) < in_utc(start):
        end = end.replace(fold=1)  # Optuna's reader of journals does not say it
    seconds = (in_utc(end) - in_utc(start)).total_seconds()
    return seconds if seconds >= 0 else None


def first_start(trials: Iterable[FrozenTrial]) -> datetime | None:
    """When the first of some trials started, in local time."""
    starts = (trial.datetime_start for trial in trials if trial.datetime_start)
    return min(starts, key=in_utc, default=None)


def last_end(trials: Iterable[FrozenTrial]) -> datetime | None:
    """When the last of some trials ended, in local time."""
    ends = (trial.datetime_complete for trial in trials if trial.datetime_complete)
    return max(ends, key=in_utc, default=None)


def last_report(trial: FrozenTrial) -> tuple[int, float] | None:
    """The last reported step and its value; None where nothing was reported."""
    reports = trial.intermediate_values
    return max(reports.items()) if reports else None


def parameter_columns(
    data: Any, trials: Sequence[FrozenTrial], taken: Container[str]
) -> dict[str, list[Any]]:
    """The parameters as columns of a table that has the columns `taken`.

    A cell is empty only where the parameter was not active.  A parameter whose name is taken
    becomes `params_…`, as in the frames.
    """
    columns = columns_of(data.distributions, "params_", taken)
    return {
        column: [choice(t.params[name]) if name in t.params else None for t in trials]
        for name, column in columns.items()
    }


def with_pruned(
    points: Sequence[Mapping[str, Any]],
    values: Array,
    pruned: Sequence[Pruned],
    policy: str,
    direction: str,
) -> tuple[list[Mapping[str, Any]], Array, int]:
    """Return the points and finite values to analyse, and how many values were not finite.

    `last` uses a pruned trial's last report as its value, `worst` the worst finished value, and
    `drop` leaves the trial out.  None of these is right: early reports are not final values, and
    pruning biases the sample.  Check how much the answer depends on the choice.
    """
    if policy == "drop" or not pruned:
        every, target = list(points), values
    else:
        last = np.array([value for _, value in pruned], dtype=float)
        finite = values[np.isfinite(values)]
        if policy == "worst" and len(finite):
            last = np.full(len(pruned), finite.min() if direction == "maximize" else finite.max())
        every = [*points, *(point for point, _ in pruned)]
        target = np.concatenate([values, last])
    kept = np.isfinite(target)
    return [p for p, ok in zip(every, kept, strict=True) if ok], target[kept], int((~kept).sum())


def clipped(values: Array, quantile: float, direction: str) -> tuple[Array, str]:
    """Return the values with all below the best `quantile` raised to its edge, and a remark.

    This is the cutoff of Hutter et al. (2014, section 4.2), applied to the trials instead of to the
    surrogate's predictions, so that it is the same for every surrogate.
    """
    if direction == "maximize":
        edge = float(np.quantile(values, 1.0 - quantile))
        result = np.maximum(values, edge)
    else:
        edge = float(np.quantile(values, quantile))
        result = np.minimum(values, edge)
    kept = f"all but the best {percent(quantile)}"
    return result, f"values worse than {edge:g} ({kept}) count as {edge:g}"
