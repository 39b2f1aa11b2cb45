"""What a seed and a number alone decide: a Sobol point, or a parameter's random value."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution

from search_spaces.unit_cube import from_unit
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


def random_value(seed: int, index: int, name: str, distribution: BaseDistribution) -> Any:
    """Return a parameter's value in the `index`-th random point, uniform on its own scale."""
    unit = np.random.default_rng(derive_seed(seed, index, name)).random()
    return from_unit(distribution, float(unit))
