"""One point of a scrambled Sobol sequence."""

from __future__ import annotations

import warnings

import numpy as np

from study.kinds.metrics import Array
from study.seeds import derive_seed


def sobol_point(dimensions: int, seed: int, index: int) -> Array:
    """Return the `index`-th point of the sequence that belongs to a seed, (dimensions,)."""
    from scipy.stats import qmc

    sequence = qmc.Sobol(dimensions, rng=np.random.default_rng(derive_seed(seed, "sobol")))
    if index:  # scipy refuses to skip zero points
        sequence.fast_forward(index)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", UserWarning
        )  # scipy warns that one point is not a balanced block
        return np.asarray(sequence.random(1)[0])
