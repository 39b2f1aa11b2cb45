"""Samplers and pruners by name.

Optuna's seeded samplers restart their stream on resume, and draw the same points in every process.
Here the sampler of a trial is made from (study seed, index), where the index counts the points that
are sampled, not those that are enqueued or retried: a resumed study continues where an
uninterrupted one would have been, and any number of runs draw what one would.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from search_spaces import SearchSpace
from search_spaces.unit_cube import from_unit
from study.seeds import derive_seed
from study.spec.sections import StudySpec


def sampler_for(spec: StudySpec, index: int, enqueued: int | None = None) -> BaseSampler:
    """Return the sampler of the study's `index`-th sampled point.

    What the `enqueued`-th point of the study, one that was given in part, leaves open is drawn at
    random, so that it takes nothing from the sequence; an adaptive sampler proposes it.
    """
    seed = derive_seed(spec.seed, index, "sampler") % 2**32
    if enqueued is not None and not spec.search.learns:
        return PointSampler(RandomPoints(derive_seed(spec.seed, "enqueued")), enqueued)
    match spec.search.sampler:
        case "random":
            return PointSampler(RandomPoints(spec.seed, spec.search.balanced), index)
        case "sobol":
            return PointSampler(SobolPoints(spec.seed, spec.search.search_space), index)
        case "grid":
            return PointSampler(GridPoints(spec.seed, spec.search.search_space), index)
        case "tpe":
            return optuna.samplers.TPESampler(seed=seed)
        case "gp":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                return optuna.samplers.GPSampler(seed=seed)


def pruner_for(spec: StudySpec) -> BasePruner:
    """Return the pruner that the study file names; a report is one of its steps."""
    shortest = spec.training.report_every
    match spec.search.pruner:
        case "none":
            return optuna.pruners.NopPruner()
        case "median":
            return optuna.pruners.MedianPruner(n_startup_trials=5)
        case "hyperband":
            longest = "auto" if spec.most_steps is None else spec.most_steps
            return optuna.pruners.HyperbandPruner(shortest, longest)
        case "asha":
            return optuna.pruners.SuccessiveHalvingPruner(min_resource=shortest)


class Points(Protocol):
    """A sequence of points in the search space."""

    def value(self, index: int, name: str, distribution: BaseDistribution) -> Any:
        """Return one coordinate of point `index`."""


class PointSampler(BaseSampler):
    """An Optuna sampler of one point, which does not depend on other trials' results."""

    def __init__(self, points: Points, index: int) -> None:
        self._points = points
        self._index = index

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
        return self._points.value(self._index, param_name, param_distribution)


@dataclass(frozen=True)
class RandomPoints:
    """Uniform on every parameter's own scale; the choices of balanced ones take turns."""

    seed: int
    balanced: tuple[str, ...] = ()

    def value(self, index: int, name: str, distribution: BaseDistribution) -> Any:
        """Draw from (seed, index, name)."""
        if name in self.balanced and isinstance(distribution, CategoricalDistribution):
            return self._turn(index, name, distribution.choices)
        unit = np.random.default_rng(derive_seed(self.seed, index, name)).random()
        return from_unit(distribution, float(unit))

    def _turn(self, index: int, name: str, choices: Sequence[Any]) -> Any:
        """Return one of the choices, each once in every round, in the round's own order."""
        round_, place = divmod(index, len(choices))
        rng = np.random.default_rng(derive_seed(self.seed, round_, name, "round"))
        return choices[rng.permutation(len(choices))[place]]


@dataclass(frozen=True)
class SobolPoints:
    """One scrambled Sobol sequence over the whole space."""

    seed: int
    space: SearchSpace

    def value(self, index: int, name: str, distribution: BaseDistribution) -> Any:
        """Return one coordinate of point `index`; the parameters' order does not matter."""
        from scipy.stats import qmc

        names = sorted(self.space.distributions)
        sequence = qmc.Sobol(len(names), rng=np.random.default_rng(derive_seed(self.seed, "sobol")))
        if index:  # scipy cannot go forward by nothing
            sequence.fast_forward(index)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # one point is no balanced block
            unit = sequence.random(1)[0, names.index(name)]
        return from_unit(distribution, float(unit))


@dataclass(frozen=True)
class GridPoints:
    """The complete grid in a shuffled order, so that an unfinished one is no corner of it."""

    seed: int
    space: SearchSpace

    def value(self, index: int, name: str, distribution: BaseDistribution) -> Any:
        """Return one coordinate of point `index`, which has it: inactive ones are not asked for."""
        points = self._shuffled
        return points[index % len(points)][name]

    @cached_property
    def _shuffled(self) -> list[dict[str, Any]]:
        points = self.space.grid_points()
        order = np.random.default_rng(derive_seed(self.seed, "grid")).permutation(len(points))
        return [points[i] for i in order]
