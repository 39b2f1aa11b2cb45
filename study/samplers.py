"""Samplers and pruners by name.

Optuna's seeded samplers restart their stream on resume, and draw the same points in every process.
Here the sampler of a trial is made from (study seed, number), so a resumed study continues
where an uninterrupted one would have been.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from search_spaces import SearchSpace
from search_spaces.unit_cube import from_unit
from study.seeds import derive_seed
from study.spec import StudySpec


def sampler_for(spec: StudySpec, index: int) -> BaseSampler:
    """Return the sampler of the study's `index`-th sampled point."""
    seed = derive_seed(spec.seed, index, "sampler") % 2**32
    match spec.search.sampler:
        case "random":
            return PointSampler(RandomPoints(spec.seed))
        case "sobol":
            return PointSampler(SobolPoints(spec.seed, spec.search.search_space, index))
        case "grid":
            return PointSampler(GridPoints(spec.seed, spec.search.search_space, index))
        case "tpe":
            return optuna.samplers.TPESampler(seed=seed)
        case "gp":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                return optuna.samplers.GPSampler(seed=seed)


def pruner_for(spec: StudySpec) -> BasePruner:
    """Return the pruner that the study file names; a report is one of its steps."""
    training = spec.training
    match spec.search.pruner:
        case "none":
            return optuna.pruners.NopPruner()
        case "median":
            return optuna.pruners.MedianPruner(n_startup_trials=5)
        case "hyperband":
            return optuna.pruners.HyperbandPruner(
                min_resource=training.report_every, max_resource=training.steps
            )
        case "asha":
            return optuna.pruners.SuccessiveHalvingPruner(min_resource=training.report_every)


class PointSampler(BaseSampler):
    """An Optuna sampler whose points do not depend on other trials."""

    def __init__(self, points: RandomPoints | SobolPoints | GridPoints) -> None:
        self._points = points

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return nothing: parameters are drawn one by one."""
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return nothing: parameters are drawn one by one."""
        return {}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Return the trial's value of one parameter."""
        return self._points.value(trial.number, param_name, param_distribution)


@dataclass(frozen=True)
class RandomPoints:
    """Uniform on every parameter's own scale."""

    seed: int

    def value(self, number: int, name: str, distribution: BaseDistribution) -> Any:
        """Draw from (study seed, trial number, name)."""
        unit = np.random.default_rng(derive_seed(self.seed, number, name)).random()
        return from_unit(distribution, float(unit))


@dataclass(frozen=True)
class SobolPoints:
    """One scrambled Sobol sequence over the whole space, point `index` of it."""

    seed: int
    space: SearchSpace
    index: int

    def value(self, number: int, name: str, distribution: BaseDistribution) -> Any:
        """Return the coordinate of this point."""
        from scipy.stats import qmc

        names = list(self.space.distributions)
        sequence = qmc.Sobol(len(names), rng=np.random.default_rng(derive_seed(self.seed, "sobol")))
        sequence.fast_forward(self.index)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # one point is no balanced block
            unit = sequence.random(1)[0, names.index(name)]
        return from_unit(distribution, float(unit))


@dataclass(frozen=True)
class GridPoints:
    """The complete grid in a shuffled order, so that an unfinished one is no corner of it."""

    seed: int
    space: SearchSpace
    index: int

    def value(self, number: int, name: str, distribution: BaseDistribution) -> Any:
        """Return the coordinate of this point."""
        return self._point()[name]

    def _point(self) -> Mapping[str, Any]:
        size = self.space.grid_size()
        assert size is not None
        order = np.random.default_rng(derive_seed(self.seed, "grid")).permutation(size)
        return self.space.grid_point(int(order[self.index % size]))
