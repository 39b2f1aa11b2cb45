"""Positions drawn uniformly, and what the marginal curve of a surrogate must be over them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from analysis.surrogates.encoding import Array, Column


def draw(columns: tuple[Column, ...], count: int, seed: int) -> Array:
    """Return (count, D) positions, uniform in each column's measure."""
    rng = np.random.default_rng(seed)
    drawn = [
        rng.random(count) if c.positions is None else rng.choice(c.positions, count, p=c.weights)
        for c in columns
    ]
    return np.stack(drawn, axis=1)


def hold_mean_curve(
    surrogate: Any, columns: tuple[Column, ...], which: int, sample: Array, within: float
) -> None:
    """Compare a column's curve with the mean predictions over (N, D) with each level fixed."""
    positions = columns[which].positions
    assert positions is not None
    for position, height in zip(positions, surrogate.curve(which), strict=True):
        sample[:, which] = position
        assert surrogate.predict(sample).mean() == pytest.approx(height, abs=within)
