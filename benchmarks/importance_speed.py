"""How long does an importance take?  Main effects and all pairs against Optuna's main effects.

    python benchmarks/importance_speed.py

One thread a process: 1,000 trials, 6 parameters, 64 trees; then the whole evidence (100 resamples,
both surrogates) on 200 trials, and peak memory of the decomposition as the trials grow.

    python benchmarks/importance_speed.py --commands       # whole commands, against their aims

Each command runs in a process of its own on all cores.  Half of its CPU seconds is what two idle
cores would take; judge by that where the machine is shared, as the wall clock then counts others.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import subprocess
import sys
import tempfile
import time
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import FloatDistribution

from analysis.importance.variance import importances
from analysis.parallel import every_core
from analysis.surrogates.encoding import encode
from analysis.surrogates.forest import fit_forest

SPACE = {f"x{j}": FloatDistribution(0.0, 1.0) for j in range(6)}


def trials(count: int, seed: int = 0) -> tuple[list[dict[str, Any]], np.ndarray[Any, Any]]:
    """Return random points and an objective with main effects, an interaction and noise."""
    rng = np.random.default_rng(seed)
    units = rng.random((count, len(SPACE)))
    values = np.sin(5 * units[:, 0]) + units[:, 1] * units[:, 2] + 0.2 * rng.normal(size=count)
    return [dict(zip(SPACE, row, strict=True)) for row in units.tolist()], values


AIMS = {
    ("importance", 1000, 6): 5.0,
    ("importance", 20_000, 8): 18.0,
    ("importance", 200, 30): 10.0,
    ("importance", 300, 20): 5.0,
    ("importance", 300, 40): 12.0,
    ("importance", 300, 120): 60.0,
    ("report", 300, 100): 45.0,
}
"""A command, the trials and parameters of its study -> the seconds that it may take."""


def commands(only: str) -> None:
    """Print each command's wall and CPU seconds beside its aim."""
    print("| command | trials | parameters | aim, s | wall, s | CPU / 2, s |")
    print("|---|---|---|---|---|---|", flush=True)
    for (command, count, width), aim in AIMS.items():
        if only in f"{command} {count} {width}":
            wall, cpu = whole_command(command, count, width)
            row = (command, count, width, f"≤ {aim:g}", f"{wall:.1f}", f"{cpu / 2:.1f}")
            print(f"| {' | '.join(map(str, row))} |", flush=True)


def whole_command(command: str, count: int, width: int) -> tuple[float, float]:
    """Return the wall and CPU seconds of a command on a study of random trials."""
    rng = np.random.default_rng(0)
    space = {f"x{j}": FloatDistribution(0.0, 1.0) for j in range(width)}
    units = rng.random((count, width))
    values = np.sin(5 * units[:, 0]) + units[:, 1] * units[:, 2] + 0.7 * units[:, 3]
    values += 0.3 * rng.normal(size=count)
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/study.db"
        study = optuna.create_study(storage=url, study_name="speed")
        study.add_trials(
            [
                optuna.trial.create_trial(
                    params=dict(zip(space, row, strict=True)), distributions=space, value=value
                )
                for row, value in zip(units.tolist(), values.tolist(), strict=True)
            ]
        )
        last = ["--out", str(Path(folder, "page.html"))] if command == "report" else ["--json"]
        start, before = time.perf_counter(), sum(os.times()[2:4])
        subprocess.run(
            [sys.executable, "-m", "optuna_study", command, url, *last],
            check=True,
            capture_output=True,
        )
        return time.perf_counter() - start, sum(os.times()[2:4]) - before


def ours(count: int) -> float:
    """Return the seconds of encoding, forest, all main effects and all pairs."""
    points, values = trials(count)
    start = time.perf_counter()
    encoding = encode(points, SPACE)
    fit_forest(encoding.units, values, encoding.columns).shares()
    return time.perf_counter() - start


def optunas(count: int) -> float:
    """Return the seconds of Optuna's fANOVA main effects."""
    points, values = trials(count)
    study = optuna.create_study()
    study.add_trials(
        [
            optuna.trial.create_trial(params=p, distributions=SPACE, value=v)
            for p, v in zip(points, values, strict=True)
        ]
    )
    evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=64, seed=0)
    start = time.perf_counter()
    optuna.importance.get_param_importances(study, evaluator=evaluator)
    return time.perf_counter() - start


def evidence(count: int) -> float:
    """Return the seconds of the whole evidence, by one surrogate after the other."""
    points, values = trials(count)
    start = time.perf_counter()
    for surrogate in ("gp", "forest"):
        importances(points, values, SPACE, surrogate=surrogate, resamples=100)
    return time.perf_counter() - start


def peak_megabytes(count: int) -> float:
    """Return the peak memory of fit and decomposition, in megabytes."""
    points, values = trials(count)
    encoding = encode(points, SPACE)
    tracemalloc.start()
    fit_forest(encoding.units, values, encoding.columns, trees=16).shares()
    peak = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    return peak


def main() -> None:
    """Print the ratio, the evidence's seconds and the growth of memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--commands", action="store_true")
    parser.add_argument("--only", default="", help="words of a line, such as '300 20'")
    given = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    if given.commands:
        commands(given.only)
        return
    ours(100)  # imports
    mine, theirs = min(ours(1000) for _ in range(3)), optunas(1000)
    print(f"1,000 trials, 6 parameters, 64 trees: ours {mine:.2f} s with all 15 pairs")
    print(f"optuna {theirs:.1f} s without pairs: {theirs / mine:.0f} times ours (aim 30)")
    alone = evidence(200)
    with every_core():
        shared = evidence(200)
    print(f"200 trials, 100 resamples, both surrogates: {alone:.1f} s on one core")
    print(f"{shared:.1f} s on {os.cpu_count()} (aim 15 on two)")
    for count in (500, 1000, 2000, 4000):
        print(f"{count} trials, 16 trees: peak {peak_megabytes(count):.1f} MB")


if __name__ == "__main__":
    main()
