"""The original fANOVA against ours on the same trials: the same answer within forest noise?

    nox -s fanova

Largest difference of a main effect or pair between the original and our forest, beside the largest
difference between two seeds of our own forest; the mean absolute error of each against the truth;
and the seconds of the main effects.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import time

import numpy as np
from importance_suite import CASES

from analysis.surrogates.encoding import Array, encode
from analysis.surrogates.forest import Shares, fit_forest
from analysis.surrogates.original import original_shares


def main() -> None:
    """Print one line a case, then the means."""
    rows = []
    for case in CASES:
        points, values, truth = case.trials(100, 0.1, 0)
        encoding = encode(points, case.distributions)
        columns = encoding.columns
        start = time.perf_counter()
        theirs = original_shares(encoding.units, values, pairs=False)
        their_seconds = time.perf_counter() - start
        theirs = original_shares(encoding.units, values)
        start = time.perf_counter()
        ours = fit_forest(encoding.units, values, columns, seed=0).shares()
        our_seconds = time.perf_counter() - start
        again = fit_forest(encoding.units, values, columns, seed=1).shares()
        between, within = _largest(theirs, ours), _largest(ours, again)
        errors = [float(np.abs(s.main - truth).mean()) for s in (theirs, ours)]
        rows.append((between, within, *errors, their_seconds, our_seconds))
        print(
            f"{case.name}: original against ours {between:.3f}, two seeds of ours {within:.3f}; "
            f"error {errors[0]:.3f} and {errors[1]:.3f}; {their_seconds:.2f} s without pairs, "
            f"ours {our_seconds:.2f} s with them",
            flush=True,
        )
    mean = np.mean(rows, axis=0)
    print(f"mean: original against ours {mean[0]:.3f}, two seeds of ours {mean[1]:.3f}")
    print(f"mean absolute error: original {mean[2]:.4f}, our forest {mean[3]:.4f}")


def _largest(one: Shares, other: Shares) -> float:
    difference: Array = np.concatenate([one.main - other.main, (one.pairs - other.pairs).ravel()])
    return float(np.abs(difference).max())


if __name__ == "__main__":
    main()
