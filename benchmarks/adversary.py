"""Is the evidence right where it claims something?  Simulated studies whose truth is known.

    python benchmarks/adversary.py --studies 300       # the table of docs/evidence.md
    python benchmarks/adversary.py --only corner       # the lines whose name contains a word
    python benchmarks/adversary.py --list              # the questions alone
    python benchmarks/adversary.py --quick             # a smoke test: one study each, no claim

Each line is a question with a yes or no per study: was an idle parameter called significant, was an
effect found, does an interval hold the truth?  Printed are the aim, the figure and its Monte-Carlo
error (one standard error).  Coefficients and trials are drawn afresh from --seed.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import product as product_of
from time import perf_counter

import numpy as np
import optuna
from adversary_comparisons import COMPARISONS
from adversary_gaming import GAMING
from fresh_functions import FAMILIES, FreshStudy
from optuna.distributions import CategoricalDistribution, FloatDistribution

from analysis.comparison.confirmation import Retrained, confirmation_among
from analysis.importance.exponent import exponent_of
from analysis.importance.grid import SeedNoise, grid_shares
from analysis.importance.question import Points, Question
from analysis.importance.reliability import (
    coverage_of,
    intervals,
    sampling_doubts,
    uniformity_of,
)
from analysis.importance.variance import importances, variance
from analysis.importance.verdict import Verdict, per_configuration, verdict_on
from analysis.parallel import one_blas_thread
from analysis.surrogates.encoding import Array, Column, Encoding, encode, make_column
from study.metrics import Statistics

GRID = np.linspace(0, 1, 20_001)
SHAPES: dict[str, Callable[[Array], Array]] = {
    "line": lambda u: u,
    "U-shape": lambda u: (u - 0.5) ** 2,
    "step at 0.9": lambda u: (u > 0.9).astype(float),
    "two periods": lambda u: np.cos(4 * np.pi * u),
}
POWERS = {"line": 0.93, "U-shape": 0.90, "step at 0.9": 0.80, "two periods": 0.45}
CONTINUOUS = [name for name in FAMILIES if name != "choices"]
HAS_CMAES = find_spec("cmaes") is not None  # which Optuna's sampler needs
FALSE = 0.065  # at most this share of false alarms


@dataclass(frozen=True)
class Study:
    """N trials of D parameters in the unit cube with their values."""

    columns: tuple[Column, ...]
    units: Array
    values: Array

    def judged(self, seed: int, permutations: int) -> Verdict:
        """Return the verdict that the tool gives."""
        encoding = Encoding(self.columns, self.units, {}, {})
        return verdict_on(encoding, self.values, seed, permutations)


@dataclass(frozen=True)
class Line:
    """A question asked of many studies; `says` answers for one, from its own generator.

    The share of yes must be at most `aim` for false alarms, at least `aim` for power and coverage.
    """

    name: str
    says: Callable[[np.random.Generator, int], bool]
    aim: float
    is_false_alarm: bool = True


# ---------------------------------------------------------------- studies


def continuous(width: int) -> tuple[Column, ...]:
    """Return D continuous parameters."""
    return tuple(make_column(f"x{j}", FloatDistribution(0.0, 1.0)) for j in range(width))


def levels(name: str, count: int) -> Column:
    """Return a parameter with powers of two as its levels."""
    return make_column(name, CategoricalDistribution([2**i for i in range(count)]))


def mixed(effect: Array, share: float, rng: np.random.Generator) -> Array:
    """Return (N,) values of which an effect with mean 0 and variance 1 has a share."""
    return np.sqrt(share) * effect + np.sqrt(1 - share) * rng.normal(size=len(effect))


def standard(shape: Callable[[Array], Array], unit: Array) -> Array:
    """Return a curve's heights, scaled to mean 0 and variance 1 over the range."""
    return (shape(unit) - shape(GRID).mean()) / shape(GRID).std()


def some_size(rng: np.random.Generator) -> int:
    """Return a number of trials from 30 to 200."""
    return int(rng.choice([30, 60, 100, 200]))


def noise(rng: np.random.Generator) -> Study:
    """Nothing but noise, six parameters."""
    count = some_size(rng)
    return Study(continuous(6), rng.random((count, 6)), rng.normal(size=count))


