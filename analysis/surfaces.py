"""The mean objective over two parameters, all others averaged out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from analysis.encoding import Array, encode
from analysis.gaussian_process import fit_gaussian_process

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


@dataclass(frozen=True)
class Surface:
    """The mean objective over two parameters: `mean` and `deviation` are (G, H)."""

    names: tuple[str, str]
    values: tuple[tuple[Any, ...], tuple[Any, ...]]
    is_log: tuple[bool, bool]
    mean: Array
    deviation: Array


def surface(
    points: Sequence[Mapping[str, Any]],
    values: ArrayLike,
    distributions: Mapping[str, BaseDistribution],
    names: tuple[str, str],
    seed: int = 0,
) -> Surface:
    """Return the mean objective over two parameters, all others averaged out, with its deviation.

    Raises ValueError for a parameter that has no effect to show.
    """
    target = np.asarray(values, dtype=float)
    finite = np.isfinite(target)
    encoding = encode([p for p, ok in zip(points, finite, strict=True) if ok], distributions, seed)
    for name in names:
        if name not in encoding.names:
            why = encoding.excluded.get(name, "no such parameter")
            raise ValueError(f"surface: nothing to show for {name!r}: {why}")
    pair = [encoding.names.index(name) for name in names]
    fitted = fit_gaussian_process(encoding.units, target[finite], encoding.columns, seed=seed)
    one, other = (encoding.columns[j] for j in pair)
    grid = np.array([(a, b) for a in one.grid() for b in other.grid()])  # (G · H, 2)
    mean, deviation = fitted.marginal(pair, grid)
    shape = (len(one.grid()), len(other.grid()))
    return Surface(
        names,
        (one.grid_values(), other.grid_values()),
        (one.is_log, other.is_log),
        mean.reshape(shape),
        deviation.reshape(shape),
    )
