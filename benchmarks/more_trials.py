"""Is it true that "about N more trials would decide"?  Studies continued until they do decide.

    python benchmarks/more_trials.py --seeds 20

Four parameters and noise: the first holds most of the variance, the second a small share, the
others nothing.  From the first trials `next` says what is undecided, and how many trials in all
would decide it; then the same study goes on, by a seventh at a time, until each of these parameters
is beyond chance or its interval ends below 0.05.  Printed is how many trials were foretold, and how
many it took; a study that does not decide within LAST counts as a step more.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from functools import cache

import numpy as np
from optuna.distributions import FloatDistribution

from analysis.importance.reliability import more_trials, undecided
from analysis.importance.result import Importances
from analysis.importance.variance import importances

SPACE = {f"x{j}": FloatDistribution(0.0, 1.0) for j in range(4)}
SHARES = (0.0, 0.03, 0.08, 0.15)
STEP, LAST = 8 / 7, 480


def main() -> None:
    """Print a line for each true share and number of first trials."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--noise", type=float, nargs="+", default=[0.1, 0.4])
    parser.add_argument("--first", type=int, nargs="+", default=[20, 40])
    given = parser.parse_args()
    print("| trials | noise | share of the second | undecided | said (median, in all) | took |")
    print("|---|---|---|---|---|---|")
    all_ratios: list[float] = []
    for first in given.first:
        for noise in given.noise:
            for share in SHARES:
                found = [_one(first, noise, share, seed) for seed in range(given.seeds)]
                open_ones = [pair for pair in found if pair is not None]
                all_ratios += [took / said for said, took in open_ones]
                said, took = np.median(np.array(open_ones or [(np.nan, np.nan)]), axis=0)
                print(
                    f"| {first} | {noise} | {share} | {len(open_ones)} of {len(found)} "
                    f"| {said:.0f} | {took:.0f} |",
                    flush=True,
                )
    low, middle, high = np.quantile(all_ratios, [0.25, 0.5, 0.75])
    factor = np.mean([0.5 <= r <= 2 for r in all_ratios])
    print(
        f"\ntook / said, {len(all_ratios)} studies: median {middle:.2f}, half of them {low:.2f} to "
        f"{high:.2f}; within a factor of two {factor:.2f}"
    )


def _one(first: int, noise: float, share: float, seed: int) -> tuple[float, float] | None:
    """Return the trials foretold and those that it took, in all; None where nothing was open."""
    found = _analysed(first, noise, share, seed)
    names, more = undecided(found), more_trials(found)
    if not names or more is None:
        return None
    left, count = set(names), first
    while left and count < LAST:
        count = min(int(np.ceil(count * STEP)), LAST)
        left &= set(undecided(_analysed(count, noise, share, seed)))
    return first + more, count * (STEP if left else 1)


@cache
def _analysed(count: int, noise: float, share: float, seed: int) -> Importances:
    """Analyse the first trials of a study."""
    rng = np.random.default_rng([seed, 8])
    units, chance = rng.random((LAST, 4)), rng.standard_normal(LAST)
    curve = np.sin(2.5 * units)
    curve = (curve - np.sin(2.5 * _GRID).mean()) / np.sin(2.5 * _GRID).std()
    parts = np.array([1 - noise - share, share])
    values = curve[:, :2] @ np.sqrt(parts) + np.sqrt(noise) * chance
    points = [dict(zip(SPACE, row, strict=True)) for row in units[:count].tolist()]
    return importances(points, values[:count], SPACE, surrogate="gp", resamples=20, seed=seed)


_GRID = np.linspace(0, 1, 10_001)

if __name__ == "__main__":
    main()
