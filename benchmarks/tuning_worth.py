"""What tuning is worth, on objectives whose gains are known: error and coverage of the intervals.

Every objective of the importance benchmarks is searched at random with noise.  The true gain of a
parameter is that of its best value over the middle of the search space, all others in the middle;
that of all together is that of the best of 2^15 configurations.

    python benchmarks/tuning_worth.py --seeds 4
"""

from __future__ import annotations

import argparse

import numpy as np
from importance_suite import CASES, Case
from scipy.stats import qmc

from analysis.importance.answers import answer
from analysis.importance.question import Points, Question
from analysis.importance.tuning import Tuning
from analysis.surrogates.encoding import Array


def main() -> None:
    """Print one line per number of trials and noise."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=4, help="studies of each objective")
    parser.add_argument("--trials", type=int, nargs="+", default=[30, 60, 100])
    parser.add_argument("--noise", type=float, nargs="+", default=[0.1, 0.3])
    parser.add_argument("--each", action="store_true", help="also a line per objective")
    options = parser.parse_args()
    truths = {case.name: true_gains(case) for case in CASES}
    print("| trials | noise | gains | error / sd | covered | all together covered | false worth |")
    print("|---|---|---|---|---|---|---|")
    for count in options.trials:
        for noise in options.noise:
            rows = []
            for case in CASES:
                for seed in range(options.seeds):
                    rows += judged(case, count, noise, seed, truths[case.name])
                if options.each:
                    own = rows[-options.seeds * (len(case.columns) + 1) :]
                    print(f"| {case.name} " + _line(count, noise, own))
            print(_line(count, noise, rows))


def _line(count: int, noise: float, rows: list[tuple[bool, float, bool, bool, bool]]) -> str:
    single = [row for row in rows if not row[0]]
    joint = [row for row in rows if row[0]]
    idle = [row for row in single if row[4]]
    false = f"{np.mean([row[3] for row in idle]):.3f} of {len(idle)}" if idle else "–"
    return (
        f"| {count} | {noise:g} | {len(single)} | {np.mean([row[1] for row in single]):.2f} "
        f"| {np.mean([row[2] for row in single]):.3f} | {np.mean([row[2] for row in joint]):.3f} "
        f"of {len(joint)} | {false} |"
    )


def judged(
    case: Case, count: int, noise: float, seed: int, truth: dict[str, float]
) -> list[tuple[bool, float, bool, bool, bool]]:
    """Return of each gain: is it of all, error in sd, covered, said to be worth it, truly idle."""
    points, values, _ = case.trials(count, noise, seed)
    middle = {c.name: c.middle for c in case.columns}
    given = Points(points, values, case.distributions, default=middle)
    found = answer(Question("tuning", seed=seed), given)
    assert isinstance(found, Tuning)
    sd = case.truth[1] ** 0.5
    return [
        (
            not gain.name,
            abs(gain.gain - truth[gain.name]) / sd,
            bool(gain.ci[0] - 1e-9 <= truth[gain.name] <= gain.ci[1] + 1e-9),
            gain.is_worth_it,
            truth[gain.name] < 1e-9,
        )
        for gain in (*found.gains, found.together)
    ]


def true_gains(case: Case) -> dict[str, float]:
    """Return the gain of the best value of each parameter over the middle, and of all, under ""."""
    columns = case.columns
    start = np.array([c.to_unit(c.middle) for c in columns])
    raw = qmc.Sobol(len(columns), rng=np.random.default_rng(0)).random(1 << 15)
    every = np.stack([c.at_quantiles(raw[:, j])[0] for j, c in enumerate(columns)], axis=1)
    at_start = float(case.function(start[None])[0])

    def gain(units: Array) -> float:
        return max(float(case.function(units).max()) - at_start, 0.0)

    found = {"": gain(every)}
    for j, column in enumerate(columns):
        along = np.tile(start, (1001 if column.positions is None else len(column.positions), 1))
        along[:, j] = np.linspace(0, 1, 1001) if column.positions is None else column.positions
        found[column.name] = gain(along)
    return found


if __name__ == "__main__":
    main()
