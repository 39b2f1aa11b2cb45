"""How far are the shares from the truth?  Ours against Optuna's evaluators and a unit-cube forest.

Mean absolute error of the main-effect shares over the suite, at 60, 100 and 300 random trials and
noise of 0, 10 and 30 % of the variance:

    python benchmarks/importance_accuracy.py --seeds 3

Optuna rescales its shares to add up to one.  It is measured twice: against the true shares of the
whole (what we report), and against the true main effects rescaled the same way (what it reports).
The aims are checked against the smaller of the two, which favours Optuna.
"""

from __future__ import annotations

import argparse
import os
import warnings
from collections import defaultdict
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import optuna
from importance_suite import CASES, NOISE, Case

from analysis.importance.variance import importances
from analysis.surrogates.encoding import Array, encode
from analysis.surrogates.forest import fit_forest

Points = list[dict[str, Any]]


def ours(case: Case, points: Points, values: Array, surrogate: str = "auto") -> Array:
    """Return our main effects in the case's order, without the resampling."""
    result = importances(points, values, case.distributions, resamples=0, surrogate=surrogate)
    shares = {p.name: p.importance for p in result.parameters}
    return np.array([shares.get(name, 0.0) for name in case.distributions])


def unit_cube_forest(case: Case, points: Points, values: Array) -> Array:
    """Return what fANOVA as published gives when its inputs stand on the unit cube."""
    encoding = encode(points, case.distributions)
    return fit_forest(encoding.units, values, encoding.columns).shares(pairs=False).main


def optunas(evaluator: Callable[[], Any]) -> Callable[[Case, Points, Array], Array]:
    """Return an estimator from one of Optuna's evaluators."""

    def estimate(case: Case, points: Points, values: Array) -> Array:
        study = optuna.create_study(direction="maximize")
        study.add_trials(
            [
                optuna.trial.create_trial(params=p, distributions=case.distributions, value=v)
                for p, v in zip(points, values, strict=True)
            ]
        )
        found = optuna.importance.get_param_importances(study, evaluator=evaluator())
        return np.array([found[name] for name in case.distributions])

    return estimate


RESCALED = {
    "optuna fANOVA": optunas(lambda: optuna.importance.FanovaImportanceEvaluator(seed=0)),
    "optuna MDI": optunas(
        lambda: optuna.importance.MeanDecreaseImpurityImportanceEvaluator(seed=0)
    ),
    "optuna PED-ANOVA": optunas(optuna.importance.PedAnovaImportanceEvaluator),
}
METHODS = {
    "auto": ours,
    "gp": lambda c, p, v: ours(c, p, v, "gp"),
    "unit-cube forest": unit_cube_forest,
    **RESCALED,
}


def main() -> None:
    """Measure and print one table a number of trials, then the aims."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trials", type=int, nargs="+", default=[60, 100, 300])
    chosen = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    errors: dict[tuple[str, str, int, float], list[float]] = defaultdict(list)
    for count in chosen.trials:
        for case in CASES:
            for noise in NOISE:
                for seed in range(chosen.seeds):
                    _measure(errors, case, count, noise, seed)
        _print_table(errors, count)
    _print_aims(errors)


def _measure(errors: Any, case: Case, count: int, noise: float, seed: int) -> None:
    points, values, truth = case.trials(count, noise, seed)
    for name, method in METHODS.items():
        estimate = method(case, points, values)
        errors[name, case.name, count, noise].append(float(np.abs(estimate - truth).mean()))
        if name in RESCALED:
            rescaled = truth / truth.sum()
            error = float(np.abs(estimate - rescaled).mean())
            errors[f"{name}, own target", case.name, count, noise].append(error)


def _print_table(errors: Any, count: int) -> None:
    names = list(dict.fromkeys(key[0] for key in errors))
    print(f"\n{count} trials, mean absolute error of the main-effect shares")
    print("| case | " + " | ".join(names) + " |\n|" + "---|" * (len(names) + 1))
    for case in CASES:
        row = [_mean(errors, n, lambda k, c=case.name: k[1:3] == (c, count)) for n in names]
        print(f"| {case.name} | " + " | ".join(f"{x:.3f}" for x in row) + " |")
    for noise in NOISE:
        row = [_mean(errors, n, lambda k, z=noise: k[2:] == (count, z)) for n in names]
        print(f"| all, noise {noise:.0%} | " + " | ".join(f"{x:.3f}" for x in row) + " |")
    row = [_mean(errors, n, lambda k: k[2] == count) for n in names]
    print("| all | " + " | ".join(f"{x:.3f}" for x in row) + " |", flush=True)


def _print_aims(errors: Any) -> None:
    mine = _mean(errors, "auto", lambda k: True)
    for name, aim in (
        ("optuna fANOVA", 0.25),
        ("optuna fANOVA, own target", 0.25),
        ("unit-cube forest", 0.5),
    ):
        theirs = _mean(errors, name, lambda k: True)
        print(f"auto {mine:.4f} / {name} {theirs:.4f} = {mine / theirs:.2f} (aim {aim})")


def _mean(errors: Any, name: str, wanted: Callable[[Any], bool]) -> float:
    return float(np.mean([np.mean(v) for k, v in errors.items() if k[0] == name and wanted(k)]))


if __name__ == "__main__":
    main()