def beside_a_signal(rng: np.random.Generator) -> Study:
    """The first of six parameters has a share of 0.3 to 0.9, of any shape."""
    units = rng.random((some_size(rng), 6))
    shape = SHAPES[str(rng.choice(list(SHAPES)))]
    return Study(
        continuous(6), units, mixed(standard(shape, units[:, 0]), rng.uniform(0.3, 0.9), rng)
    )


def shaped(name: str, in_trials: bool = False) -> Callable[[np.random.Generator], Study]:
    """Return 60 trials of six parameters, the first with a share of 0.3.

    That is its share over the whole range; or `in_trials`, however many of them passed a step.
    """

    def study(rng: np.random.Generator) -> Study:
        units = rng.random((60, 6))
        effect = standard(SHAPES[name], units[:, 0])
        if in_trials and np.ptp(effect) > 0:
            effect = (effect - effect.mean()) / effect.std()
        return Study(continuous(6), units, mixed(effect, 0.3, rng))

    return study


def product(rng: np.random.Generator) -> Study:
    """Two of six parameters act through their product only, beside little noise."""
    units = rng.random((60, 6))
    effect = 12 * (units[:, 0] - 0.5) * (units[:, 1] - 0.5)
    return Study(continuous(6), units, mixed(effect, rng.uniform(0.6, 0.99), rng))


def spread(rng: np.random.Generator) -> Study:
    """The first of six parameters moves the spread of the values, not their mean."""
    units = rng.random((60, 6))
    return Study(
        continuous(6),
        units,
        rng.normal(size=60) * np.exp(rng.uniform(1, 3) * units[:, 0]),
    )


def correlated(rng: np.random.Generator) -> Study:
    """200 trials; the second of four parameters has a rank correlation of .58 with the first."""
    from scipy.special import ndtr

    z = rng.normal(size=(200, 4))
    z[:, 1] = 0.6 * z[:, 0] + 0.8 * z[:, 1]
    units = ndtr(z)
    return Study(continuous(4), units, driven(units[:, 0], rng))


def multiple_of_the_rank(rng: np.random.Generator) -> Study:
    """60 trials; the second parameter, α, is 1, 2 or 4 times the first, the rank."""
    rank = rng.integers(4, size=60)
    units = np.column_stack([(rank + 0.5) / 4, (rank + rng.integers(3, size=60) + 0.5) / 6])
    columns = (levels("rank", 4), levels("alpha", 6), *continuous(2))
    units = np.column_stack([units, rng.random((60, 2))])
    return Study(columns, units, driven(units[:, 0], rng))


def range_by_method(rng: np.random.Generator) -> Study:
    """60 trials; the learning rate's range depends on the method, and only the method acts."""
    method = rng.integers(3, size=60)
    rate = np.array([0.0, 0.2, 0.5])[method] + np.array([0.4, 0.5, 0.5])[method] * rng.random(60)
    columns = (make_column("method", CategoricalDistribution(list("abc"))), *continuous(3))
    units = np.column_stack([(method + 0.5) / 3, rate, rng.random((60, 2))])
    return Study(columns, units, driven(units[:, 0], rng))


def forbidden_corner(rng: np.random.Generator) -> Study:
    """60 trials; the first two parameters are never both in the upper part of their range."""
    units = rng.random((600, 4))
    edge = rng.uniform(0.5, 0.7)
    units = units[~(units[:, :2] > edge).all(axis=1)][:60]
    return Study(continuous(4), units, driven(units[:, 0], rng))


def driven(unit: Array, rng: np.random.Generator) -> Array:
    """Return values that one parameter drives, by a line or a curve, with a share of 0.5 to 0.9."""
    effect = unit + rng.uniform(-1, 1) * (unit - 0.5) ** 2
    return mixed((effect - effect.mean()) / effect.std(), rng.uniform(0.5, 0.9), rng)


def repeated(configurations: int, seeds: int) -> Callable[[np.random.Generator], Study]:
    """Return studies of configurations × seeds; seed noise is three times what a mean keeps."""

    def study(rng: np.random.Generator) -> Study:
        units = rng.random((configurations, 3))
        effect = np.repeat(standard(SHAPES["line"], units[:, 0]), seeds)
        noise = np.sqrt(0.3 * seeds) * rng.normal(size=configurations * seeds)
        return Study(continuous(3), np.repeat(units, seeds, axis=0), effect + noise)

    return study


