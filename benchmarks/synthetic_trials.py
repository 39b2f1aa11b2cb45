"""Trials of a study that nobody ran: one every two seconds, with a report every thirty steps."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

START = datetime(2026, 11, 20, 9)
STEPS = (30, 60, 90, 120)


def synthetic_trial(
    number: int,
    state: TrialState,
    level: float,
    params: dict[str, Any],
    space: Mapping[str, BaseDistribution],
    attributes: dict[str, Any],
    steps: tuple[int, ...] = STEPS,
) -> FrozenTrial:
    """Return a trial that rises to `level`; a failed one has reports of it, but no value."""
    start = START + timedelta(seconds=2 * number)
    if state == TrialState.FAIL:
        attributes = {**attributes, "failure": "diverged: the loss was not finite at step 61"}
    return FrozenTrial(
        number=number,
        trial_id=number,
        state=state,
        value=None if state == TrialState.FAIL else level,
        datetime_start=start,
        datetime_complete=start + timedelta(seconds=1.9),
        params=params,
        distributions=dict(space),
        user_attrs=attributes,
        system_attrs={},
        intermediate_values={step: level * (step / STEPS[-1]) ** 0.4 for step in steps},
    )
