"""The two surrogates behind one protocol, and the choice between them by held-out error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from analysis.parallel import each
from analysis.surrogates.encoding import Array, Column, Encoding
from analysis.surrogates.forest import Shares, fit_forest
from analysis.surrogates.gaussian_process import (
    MAX_TRIALS,
    GaussianProcessSurrogate,
    fit_gaussian_process,
)
from analysis.surrogates.original import OriginalSurrogate, fit_original

Mask = np.ndarray[Any, np.dtype[np.bool_]]
FOLDS = 5
REFIT_TREES = 24  # of each refitted forest
REFIT_ITERATIONS = 8  # of a process that starts from the whole fit; the spread is that of 15
REFIT_TRIALS = 256  # a subsample needs no more
QUICK_TUNING_TRIALS = 150  # of a process that need not be the best
QUICK_ITERATIONS = 40  # of the same
HELD_OUT_TREES = 32  # of a forest that only predicts
HELD_OUT_TRIALS = 2500  # enough to tell the better surrogate
BLIND_ITERATIONS = 25
BLIND_GAIN = 0.7


class Surrogate(Protocol):
    """What importances need from a fitted model of the objective."""

    @property
    def name(self) -> str:
        """`gp` or `forest`."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """The D parameters."""

    def predict(self, units: Array) -> Array:
        """Return predictions (M,) at (M, D) positions."""

    def shares(self, pairs: bool = True) -> Shares:
        """Return the decomposition of its variance over the unit cube."""

    def share_of(self, subset: Sequence[int]) -> float:
        """Return the share of one subset's own effect, of any size."""

    def curve(self, column: int) -> Array:
        """Return the marginal mean at the column's grid."""


@dataclass(frozen=True)
class Choice:
    """The surrogate chosen, and the held-out R² of each one tried."""

    name: str
    held_out_r2: dict[str, float]
    remark: str | None


def fit(name: str, encoding: Encoding, values: Array, seed: int = 0) -> Surrogate:
    """Fit a surrogate by name; on a complete grid a forest without bootstrap is exact."""
    if name == "gp":
        return fit_gaussian_process(encoding.units, values, encoding.columns, seed=seed)
    if name == "original":
        return fit_original(encoding, values, seed)
    bootstrap = not encoding.is_complete_grid
    return fit_forest(encoding.units, values, encoding.columns, seed, bootstrap=bootstrap)


def refit(
    whole: Surrogate,
    encoding: Encoding,
    values: Array,
    kept: Any,
    seed: int,
    parameters: Sequence[int] | None = None,
) -> Surrogate:
    """Fit the same kind of surrogate to some of the trials, and of the parameters, cheaply."""
    every = range(len(encoding.columns))
    here = list(every if parameters is None else parameters)
    some = replace(
        encoding,
        columns=tuple(encoding.columns[j] for j in here),
        units=encoding.units[kept][:, here],
    )
    if isinstance(whole, GaussianProcessSurrogate):
        return refit_process(whole, encoding, values, kept, seed, here)
    if isinstance(whole, OriginalSurrogate):
        return fit_original(some, values[kept], seed, REFIT_TREES)
    return fit_forest(some.units, values[kept], some.columns, seed, REFIT_TREES)


def refit_process(
    whole: GaussianProcessSurrogate,
    encoding: Encoding,
    values: Array,
    kept: Any,
    seed: int,
    parameters: Sequence[int] | None = None,
) -> GaussianProcessSurrogate:
    """Fit a process to some of the trials, starting from the fit to all of them."""
    width = len(encoding.columns)
    here = np.arange(width) if parameters is None else np.array(parameters)
    start = np.concatenate([whole.theta[here], whole.theta[width + here], whole.theta[-2:]])
    columns = [encoding.columns[j] for j in here]
    units = encoding.units[kept][:, here]
    return fit_gaussian_process(units, values[kept], columns, start, REFIT_ITERATIONS, seed)


def choose(
    wanted: str,
    encoding: Encoding,
    values: Array,
    seed: int = 0,
    tick: Callable[[], None] = lambda: None,
) -> Choice:
    """Return the surrogate to use: the one asked for, or the better predictor for `auto`."""
    names = ("gp", "forest") if wanted == "auto" else (wanted,)
    some, their_values = thinned(encoding, values, seed, HELD_OUT_TRIALS)
    scores = {name: held_out_r2(name, some, their_values, seed, tick) for name in names}
    best = max(scores, key=lambda name: scores[name])
    if wanted != "auto":
        return Choice(wanted, scores, None)
    if encoding.is_complete_grid:
        return Choice("forest", scores, _grid_in_words(encoding))
    labels = {"gp": "the Gaussian process", "forest": "the forest"}
    (other,) = scores.keys() - {best}
    r2, others = r2_in_words(scores[best]), r2_in_words(scores[other])
    remark = (
        f"{labels[best]} was chosen: it predicts held-out trials with R² {r2}, "
        f"{labels[other]} with {others}"
    )
    return Choice(best, scores, remark)