def grid_holds(rng: np.random.Generator, seed: int) -> bool:
    """Whether the interval of a 4 × 4 × 3 grid with 3 seeds per cell holds the first share."""
    columns = (levels("a", 4), levels("b", 4), levels("c", 3))
    cells = np.array(
        [[u, v, w] for u in columns[0].grid() for v in columns[1].grid() for w in columns[2].grid()]
    )
    slope = rng.uniform(0, 1, size=3)
    effect = cells @ slope + rng.uniform(0, 1) * cells[:, 0] * cells[:, 1]
    by_first = effect.reshape(4, -1).mean(axis=1)
    truth = float(by_first.var() / effect.var())
    values = np.repeat(effect, 3) + effect.std() * rng.normal(size=144)
    encoding = Encoding(columns, np.repeat(cells, 3, axis=0), {}, {})
    found, again = grid_shares(
        *per_configuration(encoding, values), SeedNoise.of(encoding, values), seed
    )
    low, high = intervals(found.main, again.main, again.kept)
    return bool(low[0] <= truth <= high[0])


def two_seeds_called_different(rng: np.random.Generator, seed: int) -> bool:
    """Whether two equal models, two trainings each, differ clearly by their accuracy."""
    examples = int(rng.choice([50, 200]))
    easy = rng.beta(2, 1, size=examples)
    retrained = []
    for name, trial in (("trial 1", 1), ("default", None)):
        shift = 0.03 * rng.normal(size=(2, 1))
        right = (rng.random((2, examples)) < np.clip(easy + shift, 0, 1)).astype(float)
        scored = tuple(
            Statistics("accuracy", np.stack([r, np.ones(examples)], 1), "accuracy|case:exact")
            for r in right
        )
        retrained.append(Retrained(name, trial, (0, 1), scored, np.zeros(2), None, {}))
    (tested,) = confirmation_among("accuracy", retrained[0], retrained[1:], seed).tested
    return tested.clear


def adaptive_is_wrong(name: str) -> Callable[[np.random.Generator, int], bool]:
    """Return whether a study that Optuna's sampler led is reliable, yet has the wrong first place.

    60 trials; the function's first place is clear, by 0.1 of the variance.  As if nobody knew the
    sampler, so that only what the trials cover can tell.
    """

    def says(rng: np.random.Generator, seed: int) -> bool:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        made = (FreshStudy.drawn(str(rng.choice(CONTINUOUS)), rng) for _ in range(1000))
        function = next(study for study in made if study.lead > 0.1)
        sampler = getattr(optuna.samplers, name)(seed=seed)
        study = optuna.create_study(direction="maximize", sampler=sampler)

        def objective(trial: optuna.Trial) -> float:
            unit = [trial.suggest_float(n, 0.0, 1.0) for n in function.names]
            return function.measured(np.array([unit]), rng)[0]

        study.optimize(objective, n_trials=60)
        given = Points(
            [t.params for t in study.trials],
            [t.value for t in study.trials],
            function.distributions,
        )
        trials = encode(given.points, given.distributions, seed)
        if sampling_doubts(None, uniformity_of(trials), coverage_of(trials), trials.excluded):
            return False  # not reliable, whatever the rest says, which takes longer
        found = variance(Question(resamples=0, seed=seed), given)
        return found.reliable and found.parameters[0].name != function.first

    return says


def grid_of_noise(seeds: int) -> Callable[[np.random.Generator, int], bool]:
    """Return whether a 4 × 4 × 3 grid of nothing but noise is called reliable."""

    def says(rng: np.random.Generator, seed: int) -> bool:
        columns = (levels("a", 4), levels("b", 4), levels("c", 3))
        cells = list(product_of(*(c.values for c in columns))) * seeds
        points = [dict(zip("abc", cell, strict=True)) for cell in cells]
        space = {c.name: c.distribution for c in columns}
        return importances(points, rng.normal(size=len(points)), space, seed=seed).reliable

    return says


