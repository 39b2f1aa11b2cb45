"""The power that `check --power` promises, against the power observed in simulated studies.

For each search space the smallest share with 80 % power is computed, then 500 fresh studies with an
effect of that share are simulated, with other seeds and the verdict's full number of permutations.

    python benchmarks/power_promised.py --studies 500
"""

from __future__ import annotations

import argparse

import numpy as np

from analysis.importance import power
from analysis.parallel import each, every_core
from analysis.surrogates.encoding import Array
from study.spec.files import load_spec

SPACES = (("petroleum", 64), ("method-shootout", 72), ("petroleum-wide", 30))


def main() -> None:
    """Print the promised and the observed power of each space."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=500)
    options = parser.parse_args()
    print("| space | trials | smallest share | promised | observed | standard error |")
    print("|---|---|---|---|---|---|")
    with every_core():
        for name, trials in SPACES:
            space = load_spec(name).search.search_space
            promised = power.power_of(space, trials)
            if promised.smallest is None:
                print(f"| {name} | {trials} | – | – | – | – |")
                continue
            pool = power.drawn(space, power.POOL * trials, seed=1)
            power.PERMUTATIONS = 999
            size = promised.smallest
            found: Array = np.array(
                list(
                    each(
                        lambda i, pool=pool, space=space, trials=trials, size=size: power.simulated(
                            pool, space, trials, size, [1, i]
                        ),
                        range(options.studies),
                    )
                ),
                dtype=float,
            )
            observed = float(found.mean())
            error = (observed * (1 - observed) / len(found)) ** 0.5
            print(
                f"| {name} | {trials} | {size:.2f} | {power.POWER:.2f} | {observed:.3f} "
                f"| {error:.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
