"""Do the 95 % intervals hold the truth, of main effects and of pairs?

    python benchmarks/interval_coverage.py --studies 12        # of each size
    python benchmarks/interval_coverage.py --trials 60         # of one size
    python benchmarks/interval_coverage.py --family friedman   # of one family

Functions that nobody tuned on (`fresh_functions`), random trials, the whole evidence.  Counted are
components with a true share of 0.02 or more, since an interval that starts at zero holds a small
share for nothing.  Aims: 0.93 on average and 0.88 for the worst family wherever the study is called
reliable, and at 60 trials at least half of the studies that predict held-out trials (R² of 0.6 or
more) are.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from fresh_functions import FAMILIES, FreshStudy

from analysis.importance.variance import importances
from analysis.parallel import one_blas_thread

SIZES = (30, 60, 100, 200)
LEAST = 0.02  # the true share from which a component counts


@dataclass(frozen=True)
class Component:
    """One main effect or pair of a study: was the truth in its interval?"""

    trials: int
    study: int
    family: str
    surrogate: str
    r2: float
    is_reliable: bool
    order: int
    truth: float
    estimate: float
    low: float
    high: float
    unexplained: float

    @property
    def is_held(self) -> bool:
        """Whether the interval holds the truth, which the grid knows to 0.001."""
        return self.low - 1e-3 <= self.truth <= self.high + 1e-3


def components(number: int, trials: int, seed: int, families: list[str]) -> list[Component]:
    """Return the components of one study; studies take families in turn."""
    rng = np.random.default_rng([seed, trials, number])
    family = families[number % len(families)]
    study = FreshStudy.drawn(family, rng)
    points, values = study.trials(trials, rng)
    found = importances(points, values, study.distributions, seed=number)
    shares = {(p.name,): (p.importance, p.ci) for p in found.parameters}
    shares |= {i.names: (i.importance, i.ci) for i in found.interactions if i.ci is not None}
    r2, surrogate = found.held_out_r2, found.surrogate
    return [
        Component(
            trials,
            number,
            family,
            surrogate,
            r2,
            found.reliable,
            len(n),
            truth,
            share,
            *interval,
            found.unexplained,
        )
        for n, truth in study.truth.items()
        if truth >= LEAST and n in shares
        for share, interval in [shares[n]]
    ]


def line(label: str, every: Iterable[Component]) -> str:
    """Return coverage and mean width, with the error of the simulation."""
    some = list(every)
    if not some:
        return f"{label}: none"
    held = float(np.mean([c.is_held for c in some]))
    width = float(np.mean([c.high - c.low for c in some]))
    error = (held * (1 - held) / len(some)) ** 0.5
    below = float(np.mean([c.truth < c.low for c in some]))
    return (
        f"{label}: {held:.3f} ± {error:.3f} of {len(some)} (truth below {below:.3f}), "
        f"width {width:.3f}"
    )


def report(every: list[Component]) -> None:
    """Print coverage by size, by order and by family."""
    for size in sorted({c.trials for c in every}):
        here = [c for c in every if c.trials == size]
        studies = {c.study: c for c in here}.values()
        able = [c for c in studies if c.r2 >= 0.6]
        kept = sum(c.is_reliable for c in able)
        print(
            f"\n{size} trials, {len(studies)} studies: {kept} of {len(able)} with R² ≥ 0.6 reliable"
        )
        print("  " + line("all", here))
        reliable = [c for c in here if c.is_reliable]
        print("  " + line("reliable", reliable))
        for order, name in ((1, "main effects"), (2, "pairs")):
            print("    " + line(name, (c for c in reliable if c.order == order)))
        for name in ("gp", "forest"):
            print("    " + line(name, (c for c in reliable if c.surrogate == name)))
    print("\nreliable, by family")
    for family in FAMILIES:
        print("  " + line(family, (c for c in every if c.family == family and c.is_reliable)))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trials", type=int, nargs="*", default=SIZES)
    parser.add_argument("--family", choices=FAMILIES, nargs="*", default=list(FAMILIES))
    given = parser.parse_args()
    every: list[Component] = []
    with one_blas_thread():
        for size in given.trials:
            for number in range(given.studies):
                every += components(number, size, given.seed, given.family)
    report(every)


if __name__ == "__main__":
    main()
