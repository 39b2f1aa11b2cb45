"""What `check --power` promises, against what simulated studies show: power and interval width.

For each search space the smallest share with 80 % power is computed, then 500 fresh studies with an
effect of that share are simulated, with other seeds and the verdict's full number of permutations.
The promised width of an interval is compared with that of 24 fresh studies with 100 resamples, as
`importance` has; their standard deviation says how far a single study may be from it.

    python benchmarks/power_promised.py --studies 500
    python benchmarks/power_promised.py --studies 0    # only the widths
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np

from analysis.importance import power
from analysis.importance.power import Power
from analysis.parallel import each, every_core
from search_spaces import SearchSpace
from study.spec.files import load_spec

SPACES = (("petroleum", 64), ("method-shootout", 72), ("petroleum-wide", 30))


def main() -> None:
    """Print the promised and the observed power of each space."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=500, help="for the power")
    parser.add_argument("--widths", type=int, default=24, help="studies for the width")
    options = parser.parse_args()
    print("| space | trials | smallest share | promised | observed | standard error ", end="")
    print(
        "| width promised | observed | standard deviation |\n|---|---|---|---|---|---|---|---|---|"
    )
    with every_core():
        spaces = [(name, trials, load_spec(name).search.search_space) for name, trials in SPACES]
        promises = [power.power_of(space, trials) for _, trials, space in spaces]
        power.PERMUTATIONS = 999
        for (name, trials, space), promise in zip(spaces, promises, strict=True):
            cells = judged(space, trials, promise, options.studies, options.widths)
            print(f"| {name} | {trials} | {' | '.join(cells)} |", flush=True)


def judged(
    space: SearchSpace, trials: int, promise: Power, studies: int, widths: int
) -> Iterator[str]:
    """Yield the cells of a space: what was promised and what fresh studies show."""
    pool = power.drawn(space, power.POOL * trials, seed=1)
    size = promise.smallest
    if size is None or not studies:
        yield from ("–",) * 4
    else:
        found = each(lambda i: power.simulated(pool, space, trials, size, [1, i]), range(studies))
        observed = float(np.mean(list(found)))
        error = (observed * (1 - observed) / studies) ** 0.5
        yield from (f"{size:.2f}", f"{power.POWER:.2f}", f"{observed:.3f}", f"{error:.3f}")
    wide = each(lambda i: power.simulated_width(pool, space, trials, [1, i], 100), range(widths))
    width = np.array(list(wide))
    yield from (f"{w:.2f}" for w in (promise.width, width.mean(), width.std(ddof=1)))


if __name__ == "__main__":
    main()
