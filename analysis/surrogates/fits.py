"""One Gaussian process of a study's trials and its refits on parts of them, each fitted once.

Joint effects, the effect of the size and the surface over two parameters all use it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from analysis.parallel import each
from analysis.surrogates.choice import REFIT_TRIALS, held_out_r2, refit_process, thinned
from analysis.surrogates.encoding import Array, Encoding, encode
from analysis.surrogates.gaussian_process import GaussianProcessSurrogate, fit_gaussian_process

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

HELD_OUT_TRIALS = 160  # enough to rank coordinates by their predictions


@dataclass(frozen=True)
class Surface:
    """The mean objective over two parameters: `mean` and `deviation` are (G, H)."""

    names: tuple[str, str]
    values: tuple[tuple[Any, ...], tuple[Any, ...]]
    is_log: tuple[bool, bool]
    mean: Array = field(repr=False)
    deviation: Array = field(repr=False)


@dataclass(frozen=True)
class Fits:
    """N trials with finite values and the processes fitted to them, each on first use.

    `kept` says which of the given trials these are.
    """

    points: Sequence[Mapping[str, Any]]
    distributions: Mapping[str, BaseDistribution]
    kept: np.ndarray[Any, np.dtype[np.bool_]]
    encoding: Encoding
    target: Array
    seed: int
    resamples: int

    @classmethod
    def of(
        cls,
        points: Sequence[Mapping[str, Any]],
        values: ArrayLike,
        distributions: Mapping[str, BaseDistribution],
        *,
        seed: int = 0,
        resamples: int = 20,
    ) -> Fits:
        """Return the fits of finished trials, `resamples` of them on random halves."""
        target = np.asarray(values, dtype=float)
        kept = np.isfinite(target)
        some = [p for p, ok in zip(points, kept, strict=True) if ok]
        encoding = encode(some, distributions, seed)
        return cls(some, distributions, kept, encoding, target[kept], seed, resamples)

    @property
    def say_something(self) -> bool:
        """Whether there are enough trials to fit a process, with values that differ."""
        return len(self.target) >= 10 and bool(np.ptp(self.target) > 0)

    @cached_property
    def whole(self) -> GaussianProcessSurrogate:
        """The process of all trials."""
        return fit_gaussian_process(
            self.encoding.units, self.target, self.encoding.columns, seed=self.seed
        )

    @property
    def part(self) -> float:
        """The share of the trials that each of `parts` saw."""
        return self._part_size / len(self.target)

    @cached_property
    def parts(self) -> list[GaussianProcessSurrogate]:
        """Processes of random parts, no trial twice in one part."""
        rng = np.random.default_rng([self.seed, 7])
        parts = [self.encoding.some(self._part_size, rng) for _ in range(self.resamples)]
        whole = self.whole  # fitted before there are children to fit it

        def fitted(b: int) -> GaussianProcessSurrogate:
            return refit_process(whole, self.encoding, self.target, parts[b], self.seed + b)

        return list(each(fitted, range(self.resamples)))

    @cached_property
    def held_out_r2(self) -> float:
        """The R² of a process on held-out trials, of a few hundred at most."""
        return self.held_out_r2_in(self.encoding)

    def held_out_r2_in(self, encoding: Encoding) -> float:
        """Return the same where the trials are encoded in another way."""
        return held_out_r2(
            "gp", *thinned(encoding, self.target, self.seed, HELD_OUT_TRIALS), self.seed
        )

    def surface(self, names: tuple[str, str]) -> Surface:
        """Return the mean objective over two parameters, all others averaged out.

        Raises ValueError for a parameter that has no effect to show.
        """
        encoding = self.encoding
        for name in names:
            if name not in encoding.names:
                why = encoding.excluded.get(name, "no such parameter")
                raise ValueError(f"surface: nothing to show for {name!r}: {why}")
        pair = [encoding.names.index(name) for name in names]
        one, other = (encoding.columns[j] for j in pair)
        grid = np.array([(a, b) for a in one.grid() for b in other.grid()])  # (G · H, 2)
        mean, deviation = self.whole.marginal(pair, grid)
        shape = (len(one.grid()), len(other.grid()))
        return Surface(
            names,
            (one.grid_values(), other.grid_values()),
            (one.is_log, other.is_log),
            mean.reshape(shape),
            deviation.reshape(shape),
        )

    @property
    def _part_size(self) -> int:
        return min(max(len(self.target) // 2, 5), REFIT_TRIALS)


def surface(fits: Fits, names: tuple[str, str]) -> Surface:
    """Return the mean objective over two parameters, all others averaged out."""
    return fits.surface(names)
