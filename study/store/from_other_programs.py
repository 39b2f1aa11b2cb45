"""Make what other programs stored with Optuna fit for analysis.

A tuple among choices becomes a list in JSON, which cannot be counted, grouped or looked up; a value
may be finite while its square is not.
"""

from __future__ import annotations

import json
import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial

LARGEST = 1e150  # its square, and so a variance, is still finite


@contextmanager
def silent_about_choices() -> Iterator[None]:
    """Hide Optuna's warnings about stored distributions, which only their author could change.

    They are about choices that are not plain values, about steps that do not divide their range,
    and about distributions of older versions.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Choices for a categorical distribution")
        warnings.filterwarnings("ignore", "The distribution is specified by")
        warnings.filterwarnings("ignore", r"\w+Distribution has been deprecated", FutureWarning)
        yield


@contextmanager
def silent_about_upgrades() -> Iterator[None]:
    """Hide what Alembic says about the upgrade of a temporary copy.

    Optuna's environment for Alembic sets up the root logger unless that has a handler.
    """
    handler = logging.NullHandler()
    logging.getLogger().addHandler(handler)
    try:
        with silent_about_choices():
            yield
    finally:
        logging.getLogger().removeHandler(handler)


def with_tuples(distribution: BaseDistribution) -> BaseDistribution:
    """Return the distribution with hashable choices: tuples in place of lists."""
    if not isinstance(distribution, CategoricalDistribution):
        return distribution
    choices: tuple[Any, ...] = tuple(map(_hashable, distribution.choices))
    if choices == distribution.choices:
        return distribution
    with silent_about_choices():
        return CategoricalDistribution(choices)


def usable(value: float) -> float:
    """Return the value, or infinity of its sign if its square would overflow."""
    return math.copysign(math.inf, value) if abs(value) > LARGEST else value


def as_read(trial: FrozenTrial) -> FrozenTrial:
    """Return the trial with hashable choices and usable values, like the other readers."""
    changed = copy(trial)
    changed.distributions = {name: with_tuples(d) for name, d in trial.distributions.items()}
    changed.params = {name: _hashable(value) for name, value in trial.params.items()}
    changed.intermediate_values = {k: usable(v) for k, v in trial.intermediate_values.items()}
    if trial.values is not None:
        changed.values = list(map(usable, trial.values))
    return changed


def _hashable(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(_hashable, value))
    return json.dumps(value, sort_keys=True) if isinstance(value, dict) else value