def _grid_in_words(encoding: Encoding) -> str:
    if len(np.unique(encoding.configurations)) < len(encoding.units):
        return "the trials form a complete grid with repeats: no surrogate is needed"
    return "the trials form a complete grid: the shares are exact for the values as measured"


def r2_in_words(r2: float) -> str:
    """Two decimals and a true minus sign, as in the tables."""
    return f"{r2:.2f}".replace("-0.00", "0.00").replace("-", "−")


def held_out_r2(
    name: str,
    encoding: Encoding,
    values: Array,
    seed: int = 0,
    tick: Callable[[], None] = lambda: None,
) -> float:
    """Return 1 - squared error / squared deviation over five folds, equal points in one fold.

    The deviation is from the mean of the training folds, so predicting that mean scores zero.
    """

    def errors(held: Mask) -> tuple[float, float]:
        known, seen = encoding.units[~held], values[~held]
        if name == "gp":
            fitted = fit_gaussian_process(
                known, seen, encoding.columns, None, QUICK_ITERATIONS, seed, QUICK_TUNING_TRIALS
            )
            predicted = fitted.predict(encoding.units[held])
        else:
            predicted = forest.fit(known, seen).predict(encoding.units[held])
        wrong, apart = values[held] - predicted, values[held] - seen.mean()
        return float(np.sum(wrong**2)), float(np.sum(apart**2))

    forest: Any = None if name == "gp" else _forest(seed)  # imported before any child starts
    error, deviation = 0.0, 0.0
    for squared_error, squared_deviation in each(errors, folds(encoding.units, seed)):
        error += squared_error
        deviation += squared_deviation
        tick()
    return 1.0 - error / deviation if deviation > 0 else 0.0


def folds(units: Array, seed: int, count: int = FOLDS) -> list[Mask]:
    """Return up to `count` masks (N,) of held-out trials; equal points share a fold."""
    _, group = np.unique(units, axis=0, return_inverse=True)
    groups = int(group.max()) + 1
    count = min(count, groups)
    fold_of = np.random.default_rng([seed, 2]).permutation(np.arange(groups) % count)
    return [fold_of[group.ravel()] == k for k in range(count)] if groups > 1 else []


@dataclass(frozen=True)
class Blind:
    """What a model of some parameters leaves unexplained.

    `errors` (N,) are leave-one-out errors, `centred` (N,) the deviations from the mean.  `score`
    (N, N) is the kernel of the parameters' effects, each entry times both trials' dual weights: a
    parameter that modulates those effects shows there.
    """

    errors: Array
    centred: Array
    score: Array

    @property
    def residuals(self) -> Array:
        """The errors, where the model explains enough; else the deviations from the mean.

        Where it explains little, errors are just noisier than deviations: the power for a share of
        0.3 falls from 0.98 to 0.92.
        """
        return self._errors_below(BLIND_GAIN)

    @property
    def for_a_dependent(self) -> Array:
        """The same where a tested parameter could inherit even a small effect of the others."""
        return self._errors_below(1.0)

    def _errors_below(self, gain: float) -> Array:
        return self.errors if np.var(self.errors) < gain * np.var(self.centred) else self.centred


def blind_to(encoding: Encoding, values: Array, others: Sequence[int], seed: int = 0) -> Blind:
    """Fit a Gaussian process on some parameters only: the others of the one that is tested."""
    centred = values - values.mean()
    if not len(others):
        return Blind(centred, centred, np.zeros((len(centred), len(centred))))
    # the test is exact however good this fit is, so a quick one suffices
    fitted = fit_gaussian_process(
        encoding.units[:, others],
        values,
        [encoding.columns[k] for k in others],
        None,
        BLIND_ITERATIONS,
        seed,
        QUICK_TUNING_TRIALS,
    )
    share = fitted.scales / fitted.scales.sum()
    effects = sum(s * gram.trials for s, gram in zip(share, fitted.grams, strict=True))
    weights = fitted.weights - fitted.weights.mean()
    score = np.outer(weights, weights) * np.asarray(effects)
    return Blind(fitted.leave_one_out(), centred, score)


def thinned(
    encoding: Encoding, values: Array, seed: int = 0, most: int = MAX_TRIALS
) -> tuple[Encoding, Array]:
    """Return at most as many trials as a Gaussian process takes, or `most`, drawn at random."""
    if len(values) <= most:
        return encoding, values
    kept = np.random.default_rng([seed, 5]).permutation(len(values))[:most]
    return (
        Encoding(encoding.columns, encoding.units[kept], encoding.inactive, encoding.excluded),
        values[kept],
    )


def _forest(seed: int) -> Any:
    from sklearn.ensemble import RandomForestRegressor

    return RandomForestRegressor(n_estimators=HELD_OUT_TREES, random_state=seed, n_jobs=1)
