"""A small Gaussian process over a search space, for expected improvement.

Matérn 5/2 over the distance in `Coordinates`, with one length for all of them, one noise, and the
exponent p of the rank in the product; expected improvement is averaged over these by their
posterior.  The lengths of the coordinates relative to each other are fixed: with eight trials,
fitted ones are noise.  (The process in `analysis.surrogates` fits a length and a scale for each
parameter and integrates effects, which takes fifty times as long for each proposal.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from study.kinds.metrics import Array
from study.searching.coordinates import Coordinates

LENGTHS = (0.35, 0.5, 0.75, 1.0, 1.5)
NOISES = (0.05, 0.2, 0.5)  # variances, of standardised values
EXPONENTS = (0.0, 0.25, 0.5, 0.75, 1.0)
LENGTH_PRIOR, NOISE_PRIOR = (1.0, 0.5), (0.2, 1.0)  # medians and deviations of the logarithm
KEPT = 6  # settings that proposals are averaged over
JITTER = 1e-8


@dataclass(frozen=True)
class Setting:
    """Hyperparameters with their fit: weights (N,) and the covariance's Cholesky factor (N, N)."""

    length: float
    noise: float
    exponent: float
    log_posterior: float
    factor: Array
    weights: Array


@dataclass(frozen=True)
class Process:
    """A process fitted to N trials, as the settings that are probable, best first.

    `units` (N, D) are their positions, `values` (N,) what is maximised; `extra` (N,) is the finite
    variance of each value that is an estimate, and zero for the others.
    """

    coordinates: Coordinates
    units: Array
    values: Array
    extra: Array
    settings: tuple[Setting, ...]

    @property
    def centre(self) -> float:
        """The values' mean."""
        return float(self.values.mean())

    @property
    def unit(self) -> float:
        """The values' standard deviation, or 1 if all are equal."""
        return float(self.values.std()) or 1.0

    @property
    def shares(self) -> Array:
        """The posterior probabilities of the settings, (M,), which add up to one."""
        logs = np.array([setting.log_posterior for setting in self.settings])
        weights = np.exp(logs - logs.max())
        return np.asarray(weights / weights.sum())

    @property
    def exponent(self) -> float:
        """The posterior mean of p."""
        return float(self.shares @ [setting.exponent for setting in self.settings])

    def predict(self, units: Array) -> Array:
        """Return the mean (Q,) at positions (Q, D), on the scale of the values."""
        means = [self._posterior(setting, units, units[:0])[0] for setting in self.settings]
        return np.asarray(self.centre + self.unit * (self.shares @ np.array(means)))

    def improvement(self, units: Array, running: Array) -> Array:
        """Return the expected improvement (Q,) over the best value at positions (Q, D).

        Trials at `running` (R, D) are still in training: each is expected to end at its mean, so it
        lowers the uncertainty around it (Ginsbourger et al. 2010, the "Kriging believer").
        """
        from scipy.special import ndtr

        best = (float(self.values.max()) - self.centre) / self.unit
        total = np.zeros(len(units))
        for share, setting in zip(self.shares, self.settings, strict=True):
            mean, deviation = self._posterior(setting, units, running)
            by = (mean - best) / deviation
            density = np.exp(-0.5 * by**2) / math.sqrt(2.0 * math.pi)
            total += share * deviation * (by * ndtr(by) + density)
        return total

    def _posterior(self, setting: Setting, units: Array, running: Array) -> tuple[Array, Array]:
        """Return standardised mean and deviation, (Q,) each."""
        from scipy.linalg import cholesky, solve_triangular

        at, length = self.coordinates.places(units, setting.exponent), setting.length
        known = self.coordinates.places(self.units, setting.exponent)
        cross, factor = _matern(at, known, length), setting.factor
        mean = cross @ setting.weights
        if len(running):
            both = np.vstack([known, self.coordinates.places(running, setting.exponent)])
            noise = np.concatenate([self.extra / self.unit**2, np.zeros(len(running))])
            covariance = _matern(both, both, length) + np.diag(noise + setting.noise + JITTER)
            cross, factor = _matern(at, both, length), cholesky(covariance, lower=True)
        reduced = solve_triangular(factor, cross.T, lower=True)
        return mean, np.sqrt(np.maximum(1.0 - (reduced**2).sum(axis=0), 1e-6))


def fit_process(coordinates: Coordinates, units: Array, values: Array, extra: Array) -> Process:
    """Fit a process to positions (N, D) and values (N,) to maximise; N must be at least 1.

    Values far below the rest are raised to a floor: how bad a diverged training is tells nothing
    about where the best one is, but would take all of the variance.
    """
    values = _raised(values)
    process = Process(coordinates, units, values, extra, ())
    exponents = EXPONENTS if coordinates.rank is not None else EXPONENTS[:1]
    tried = list(product(exponents, LENGTHS, NOISES))  # M settings
    places = [coordinates.places(units, exponent) for exponent in exponents]
    scaled = [_distances(at, at) / length for at in places for length in LENGTHS]
    covariances = np.repeat(_matern_of(np.array(scaled)), len(NOISES), axis=0)  # (M, N, N)
    noise = np.array([own for _, _, own in tried])[:, None] + extra / process.unit**2 + JITTER
    diagonal = np.arange(len(values))
    covariances[:, diagonal, diagonal] += noise
    targets = (values - process.centre) / process.unit
    factors = np.linalg.cholesky(covariances)
    weights = np.linalg.solve(
        covariances, np.broadcast_to(targets[:, None], (len(tried), len(values), 1))
    )[..., 0]
    logs = -0.5 * weights @ targets - np.log(factors[:, diagonal, diagonal]).sum(axis=1)
    logs += [_log_prior(length, own) for _, length, own in tried]
    settings = [
        Setting(length, own, exponent, float(logs[i]), factors[i], weights[i])
        for i, (exponent, length, own) in enumerate(tried)
    ]
    settings.sort(key=lambda setting: -setting.log_posterior)
    return replace(process, settings=tuple(settings[:KEPT]))


def _log_prior(length: float, noise: float) -> float:
    pairs = ((length, LENGTH_PRIOR), (noise, NOISE_PRIOR))
    return -0.5 * sum((math.log(value / m) / deviation) ** 2 for value, (m, deviation) in pairs)


def _raised(values: Array) -> Array:
    low, high = np.quantile(values, [0.25, 0.9])
    return np.asarray(np.maximum(values, low - (high - low)))


def _matern(a: Array, b: Array, length: float) -> Array:
    return _matern_of(_distances(a, b) / length)


def _matern_of(distances: Array) -> Array:
    scaled = math.sqrt(5.0) * distances
    return np.asarray((1.0 + scaled + scaled**2 / 3.0) * np.exp(-scaled))


def _distances(a: Array, b: Array) -> Array:
    """Return the distances (N, M) between rows of (N, C) and (M, C)."""
    squared = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2.0 * a @ b.T
    return np.asarray(np.sqrt(np.maximum(squared, 0.0)))
