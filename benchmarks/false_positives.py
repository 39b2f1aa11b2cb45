"""How often is noise called important, and how often is an effect found?

    python benchmarks/false_positives.py --seeds 400

Pure noise of 20 to 200 random trials over 6 parameters: the share of studies that call any of them
significant, with the exact binomial bound; then a main effect of share 0.3 at 60 trials, the rest
noise: the share of studies that find it.  With --tpe only pure noise, 60 trials that Optuna's TPE
sampler chose: no permutation test is exact there.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
from optuna.distributions import FloatDistribution
from scipy.stats import binomtest

from analysis.importance.variance import Importances, importances

SPACE = {f"x{j}": FloatDistribution(0.0, 1.0) for j in range(6)}
SHAPES: dict[str, Callable[[Any], Any]] = {
    "line": lambda x: x,
    "saturating, 1 - exp(-3x)": lambda x: 1 - np.exp(-3 * x),
    "step in the middle": lambda x: (x > 0.5).astype(float),
}


def study(count: int, seed: int, shape: Callable[[Any], Any] | None, share: float) -> Importances:
    """Return the analysis of random trials whose first parameter has an effect of this shape."""
    rng = np.random.default_rng([seed, count])
    units = rng.random((count, len(SPACE)))
    values = np.sqrt(1.0 - share) * rng.normal(size=count)
    if shape is not None:
        spread = np.std(shape(np.linspace(0, 1, 10_001)))
        values += np.sqrt(share) * shape(units[:, 0]) / spread
    points = [dict(zip(SPACE, row, strict=True)) for row in units.tolist()]
    return importances(points, values, SPACE, surrogate="gp", resamples=0, seed=seed)


def tpe_study(count: int, seed: int) -> Importances:
    """Return the analysis of a TPE study of pure noise."""
    rng = np.random.default_rng([seed, count])
    found = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    for _ in range(count):
        found.tell(found.ask(SPACE), rng.normal())
    points, values = [t.params for t in found.trials], [t.value for t in found.trials]
    return importances(points, values, SPACE, surrogate="gp", resamples=0, seed=seed)


def report_tpe(seeds: int) -> None:
    """Print how often a TPE study of noise names a parameter, and is seen for what it is."""
    found = [tpe_study(60, s) for s in range(seeds)]
    wrong = sum(any(p.significant for p in r.parameters) for r in found)
    seen = sum(not r.sample["is_uniform"] for r in found)
    print(f"noise by TPE, 60 trials: {wrong} of {seeds} name a parameter; {seen} seen not uniform")


def main() -> None:
    """Print false positives by number of trials, then power by shape."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=400)
    parser.add_argument("--tpe", action="store_true")
    chosen = parser.parse_args()
    if chosen.tpe:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        report_tpe(chosen.seeds)
        return
    false = total = 0
    for count in (20, 60, 200):
        seeds = chosen.seeds if count < 200 else max(chosen.seeds // 4, 1)
        found = [study(count, s, None, 0.0) for s in range(seeds)]
        wrong = sum(any(p.significant for p in r.parameters) for r in found)
        reliable = sum(r.reliable for r in found)
        top = np.mean([r.parameters[0].importance for r in found])
        print(
            f"noise, {count} trials: {wrong} of {seeds} studies name a parameter "
            f"({wrong / seeds:.1%}); {reliable} are called reliable; mean top bar {top:.2f}",
            flush=True,
        )
        false, total = false + wrong, total + seeds
    test = binomtest(false, total, 0.05, alternative="greater")
    low, high = binomtest(false, total).proportion_ci()
    print(f"all: {false} of {total}, 95 % interval {low:.3f} to {high:.3f}")
    print(f"p of 'above 5 %': {test.pvalue:.2f} (aim: not below 0.05)")
    for name, shape in SHAPES.items():
        found = [study(60, s, shape, 0.3) for s in range(chosen.seeds // 2)]
        hits = sum(next(p for p in r.parameters if p.name == "x0").significant for r in found)
        low, high = binomtest(hits, len(found)).proportion_ci()
        print(
            f"share 0.3 at 60 trials, {name}: found in {hits / len(found):.1%} of {len(found)} "
            f"({low:.3f} to {high:.3f}; aim 95 %)",
            flush=True,
        )


if __name__ == "__main__":
    main()
