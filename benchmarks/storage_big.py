"""A database of 100,000 trials: how long `show` and `importance` take on it.

The trials are written in bulk: four parameters, a value, three attributes and four reports each.
Prints wall-clock and processor seconds of the commands, each in a process of its own.

    python benchmarks/storage_big.py [--trials 100000]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)
from sqlalchemy import Engine, text

from study.store.storage import close_after_writing, open_for_writing, sqlite_url

SPACE: dict[str, BaseDistribution] = {
    "learning_rate": FloatDistribution(1e-5, 1e-1, log=True),
    "alpha": FloatDistribution(1.0, 256.0, log=True),
    "rank": IntDistribution(1, 64),
    "target_modules": CategoricalDistribution(["qv", "attention", "attention+ffn"]),
}
REPORTS = (30, 60, 90, 120)


def main() -> None:
    """Write the database and print how long the commands take."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=100_000)
    trials = parser.parse_args().trials
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "study.db"
        write(path, trials)
        print(f"{trials:,} trials, {path.stat().st_size / 2**20:.0f} MiB")
        for command in ("show", "importance"):
            wall, processor = seconds([command, str(path)])
            print(f"{command:11} {wall:6.2f} s, of the processor {processor:6.2f} s", flush=True)


def seconds(arguments: list[str]) -> tuple[float, float]:
    """Wall-clock and processor seconds of one command."""
    before, began = _spent(), time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "optuna_study", *arguments],
        check=True,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return time.monotonic() - began, _spent() - before


def _spent() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def write(path: Path, trials: int) -> None:
    """Write a study as Optuna writes it, of which nothing is known but its trials."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = open_for_writing(sqlite_url(path))
    study = optuna.create_study(storage=storage, study_name="big", direction="maximize")
    fill_trials(storage.engine, study._study_id, trials)
    close_after_writing(storage)


def fill_trials(engine: Engine, study_id: int, trials: int) -> None:
    """Add COMPLETE trials whose value is a peak over learning rate and alpha, with noise."""
    rng = np.random.default_rng(trials)
    with engine.begin() as connection:
        first = connection.execute(text("SELECT max(trial_id) FROM trials")).scalar() or 0
        query = text("SELECT count(*) FROM trials WHERE study_id = :i")
        number = connection.execute(query, {"i": study_id}).scalar() or 0
        units = rng.random((trials, len(SPACE)))
        values = 50 - 40 * (units[:, 0] + units[:, 1] / 2 - 0.8) ** 2 + rng.normal(size=trials)
        _insert(
            connection,
            "INSERT INTO trials (trial_id, number, study_id, state, datetime_start, "
            "datetime_complete) VALUES (:t, :n, :i, 'COMPLETE', '2026-01-01 00:00:00.000000', "
            "'2026-01-01 00:01:00.000000')",
            [{"t": first + 1 + j, "n": number + j, "i": study_id} for j in range(trials)],
        )
        ids = range(first + 1, first + 1 + trials)
        _insert(
            connection,
            "INSERT INTO trial_values (trial_id, objective, value, value_type) "
            "VALUES (:t, 0, :v, 'FINITE')",
            [{"t": t, "v": float(v)} for t, v in zip(ids, values, strict=True)],
        )
        for column, (name, distribution) in enumerate(SPACE.items()):
            written = distribution_to_json(distribution)
            _insert(
                connection,
                "INSERT INTO trial_params (trial_id, param_name, param_value, distribution_json) "
                "VALUES (:t, :n, :v, :d)",
                [
                    {"t": t, "n": name, "v": _stored(distribution, u), "d": written}
                    for t, u in zip(ids, units[:, column], strict=True)
                ],
            )
        for key in ("seed", "loss", "train_seconds"):
            _insert(
                connection,
                "INSERT INTO trial_user_attributes (trial_id, key, value_json) VALUES (:t, :k, :v)",
                [{"t": t, "k": key, "v": json.dumps(t / 7)} for t in ids],
            )
        for step in REPORTS:
            _insert(
                connection,
                "INSERT INTO trial_intermediate_values (trial_id, step, intermediate_value, "
                "intermediate_value_type) VALUES (:t, :s, :v, 'FINITE')",
                [{"t": t, "s": step, "v": float(v)} for t, v in zip(ids, values, strict=True)],
            )


def _insert(connection: object, statement: str, rows: list[dict[str, object]]) -> None:
    connection.execute(text(statement), rows)  # type: ignore[attr-defined]


def _stored(distribution: BaseDistribution, unit: float) -> float:
    """A value in Optuna's stored form, from its place on the distribution's own scale."""
    if isinstance(distribution, CategoricalDistribution):
        return float(int(unit * len(distribution.choices)))
    assert isinstance(distribution, (FloatDistribution, IntDistribution))
    low, high = float(distribution.low), float(distribution.high)
    if isinstance(distribution, IntDistribution):
        return float(math.floor(low + unit * (high - low + 1)))
    return low * (high / low) ** unit


def fill_claims(engine: Engine, study_id: int, trials: int) -> None:
    """Add claims that are done, for as many trials."""
    with engine.begin() as connection:
        query = text("SELECT max(claim) FROM run_claims WHERE study_id = :i")
        last = connection.execute(query, {"i": study_id}).scalar()
        first = max(-1 if last is None else last, -1) + 1
        _insert(
            connection,
            "INSERT INTO run_claims (study_id, claim, sampled, enqueued, state, parent, attempt) "
            "VALUES (:i, :c, :c, 0, 'done', 'bulk', 1)",
            [{"i": study_id, "c": first + j} for j in range(trials)],
        )


if __name__ == "__main__":
    main()
