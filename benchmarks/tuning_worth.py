"""What tuning is worth, and where the score is flat, on objectives where both are known.

Every objective of the importance benchmarks is searched at random with noise, and a clean product
of two parameters beside an idle one.  The true gain of a parameter is that of its best value over
the middle of the search space, all others in the middle; that of all together is that of the best
of 2^15 configurations.  A value is truly good enough if the best of these configurations, given
that value, loses no more than the stated margin.

    python benchmarks/tuning_worth.py --seeds 4
    python benchmarks/tuning_worth.py --product --seeds 30 --trials 100 --noise 0.01
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from importance_suite import CASES, Case, linear, log
from scipy.stats import qmc

from analysis.importance.answers import answer
from analysis.importance.flat_region import FlatRange
from analysis.importance.question import Points, Question
from analysis.importance.tuning import Gain, Tuning
from analysis.surrogates.encoding import Array, Column

PRODUCT = Case(
    "product",
    {"learning_rate": log(1e-4, 1e-1), "alpha": log(1, 100), **linear("idle")},
    lambda u: -((3 * u[:, 0] + 2 * u[:, 1] - 2) ** 2),  # log10(learning rate · alpha) + 2
)
SLACK = 1e-9


@dataclass(frozen=True)
class Truth:
    """Gains over the middle by name, and for each parameter the best score by grid value, (G,)."""

    gains: dict[str, float]
    reached: dict[str, Array]

    @classmethod
    def of(cls, case: Case) -> Truth:
        """Compute it from 2^15 configurations of a case."""
        columns = case.columns
        start = np.array([c.to_unit(c.middle) for c in columns])
        raw = qmc.Sobol(len(columns), rng=np.random.default_rng(0)).random(1 << 15)
        every = np.stack([c.at_quantiles(raw[:, j])[0] for j, c in enumerate(columns)], axis=1)
        at_start = float(case.function(start[None])[0])

        def gain(units: Array) -> float:
            return max(float(case.function(units).max()) - at_start, 0.0)

        def with_value(j: int, unit: float) -> float:
            units = every.copy()
            units[:, j] = unit
            return float(case.function(units).max())

        gains, reached = {"": gain(every)}, {}
        for j, column in enumerate(columns):
            fine = np.linspace(0, 1, 1001) if column.positions is None else column.positions
            along = np.tile(start, (len(fine), 1))
            along[:, j] = fine
            gains[column.name] = gain(along)
            reached[column.name] = np.array([with_value(j, unit) for unit in column.grid()])
        return cls(gains, reached)

    def is_idle(self, name: str) -> bool:
        """Whether a parameter changes nothing, alone or with others."""
        return self.gains[name] < SLACK and float(np.ptp(self.reached[name])) < SLACK


def main() -> None:
    """Print one line per number of trials and noise, of the gains and of the ranges."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=4, help="studies of each objective")
    parser.add_argument("--trials", type=int, nargs="+", default=[30, 60, 100])
    parser.add_argument("--noise", type=float, nargs="+", default=[0.1, 0.3])
    parser.add_argument("--product", action="store_true", help="only the clean product")
    parser.add_argument("--each", action="store_true", help="also a line per objective")
    options = parser.parse_args()
    cases = (PRODUCT,) if options.product else CASES
    truths = {case.name: Truth.of(case) for case in cases}
    lines = []
    for count in options.trials:
        for noise in options.noise:
            found = {
                case.name: [studied(case, count, noise, seed) for seed in range(options.seeds)]
                for case in cases
            }
            if options.each:
                lines += [Line(c.name, count, noise, [c], found, truths) for c in cases]
            lines.append(Line("all", count, noise, cases, found, truths))
    gains = "error / sd", "covered", "all together: bias / sd", "error", "covered", "false worth"
    ranges = "of the true range, stated", "less than half", "of the stated range, true", "idle: all"
    for columns, rows in (
        (gains, [line.of_gains for line in lines]),
        (ranges, [line.of_ranges for line in lines]),
    ):
        head = ("objectives", "trials", "noise", *columns)
        print(f"\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
        print("\n".join(rows))
    if options.product:
        print(product_lines([line for runs in found.values() for line in runs]))


def studied(case: Case, count: int, noise: float, seed: int) -> Tuning:
    """Return what tuning is worth in one random study."""
    points, values, _ = case.trials(count, noise, seed)
    middle = {c.name: c.middle for c in case.columns}
    given = Points(points, values, case.distributions, default=middle)
    found = answer(Question("tuning", seed=seed), given)
    assert isinstance(found, Tuning)
    return found


@dataclass(frozen=True)
class Line:
    """Studies of some cases with one number of trials and one noise, judged."""

    name: str
    trials: int
    noise: float
    cases: Iterable[Case]
    found: dict[str, list[Tuning]]
    truths: dict[str, Truth]

    @property
    def head(self) -> str:
        """The first cells of a line."""
        return f"| {self.name} | {self.trials} | {self.noise:g} "

    @property
    def studies(self) -> list[tuple[Case, Truth, Tuning]]:
        """Each study with its case and the truth."""
        return [(c, self.truths[c.name], t) for c in self.cases for t in self.found[c.name]]

    @property
    def of_gains(self) -> str:
        """Error and coverage of the gains."""
        off: dict[bool, list[float]] = {True: [], False: []}  # of all together, and of one
        held: dict[bool, list[bool]] = {True: [], False: []}
        false = []
        for case, truth, tuning in self.studies:
            for gain in (*tuning.gains, tuning.together):
                true, is_all = truth.gains[gain.name], not gain.name
                off[is_all].append((gain.gain - true) / case.truth[1] ** 0.5)
                held[is_all].append(_covers(gain, true))
                if not is_all and true < SLACK:
                    false.append(gain.is_worth_it)
        said = f"{np.mean(false):.3f} of {len(false)}" if false else "–"
        return (
            f"{self.head}| {np.mean(np.abs(off[False])):.2f} | {np.mean(held[False]):.3f} "
            f"| {np.mean(off[True]):+.2f} | {np.mean(np.abs(off[True])):.2f} "
            f"| {np.mean(held[True]):.3f} of {len(held[True])} | {said} |"
        )

    @property
    def of_ranges(self) -> str:
        """How far the stated ranges agree with the true ones, over the grid values."""
        stated, right, idle = [], [], []
        for case, truth, tuning in self.studies:
            best = max(float(reached.max()) for reached in truth.reached.values())
            flat = {r.name: r for r in tuning.flat}
            for column in case.columns:
                if truth.is_idle(column.name):
                    idle.append(flat[column.name].whole)
                    continue
                good = truth.reached[column.name] >= best - tuning.margin - SLACK
                said = _stated(column, flat[column.name])
                stated.append(float(said[good].mean()))
                right.append(float(good[said].mean()))
        of_idle = f"{np.mean(idle):.2f} of {len(idle)}" if idle else "–"
        return (
            f"{self.head}| {np.mean(stated):.2f} | {np.mean(np.array(stated) < 0.5):.2f} "
            f"of {len(stated)} | {np.mean(right):.2f} | {of_idle} |"
        )


def product_lines(found: list[Tuning]) -> str:
    """Return how far the stated ranges of the clean product agree with the true one."""
    shares = []
    for tuning in found:
        true = -2 + np.sqrt(tuning.margin) * np.array([-1, 1])
        said = tuning.product and np.log10([tuning.product.low, tuning.product.high])
        if said is None:
            shares.append((0.0, np.nan))
            continue
        both = max(min(true[1], said[1]) - max(true[0], said[0]), 0.0)
        shares.append((both / (true[1] - true[0]), both / (said[1] - said[0])))
    stated, right = np.nanmean(np.array(shares), axis=0)
    none = sum(tuning.product is None for tuning in found)
    return (
        f"\nlearning rate · alpha: {stated:.2f} of the true range is stated, {right:.2f} of the "
        f"stated range is true; no range in {none} of {len(found)} studies"
    )


def _covers(gain: Gain, true: float) -> bool:
    return gain.ci[0] - SLACK <= true <= gain.ci[1] + SLACK


def _stated(column: Column, flat: FlatRange) -> Array:
    """Return which grid values (G,) a range names."""
    if flat.values:
        return np.array([value in flat.values for value in column.grid_values()])
    ends = np.array([column.to_unit(flat.low), column.to_unit(flat.high)])
    return (column.grid() >= ends[0] - SLACK) & (column.grid() <= ends[1] + SLACK)


if __name__ == "__main__":
    main()
