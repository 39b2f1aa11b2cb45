"""The samplers and pruners by name, and the sequences of points that ignore results.

Optuna's seeded samplers restart their stream on resume and draw the same points in every process.
Here each trial's sampler is made from (study seed, index).  The index counts only sampled points,
not enqueued or retried ones, so a resumed study draws the same points as an uninterrupted one, and
several runs draw the same points as one.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Protocol

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from search_spaces import SearchSpace
from search_spaces.unit_cube import from_unit
from study.kinds.table_names import NameIn
from study.searching.ladder import GrowingLadder
from study.searching.lora_sampler import LoraSampler
from study.searching.points import random_value, sobol_point
from study.seeds import derive_seed


class Points(Protocol):
    """A sequence of points in the search space."""

    def value(self, index: int, name: str, distribution: BaseDistribution) -> Any:
        """Return one coordinate of point `index`."""


class PointSampler(BaseSampler):
    """An Optuna sampler for one point that does not depend on other trials' results."""

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
    """Uniform on every parameter's scale; balanced parameters use all choices equally often."""

    seed: int
    balanced: tuple[str, ...] = ()

    def value(self, index: int, name: str, distribution: BaseDistribution) -> Any:
        """Draw from (seed, index, name)."""
        if name in self.balanced and isinstance(distribution, CategoricalDistribution):
            return self._turn(index, name, distribution.choices)
        return random_value(self.seed, index, name, distribution)

    def _turn(self, index: int, name: str, choices: Sequence[Any]) -> Any:
        """Return a choice; each round uses every choice once, in its own random order."""
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
        names = sorted(self.space.distributions)
        unit = sobol_point(len(names), self.seed, index)[names.index(name)]
        return from_unit(distribution, float(unit))


@dataclass(frozen=True)
class GridPoints:
    """The complete grid in shuffled order, so that an unfinished study covers all of it evenly."""

    seed: int
    space: SearchSpace

    def value(self, index: int, name: str, distribution: BaseDistribution) -> Any:
        """Return one coordinate of point `index`; Optuna asks only for active parameters."""
        points = self._shuffled
        return points[index % len(points)][name]

    @cached_property
    def _shuffled(self) -> list[dict[str, Any]]:
        points = self.space.grid_points()
        order = np.random.default_rng(derive_seed(self.seed, "grid")).permutation(len(points))
        return [points[i] for i in order]


# ---------------------------------------------------------------- the tables


@dataclass(frozen=True)
class Draw:
    """The point to draw: the study's `index`-th in a space."""

    seed: int
    index: int
    space: SearchSpace
    balanced: tuple[str, ...] = ()
    growing: GrowingLadder | None = None

    @property
    def sampler_seed(self) -> int:
        """A seed unique to this point of the study."""
        return derive_seed(self.seed, self.index, "sampler") % 2**32


@dataclass(frozen=True)
class Sampler:
    """A sampler: how to make it, and what it needs."""

    make: Callable[[Draw], BaseSampler]
    learns: bool = False  # from the results of earlier trials
    needs_grid: bool = False  # takes every point of a finite space once
    takes_turns: bool = False  # uses the choices of balanced parameters equally often


def _gp(draw: Draw) -> BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.GPSampler(seed=draw.sampler_seed)


SAMPLERS: Mapping[str, Sampler] = {
    "random": Sampler(
        lambda draw: PointSampler(RandomPoints(draw.seed, draw.balanced), draw.index),
        takes_turns=True,
    ),
    "sobol": Sampler(lambda draw: PointSampler(SobolPoints(draw.seed, draw.space), draw.index)),
    "tpe": Sampler(lambda draw: optuna.samplers.TPESampler(seed=draw.sampler_seed), learns=True),
    "lora": Sampler(
        lambda draw: LoraSampler(
            draw.seed, search_space=draw.space.distributions, index=draw.index, growing=draw.growing
        ),
        learns=True,
    ),
    "gp": Sampler(_gp, learns=True),
    "grid": Sampler(
        lambda draw: PointSampler(GridPoints(draw.seed, draw.space), draw.index), needs_grid=True
    ),
}
"""A sampler's name in a study file -> the sampler."""

SamplerName = Annotated[str, NameIn(SAMPLERS)]


@dataclass(frozen=True)
class Pruner:
    """A pruner; one report of a trial is one of its steps."""

    make: Callable[
        [int, int | None], BasePruner
    ]  # steps before the first report; steps of the longest trial
    prunes: bool = True


PRUNERS: Mapping[str, Pruner] = {
    "none": Pruner(lambda first, longest: optuna.pruners.NopPruner(), prunes=False),
    "median": Pruner(lambda first, longest: optuna.pruners.MedianPruner(n_startup_trials=5)),
    "hyperband": Pruner(
        lambda first, longest: optuna.pruners.HyperbandPruner(
            first, "auto" if longest is None else longest
        )
    ),
    "asha": Pruner(
        lambda first, longest: optuna.pruners.SuccessiveHalvingPruner(min_resource=first)
    ),
}
"""A pruner's name in a study file -> the pruner."""

PrunerName = Annotated[str, NameIn(PRUNERS)]
