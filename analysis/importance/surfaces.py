"""The mean objective over two parameters, all others averaged out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from analysis.surrogates.encoding import Array
from analysis.surrogates.fits import Fits


@dataclass(frozen=True)
class Surface:
    """The mean objective over two parameters: `mean` and `deviation` are (G, H)."""

    names: tuple[str, str]
    values: tuple[tuple[Any, ...], tuple[Any, ...]]
    is_log: tuple[bool, bool]
    mean: Array = field(repr=False)
    deviation: Array = field(repr=False)


def surface(fits: Fits, names: tuple[str, str]) -> Surface:
    """Return the mean objective over two parameters, all others averaged out, with its deviation.

    Raises ValueError for a parameter that has no effect to show.
    """
    encoding = fits.encoding
    for name in names:
        if name not in encoding.names:
            why = encoding.excluded.get(name, "no such parameter")
            raise ValueError(f"surface: nothing to show for {name!r}: {why}")
    pair = [encoding.names.index(name) for name in names]
    one, other = (encoding.columns[j] for j in pair)
    grid = np.array([(a, b) for a in one.grid() for b in other.grid()])  # (G · H, 2)
    mean, deviation = fits.whole.marginal(pair, grid)
    shape = (len(one.grid()), len(other.grid()))
    return Surface(
        names,
        (one.grid_values(), other.grid_values()),
        (one.is_log, other.is_log),
        mean.reshape(shape),
        deviation.reshape(shape),
    )
