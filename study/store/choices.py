"""Choices that Optuna stores as something else: a tuple comes back from JSON as a list.

A list cannot be counted, grouped or looked up, so what is read gets its tuples back.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial


@contextmanager
def silent_about_choices() -> Iterator[None]:
    """Hide Optuna's warning of choices that are no plain values: whoever wrote them has seen it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Choices for a categorical distribution")
        yield


def with_tuples(distribution: BaseDistribution) -> BaseDistribution:
    """Return the distribution with choices that can be told apart: tuples where lists were."""
    if not isinstance(distribution, CategoricalDistribution):
        return distribution
    choices: tuple[Any, ...] = tuple(map(_hashable, distribution.choices))
    if choices == distribution.choices:
        return distribution
    with silent_about_choices():
        return CategoricalDistribution(choices)


def trial_with_tuples(trial: FrozenTrial) -> FrozenTrial:
    """Return the trial with such choices; the very same where it has none."""
    distributions = {name: with_tuples(d) for name, d in trial.distributions.items()}
    if distributions == trial.distributions:
        return trial
    changed = copy(trial)
    changed.distributions = distributions
    changed.params = {name: _hashable(value) for name, value in trial.params.items()}
    return changed


def _hashable(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(_hashable, value))
    return json.dumps(value, sort_keys=True) if isinstance(value, dict) else value
