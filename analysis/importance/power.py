"""What a number of trials can find, before the study: by simulation on its own search space.

Random trials of the space are drawn, one parameter at a time is given a smooth effect (a line or a
parabola along its own scale; levels of their own where there is no order) with some share of the
variance, the rest is noise, and the verdict is asked.  The share that is found in four of five
simulated studies is read off a logistic curve through all of them.  Steps and waves are harder to
find: see docs/evidence.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.importance.variance import importances
from analysis.importance.verdict import verdict_on
from analysis.parallel import each
from analysis.surrogates.encoding import Array, Column, Encoding, encode
from analysis.wording import share

if TYPE_CHECKING:
    from search_spaces import SearchSpace

POWER = 0.8
STUDIES = 240  # simulated for the power: the first third anywhere, the others where it is 80 %
SHARES = np.geomspace(0.04, 0.7, 24)  # of the effect, in turn
NEAR = 1.5  # times the first estimate, and by that much less
LARGEST = 0.95  # a share that leaves some noise
PERMUTATIONS = 199
LEAST = 8  # trials
TYPICAL, WIDTHS = 0.3, 12  # the share whose interval is simulated, and how often
POOL = 4  # times the trials are drawn; simulated studies take their trials from these


@dataclass(frozen=True)
class Power:
    """The smallest share found with 80 % power; None where not even a share of 0.7 would be.

    `width` is the mean width of the 95 % interval of a share of 0.3.
    """

    trials: int
    parameters: int
    smallest: float | None
    width: float

    @property
    def sentence(self) -> str:
        """What the trials can find, in words."""
        if self.smallest is None:
            return f"{self.trials} random trials are too few to find any effect with 80 % power"
        return (
            f"{self.trials} random trials find a smooth effect with a share of "
            f"{share(self.smallest)} or more with 80 % power; a share of {share(TYPICAL)} gets an "
            f"interval about {share(self.width)} wide"
        )


def power_of(
    space: SearchSpace,
    trials: int,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    studies: int = STUDIES,
) -> Power:
    """Return what random trials of a search space can find; raises ValueError for under eight."""
    if trials < LEAST:
        raise ValueError(f"trials: must be at least {LEAST} to find an effect, got {trials}")
    rng = np.random.default_rng([seed, 18])
    pool = drawn(space, POOL * trials, seed)
    total = studies + WIDTHS
    found: list[bool] = []
    shares = np.resize(rng.permutation(SHARES), studies)
    first = studies // 3

    def is_found_in(i: int) -> bool:
        return simulated(pool, space, trials, float(shares[i]), [seed, i])

    for part in (range(first), range(first, studies)):
        for is_found in each(is_found_in, part):
            found.append(is_found)
            if progress is not None:
                progress(len(found), total)
        if len(found) == first and (about := _share_at(POWER, shares[:first], np.array(found))):
            around = about * np.geomspace(1 / NEAR, NEAR, studies - first)
            shares[first:] = np.minimum(around, LARGEST)
    widths = []
    for i in range(WIDTHS):
        widths.append(simulated_width(pool, space, trials, [seed, i]))
        if progress is not None:
            progress(studies + i + 1, total)
    smallest = _share_at(POWER, shares, np.array(found))
    return Power(trials, len(space.distributions), smallest, float(np.mean(widths)))


def drawn(space: SearchSpace, count: int, seed: int) -> list[dict[str, Any]]:
    """Return random points of a search space, conditions respected."""
    import optuna

    sampler = optuna.samplers.RandomSampler(seed=seed)
    chatter = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=sampler)
    optuna.logging.set_verbosity(chatter)
    return [space.suggest(study.ask()) for _ in range(count)]


def simulated(
    pool: Sequence[Mapping[str, Any]],
    space: SearchSpace,
    trials: int,
    size: float,
    seed: Sequence[int],
) -> bool:
    """Return whether a parameter with a share of `size` is found in one simulated study."""
    rng = np.random.default_rng([*seed, 21])
    _, encoding = _some(pool, space, trials, rng)
    j, values = _values(encoding, size, rng)
    verdict = verdict_on(encoding, values, int(rng.integers(1 << 31)), PERMUTATIONS)
    return bool(verdict.significant[j])


def simulated_width(
    pool: Sequence[Mapping[str, Any]],
    space: SearchSpace,
    trials: int,
    seed: Sequence[int],
    resamples: int = 20,
) -> float:
    """Return the width of the interval of a share of TYPICAL in one simulated study."""
    rng = np.random.default_rng([*seed, 19])
    points, encoding = _some(pool, space, trials, rng)
    j, values = _values(encoding, TYPICAL, rng)
    result = importances(points, values, space.distributions, surrogate="gp", resamples=resamples)
    (ci,) = (p.ci for p in result.parameters if p.name == encoding.names[j])
    return float(ci[1] - ci[0])


def _some(
    pool: Sequence[Mapping[str, Any]], space: SearchSpace, trials: int, rng: np.random.Generator
) -> tuple[list[Mapping[str, Any]], Encoding]:
    points = [pool[i] for i in rng.choice(len(pool), trials, replace=False)]
    return points, encode(points, space.distributions, int(rng.integers(1 << 31)))


def _values(encoding: Encoding, size: float, rng: np.random.Generator) -> tuple[int, Array]:
    """Return which parameter acts, and the values (N,) of the trials."""
    j = int(rng.integers(len(encoding.columns)))
    column = encoding.columns[j]
    effect = _effect(column, rng)(encoding.units[:, j])
    return j, np.sqrt(size) * effect + np.sqrt(1 - size) * rng.normal(size=len(effect))


def _effect(column: Column, rng: np.random.Generator) -> Callable[[Array], Array]:
    """Return an effect along a column with mean zero and variance one over its measure."""
    nodes = np.linspace(0, 1, 201) if column.positions is None else column.positions
    weights = np.full(len(nodes), 1 / len(nodes)) if column.weights is None else column.weights
    if column.ordered:
        centre = 0.5 if rng.random() < 0.5 else 10.0  # a parabola, or nearly a line
        height = (nodes - centre) ** 2
        if len(nodes) == 2:
            height = nodes.copy()
    else:
        height = rng.normal(size=len(nodes))
    height = height - weights @ height
    height /= np.sqrt(weights @ height**2) or 1.0
    return lambda unit: height[np.abs(unit[:, None] - nodes).argmin(axis=1)]


def _share_at(power: float, shares: Array, found: np.ndarray) -> float | None:
    """Return the share at which a logistic curve of the log-odds of the share reaches a power."""
    from sklearn.linear_model import LogisticRegression

    if found.all() or not found.any():
        return float(shares.min()) if found.all() else None
    odds = np.log(shares / (1 - shares))
    fitted = LogisticRegression(C=1e6).fit(odds[:, None], found)
    slope = float(fitted.coef_[0, 0])
    if slope <= 0:
        return None
    place = (np.log(power / (1 - power)) - float(fitted.intercept_[0])) / slope
    reached = float(1 / (1 + np.exp(-place)))
    return reached if reached <= SHARES[-1] else None
