"""The authors' own fANOVA (package `fanova`, Hutter et al. 2014) on the same encoded trials.

A cross-check: its forest is pyrfr's, and its marginals are computed in C++.  It needs a separate
environment (`nox -s fanova`): pyrfr has no wheel and builds with swig 4.1, and `fanova` uses
`numpy.float`, which numpy removed and which is put back for the call.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import combinations
from typing import Any

import numpy as np

from analysis.surrogates.encoding import Array, Column, Encoding
from analysis.surrogates.forest import TREES, ForestSurrogate, Shares, fit_forest

NOT_INSTALLED = (
    "the original fANOVA is not installed: it is the extra `fanova` of optuna-study and needs swig "
    "4.1 to build; `nox -s fanova` shows how"
)


@dataclass(frozen=True)
class OriginalSurrogate:
    """Shares by the original; predictions, curves and larger subsets by our forest."""

    forest: ForestSurrogate
    units: Array
    values: Array
    seed: int
    trees: int
    name: str = "forest"

    @property
    def columns(self) -> tuple[Column, ...]:
        """The D parameters."""
        return self.forest.columns

    def predict(self, units: Array) -> Array:
        """Return predictions (M,) at (M, D) positions."""
        return self.forest.predict(units)

    def shares(self, pairs: bool = True) -> Shares:
        """Return the original's shares."""
        return original_shares(self.units, self.values, self.seed, self.trees, pairs)

    def share_of(self, subset: Sequence[int]) -> float:
        """Return the share of one subset's own effect, of any size."""
        return self.forest.share_of(subset)

    def curve(self, column: int) -> Array:
        """Return the marginal mean at the column's grid."""
        return self.forest.curve(column)


def is_installed() -> bool:
    """Whether the authors' package can be imported here."""
    return find_spec("fanova") is not None


def fit_original(
    encoding: Encoding, values: Array, seed: int = 0, trees: int = TREES
) -> OriginalSurrogate:
    """Fit both forests to (N, D) encoded trials and (N,) values."""
    forest = fit_forest(encoding.units, values, encoding.columns, seed, trees)
    return OriginalSurrogate(forest, encoding.units, values, seed, trees)


def original_shares(
    units: Array, values: Array, seed: int = 0, trees: int = TREES, pairs: bool = True
) -> Shares:
    """Return the original's shares of N trials: main effects (D,), pairs (D, D).

    It averages over trees of positive variance, as ours does; it reports no total and no noise.
    Raises ModuleNotFoundError, with a hint, where the package is not installed.
    """
    forest = _fitted(units, values, seed, trees)
    width = units.shape[1]
    main = np.array([_own(forest, (j,)) for j in range(width)])
    both = np.zeros((width, width))
    for j, k in combinations(range(width), 2) if pairs else ():
        both[j, k] = both[k, j] = max(_own(forest, (j, k)), 0.0)
    return Shares(main, both, 0.0, float(values.var()))


def _fitted(units: Array, values: Array, seed: int, trees: int) -> Any:
    if not hasattr(np, "float"):
        np.float = float  # type: ignore[attr-defined]
    try:
        from ConfigSpace import ConfigurationSpace  # type: ignore[import-not-found]
        from fanova import fANOVA  # type: ignore[import-not-found]
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(NOT_INSTALLED) from error
    logging.getLogger("fanova").setLevel(logging.ERROR)
    # names that sort as the columns do: ConfigSpace orders by name
    space = ConfigurationSpace({f"x{j:03d}": (0.0, 1.0) for j in range(units.shape[1])})
    return fANOVA(
        units,
        values,
        config_space=space,
        n_trees=trees,
        seed=seed,
        max_features=units.shape[1],  # as scikit-learn; its default is 7 in 10
        min_samples_split=2,
        min_samples_leaf=1,
    )


def _own(forest: Any, subset: tuple[int, ...]) -> float:
    return float(forest.quantify_importance(subset)[subset]["individual importance"])
