"""Do the 95 % intervals hold the truth?

    python benchmarks/interval_coverage.py --seeds 3

The suite of `importance_suite` at 60 and 100 random trials and three levels of noise, the whole
evidence with 100 resamples; counted over all parameters, and over those whose true share is above
0.02, since an interval that starts at zero holds a small share for nothing.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from importance_suite import CASES, NOISE

from analysis.importance.variance import importances


def main() -> None:
    """Print coverage and mean width by number of trials and noise, and by surrogate taken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--surrogate", default="auto")
    chosen = parser.parse_args()
    rows: list[tuple[int, float, str, float, bool, float]] = []
    for count in (60, 100):
        for noise in NOISE:
            for case in CASES:
                for seed in range(chosen.seeds):
                    points, values, truth = case.trials(count, noise, seed)
                    result = importances(
                        points, values, case.distributions, surrogate=chosen.surrogate, seed=seed
                    )
                    true = dict(zip(case.distributions, truth, strict=True))
                    for p in result.parameters:
                        low, high = p.ci
                        # the true shares themselves are only known to 0.001
                        held = low - 1e-3 <= true[p.name] <= high + 1e-3
                        rows.append(
                            (count, noise, result.surrogate, true[p.name], held, high - low)
                        )
            _print(
                f"{count} trials, noise {noise:.0%}", [r for r in rows if r[:2] == (count, noise)]
            )
    for name in ("gp", "forest"):
        _print(f"where {name} was taken", [r for r in rows if r[2] == name])
    _print("all (aim: at least 90 %)", rows)


def _print(label: str, rows: list[tuple[int, float, str, float, bool, float]]) -> None:
    if not rows:
        return
    large = [r[4] for r in rows if r[3] > 0.02]
    print(
        f"{label}: {np.mean([r[4] for r in rows]):.1%} of {len(rows)} hold the truth, "
        f"{np.mean(large):.1%} of {len(large)} shares above 0.02; "
        f"mean width {np.mean([r[5] for r in rows]):.3f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
