"""Which parameters a study's result depends on, and whether to believe it.

`importances` takes plain trials (one dict of parameters and one value each) and their Optuna
distributions; reading them from a database belongs to `analysis.trials`.  The question answered is
that of functional ANOVA: where, over the whole search space, does the variance of the objective
come from?  Shares are of the surrogate's variance over the unit cube, noise included, and are not
rescaled: what main effects and pairs leave is `unexplained`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from analysis.encoding import Array, Column, Encoding, encode
from analysis.evidence import Chance, chance, doubts, intervals
from analysis.fanova import ForestSurrogate, Shares, fit_forest

if TYPE_CHECKING:
    import pandas as pd
    from optuna.distributions import BaseDistribution

KEPT = 0.5  # share of the trials in a subsample
RESAMPLE_TREES = 24
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ParameterImportance:
    """One main effect: its share, 95 % interval, chance line and verdict."""

    name: str
    importance: float
    ci: tuple[float, float]
    null: float
    significant: bool


@dataclass(frozen=True)
class InteractionImportance:
    """The share of two or more parameters beyond their effects alone."""

    names: tuple[str, ...]
    importance: float
    ci: tuple[float, float]


@dataclass(frozen=True)
class Marginal:
    """The mean objective along one parameter, all others averaged out, with a 95 % band.

    `values` are external values in the parameter's own order; `mean`, `low`, `high` are (G,).
    """

    name: str
    values: tuple[Any, ...]
    mean: Array
    low: Array
    high: Array
    is_log: bool
    is_categorical: bool


@dataclass(frozen=True)
class Importances:
    """A study's importances and what they rest on."""

    study: str
    objective: str
    direction: str
    evaluator: str
    surrogate: str
    trials: dict[str, int]
    reliable: bool
    reasons: tuple[str, ...]
    held_out_r2: float
    parameters: tuple[ParameterImportance, ...]
    interactions: tuple[InteractionImportance, ...]
    unexplained: float
    marginals: tuple[Marginal, ...] = ()
    excluded: Mapping[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the document that `optuna-study importance --json` prints."""
        return {
            "study": self.study,
            "objective": self.objective,
            "direction": self.direction,
            "evaluator": self.evaluator,
            "surrogate": self.surrogate,
            "trials": dict(self.trials),
            "reliable": self.reliable,
            "reasons": list(self.reasons),
            "held_out_r2": self.held_out_r2,
            "parameters": [
                {
                    "name": p.name,
                    "importance": p.importance,
                    "ci": list(p.ci),
                    "null": p.null,
                    "significant": p.significant,
                }
                for p in self.parameters
            ],
            "interactions": [
                {"names": list(i.names), "importance": i.importance, "ci": list(i.ci)}
                for i in self.interactions
            ],
            "unexplained": self.unexplained,
            "excluded": dict(self.excluded),
            "remarks": list(self.remarks),
        }

    def to_frame(self) -> pd.DataFrame:
        """Return one row a parameter: name, importance, ci_low, ci_high, null, significant."""
        import pandas as pd

        return pd.DataFrame(
            [(p.name, p.importance, *p.ci, p.null, p.significant) for p in self.parameters],
            columns=["name", "importance", "ci_low", "ci_high", "null", "significant"],
        )


def importances(
    points: Sequence[Mapping[str, Any]],
    values: ArrayLike,
    distributions: Mapping[str, BaseDistribution],
    *,
    surrogate: str = "auto",
    seed: int = 0,
    resamples: int = 100,
    objective: str = "value",
    direction: str = "maximize",
    study: str = "",
    counts: Mapping[str, int] | None = None,
    progress: Progress | None = None,
) -> Importances:
    """Return the fANOVA importances of N finished trials with their evidence.

    `points` and `values` hold one entry a COMPLETE trial; enqueued points and baselines are left
    out by the caller.  Values that are not finite are dropped with a remark.  Where nothing can be
    said the result has no parameters, `reliable` false and the reasons in words.  Raises ValueError
    for input that contradicts itself.
    """
    if surrogate not in ("auto", "gp", "forest"):
        raise ValueError(f"surrogate must be 'auto', 'gp' or 'forest' but got {surrogate!r}")
    target = np.asarray(values, dtype=float)
    if target.shape != (len(points),):
        raise ValueError(f"{len(points)} points need {len(points)} values, got {target.shape}")
    finite = np.isfinite(target)
    encoding = encode([p for p, ok in zip(points, finite, strict=True) if ok], distributions, seed)
    remarks = _remarks(encoding, int((~finite).sum()))
    target = target[finite]
    head: dict[str, Any] = {
        "study": study,
        "objective": objective,
        "direction": direction,
        "evaluator": "fanova",
        "trials": {**_counted(counts, len(points)), "used": len(target)},
        "excluded": encoding.excluded,
        "remarks": remarks,
    }
    if reason := _nothing_to_say(target, encoding):
        return _empty(head, (reason,))
    return _measured(head, encoding, target, seed, resamples, progress)


def _measured(
    head: dict[str, Any],
    encoding: Encoding,
    target: Array,
    seed: int,
    resamples: int,
    progress: Progress | None,
) -> Importances:
    columns = encoding.columns
    fitted = fit_forest(encoding.units, target, columns, seed)
    shares = fitted.shares()
    r2 = _held_out_r2(encoding.units, target, seed)
    verdict = _chance(encoding, target, seed)
    refits = _resample(encoding, target, seed, resamples, progress)
    low, high = _interval(shares.main, [s.main for s, _ in refits])
    parameters = [
        ParameterImportance(
            name,
            float(shares.main[j]),
            (float(low[j]), float(high[j])),
            float(verdict.line[j]),
            bool(verdict.significant[j] and shares.main[j] > verdict.line[j]),
        )
        for j, name in enumerate(encoding.names)
    ]
    interactions = _interactions(encoding.names, shares, [s for s, _ in refits])
    explained = shares.main.sum() + sum(i.importance for i in interactions)
    reasons = doubts(len(target), len(columns), r2)
    return Importances(
        **head,
        surrogate=fitted.name,
        reliable=not reasons,
        reasons=tuple(reasons),
        held_out_r2=r2,
        parameters=tuple(sorted(parameters, key=lambda p: -p.importance)),
        interactions=tuple(sorted(interactions, key=lambda i: -i.importance)),
        unexplained=float(max(1.0 - explained, 0.0)),
        marginals=_marginals(fitted, [curves for _, curves in refits]),
    )


def _held_out_r2(units: Array, target: Array, seed: int) -> float:
    """Return 1 - squared error / variance of five-fold cross-validation, duplicates in one fold."""
    predicted = np.empty(len(target))
    for held in folds(units, seed):
        from sklearn.ensemble import RandomForestRegressor

        forest = RandomForestRegressor(n_estimators=64, random_state=seed, n_jobs=1)
        predicted[held] = forest.fit(units[~held], target[~held]).predict(units[held])
    return float(1.0 - np.sum((target - predicted) ** 2) / np.sum((target - target.mean()) ** 2))


def folds(units: Array, seed: int, count: int = 5) -> list[np.ndarray[Any, np.dtype[np.bool_]]]:
    """Return up to `count` masks (N,) of held-out trials; equal points share a fold."""
    _, group = np.unique(units, axis=0, return_inverse=True)
    groups = int(group.max()) + 1
    count = min(count, groups)
    fold_of = np.random.default_rng([seed, 2]).permutation(np.arange(groups) % count)
    return [fold_of[group.ravel()] == k for k in range(count)]


def _chance(encoding: Encoding, target: Array, seed: int) -> Chance:
    residuals = np.stack(
        [target - _without(encoding.units, target, j, seed) for j in range(len(encoding.columns))]
    )
    return chance(encoding.units, residuals, float(target.var()), encoding.columns, seed)


def _without(units: Array, target: Array, j: int, seed: int) -> Array:
    """Return out-of-fold predictions (N,) that never saw parameter j."""
    from sklearn.ensemble import RandomForestRegressor

    others = np.delete(units, j, axis=1)
    predicted = np.full(len(target), target.mean())
    if others.shape[1] == 0:
        return predicted
    for held in folds(others, seed):
        if held.all():
            continue
        forest = RandomForestRegressor(n_estimators=32, random_state=seed, n_jobs=1)
        predicted[held] = forest.fit(others[~held], target[~held]).predict(others[held])
    # a prediction worse than the mean would only add noise to the test
    worth = np.var(target - predicted) < np.var(target)
    return predicted if worth else np.full(len(target), target.mean())


def _resample(
    encoding: Encoding, target: Array, seed: int, resamples: int, progress: Progress | None
) -> list[tuple[Shares, list[Array]]]:
    rng = np.random.default_rng([seed, 3])
    size = max(int(KEPT * len(target)), 2)
    result = []
    for index in range(resamples):
        kept = rng.permutation(len(target))[:size]
        fitted = fit_forest(
            encoding.units[kept], target[kept], encoding.columns, index, RESAMPLE_TREES
        )
        curves = [fitted.curve(j) for j in range(len(encoding.columns))]
        result.append((fitted.shares(), curves))
        if progress:
            progress(index + 1, resamples)
    return result


def _interval(estimate: Array, refits: list[Array]) -> tuple[Array, Array]:
    if len(refits) < 2:
        return np.zeros_like(estimate), np.ones_like(estimate)
    return intervals(estimate, np.stack(refits), KEPT)


def _interactions(
    names: Sequence[str], shares: Shares, refits: list[Shares]
) -> list[InteractionImportance]:
    low, high = _interval(shares.pairs, [s.pairs for s in refits])
    return [
        InteractionImportance(
            (names[j], names[k]), float(shares.pairs[j, k]), (float(low[j, k]), float(high[j, k]))
        )
        for j, k in combinations(range(len(names)), 2)
    ]


def _marginals(fitted: ForestSurrogate, refits: list[list[Array]]) -> tuple[Marginal, ...]:
    return tuple(
        _marginal(column, fitted.curve(j), [curves[j] for curves in refits])
        for j, column in enumerate(fitted.columns)
    )


def _marginal(column: Column, mean: Array, refits: list[Array]) -> Marginal:
    spread = np.zeros((2, len(mean)))
    if len(refits) > 1:
        stacked = np.stack(refits)
        spread = np.quantile(stacked - np.median(stacked, axis=0), [0.025, 0.975], axis=0)
    return Marginal(
        column.name,
        column.grid_values(),
        mean,
        mean + spread[0],
        mean + spread[1],
        column.is_log,
        column.is_categorical,
    )


def _nothing_to_say(target: Array, encoding: Encoding) -> str | None:
    if len(target) == 0:
        return "no finished trial with a finite value"
    if len(target) == 1:
        return "a single finished trial: nothing varies"
    if np.ptp(target) <= 1e-12 * max(np.abs(target).max(), 1e-300):
        return f"the objective is constant: all {len(target)} trials have the value {target[0]:g}"
    if not encoding.columns:
        return "no parameter varied over the trials"
    if len(target) < 5:
        return f"too few trials: {len(target)}; no surrogate can be fitted to fewer than 5"
    return None


def _empty(head: dict[str, Any], reasons: tuple[str, ...]) -> Importances:
    return Importances(
        **head,
        surrogate="none",
        reliable=False,
        reasons=reasons,
        held_out_r2=0.0,
        parameters=(),
        interactions=(),
        unexplained=1.0,
    )


def _counted(counts: Mapping[str, int] | None, complete: int) -> dict[str, int]:
    given = dict(counts or {})
    return {
        "complete": given.pop("complete", complete),
        "pruned": given.pop("pruned", 0),
        "failed": given.pop("failed", 0),
        **given,
    }


def _remarks(encoding: Encoding, not_finite: int) -> tuple[str, ...]:
    remarks = [f"{name} is left out: {why}" for name, why in encoding.excluded.items()]
    remarks += [
        f"{name} is inactive in {count} of {len(encoding.units)} trials; there it counts as a "
        "parameter without effect"
        for name, count in encoding.inactive.items()
    ]
    if not_finite:
        remarks.append(f"{not_finite} trials have no finite value and are left out")
    return tuple(remarks)