def exponent_holds(rng: np.random.Generator, seed: int) -> bool:
    """Whether the interval of the rank's power holds the truth, on a smooth curve."""
    count, power = some_size(rng), float(rng.choice([0.0, 0.5, 1.0]))
    alpha, rank = 2.0 ** rng.integers(3, 8, size=count), 2.0 ** rng.integers(2, 6, size=count)
    rate = 10 ** rng.uniform(-5, -1, size=count)
    other = rng.random(count)
    place = np.log10(rate * alpha / rank**power) + power + rng.uniform(1, 2.6)
    curves = (-(place**2), np.tanh(place), np.exp(-2 * place**2))
    values = curves[int(rng.integers(3))]
    values = values + values.std() * (other + rng.uniform(0.1, 0.7) * rng.normal(size=count))
    columns = (make_column("other", FloatDistribution(0.0, 1.0)),)
    points = [
        {"alpha": a, "rank": r, "learning_rate": lr}
        for a, r, lr in zip(alpha, rank, rate, strict=True)
    ]
    found = exponent_of(
        Encoding(columns, other[:, None], {}, {}), values, points, {n: n for n in points[0]}
    )
    return found is not None and found.ci[0] <= power <= found.ci[1]


# ---------------------------------------------------------------- questions


def names(
    study: Callable[[np.random.Generator], Study], which: slice | int, permutations: int
) -> Callable[[np.random.Generator, int], bool]:
    """Return whether any of some parameters is called significant."""

    def says(rng: np.random.Generator, seed: int) -> bool:
        found = study(rng).judged(seed, permutations).significant[which]
        return bool(np.any(found))

    return says


def table(permutations: int) -> list[Line]:
    """Return every line."""

    def line(
        name: str,
        study: Callable[[np.random.Generator], Study],
        which: slice | int,
        aim: float = FALSE,
        is_false_alarm: bool = True,
    ) -> Line:
        return Line(name, names(study, which, permutations), aim, is_false_alarm)

    power = [
        line(f"power: {name}, share .3, n = 60", shaped(name), 0, aim, False)
        for name, aim in POWERS.items()
    ]
    return [
        line("false: noise, any of six named", noise, slice(None)),
        line("false: beside a signal, any of five named", beside_a_signal, slice(1, None)),
        *power,
        line(
            "power: step at 0.9, share .3 in the trials", shaped("step at 0.9", True), 0, 0.8, False
        ),
        line("false: pure product, either named a main effect", product, slice(0, 2)),
        line("false: only the spread moves", spread, 0),
        line("false: idle, rank correlation .58, n = 200", correlated, 1),
        line("false: idle α = 1, 2, 4 × rank, n = 60", multiple_of_the_rank, 1),
        line("false: idle range by method, n = 60", range_by_method, 1),
        line("false: idle, forbidden corner, n = 60", forbidden_corner, 1),
        line("power: the partner of the idle α", multiple_of_the_rank, 0, 0.8, False),
        line("power: 20 configurations × 3 seeds", repeated(20, 3), 0, 0.9, False),
        line("power: 20 single trials with the mean's noise", repeated(20, 1), 0, 0.9, False),
        Line("false: a grid of noise is reliable", grid_of_noise(1), FALSE),
        Line("false: a grid of noise × 3 seeds is reliable", grid_of_noise(3), FALSE),
        *(
            Line(
                f"false: {name}'s study reliable, first place wrong", adaptive_is_wrong(name), FALSE
            )
            for name in ("TPESampler", "GPSampler", *(["CmaEsSampler"] if HAS_CMAES else []))
        ),
        Line("coverage: first share of a grid × 3 seeds", grid_holds, 0.93, False),
        Line("coverage: exponent of the rank, smooth", exponent_holds, 0.93, False),
        Line("false: confirm, two seeds of two equal models", two_seeds_called_different, FALSE),
        *(Line(*asked) for asked in (*COMPARISONS, *GAMING)),
    ]


def main() -> None:
    """Print one row per line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--studies", type=int, default=300)
    parser.add_argument("--only", default="")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--list", action="store_true")
    given = parser.parse_args()
    studies = 1 if given.quick else given.studies
    print("| question | aim | figure | error | studies | s per study |")
    print("|---|---|---|---|---|---|", flush=True)
    with one_blas_thread():
        for number, line in enumerate(table(99 if given.quick else 499)):
            if given.only in line.name:
                aim = f"{'≤' if line.is_false_alarm else '≥'} {line.aim:.3f}"
                if given.list:
                    print(f"| {line.name} | {aim} | | | | |")
                    continue
                started = perf_counter()
                said = [
                    line.says(np.random.default_rng([given.seed, number, i]), i)
                    for i in range(studies)
                ]
                share = float(np.mean(said))
                error = (share * (1 - share) / studies) ** 0.5
                each = (perf_counter() - started) / studies
                print(
                    f"| {line.name} | {aim} | {share:.3f} | {error:.3f} | {studies} | {each:.2f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
