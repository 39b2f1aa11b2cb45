"""Tables of real learning curves, on which benchmarks/search_steps.py tries searches.

A table has one row per configuration: its values, its final score, its scores on a few dev examples
on the way (`score_STEP`), the step at which training failed, and the step at which its training
loss showed that it had diverged.  The tables in benchmarks/curves/ come from complete trainings of
the miniatures, at Sobol points of the space `lora-wide`, made by an earlier version (its dropout
masks were others).  Make one again from a study:

    optuna-study run petroleum-wide --trials 256 --set search.sampler=sobol \\
        --set training.report_every=20 --set evaluation.report_examples=48 --out runs/curves
    python benchmarks/search_curves.py runs/curves petroleum-wide.csv

or from curves as they were recorded, PREFIX-trials.csv, PREFIX-dev.csv and PREFIX-train.csv:

    python benchmarks/search_curves.py PREFIX petroleum-wide.csv
"""

from __future__ import annotations

import argparse
import csv
import io
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from study.searching.divergence import FIRST_STEP, LATEST, TIMES

VALUES = ("learning_rate", "alpha", "rank", "dropout", "target_modules")


def main() -> None:
    """Write the table of a study or of recorded curves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", help="a run folder, or the prefix of three CSV files")
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    table_of(options.source).to_csv(options.out, index=False)


def table_of(source: str) -> pd.DataFrame:
    """Return the table of a compact CSV file, of recorded curves or of a study."""
    if source.endswith(".csv"):
        return pd.read_csv(source)
    rows = of_curves(source) if Path(f"{source}-trials.csv").exists() else of_study(source)
    return pd.read_csv(io.StringIO(pd.DataFrame(list(rows)).to_csv(index=False)))


def of_curves(prefix: str) -> Iterable[dict[str, Any]]:
    """Yield the rows of recorded curves; repeats of a configuration on other seeds are left out."""
    scores: dict[tuple[str, str], dict[int, str]] = defaultdict(dict)
    for row in _rows(f"{prefix}-dev.csv"):
        if row["score"]:
            scores[row["n"], row["repeat"]][int(row["step"])] = row["score"]
    losses = {
        (row.pop("n"), row.pop("repeat")): [float(v) if v else math.nan for v in row.values()]
        for row in _rows(f"{prefix}-train.csv")
    }
    trials = [row for row in _rows(f"{prefix}-trials.csv") if row["repeat"] == "0"]
    (final,) = {"final_bleu", "final_accuracy"} & {*trials[0]}
    base = float(np.median([losses[row["n"], "0"][0] for row in trials]))
    common = set.intersection(*(set(scores[row["n"], "0"]) for row in trials if row[final]))
    for row in trials:
        key, steps = (row["n"], "0"), int(row["steps"])
        yield (
            {"n": int(row["n"])}
            | {name: row[name] for name in VALUES}
            | {"steps": steps, "final": row[final]}
            | {"failed": steps if row["failure"] else None}
            | {"diverged": diverged_at(losses[key], base)}
            | {f"score_{step}": scores[key].get(step) for step in sorted(common)}
        )


def of_study(folder: str) -> Iterable[dict[str, Any]]:
    """Yield the rows of a study's sampled trials, without the step at which they diverged."""
    from analysis import load
    from analysis.studies.trial_values import is_enqueued

    data = load(folder)
    reports = sorted({step for t in data.complete for step in t.intermediate_values})
    for trial in data.frozen_trials:
        if is_enqueued(trial) or not trial.state.is_finished():
            continue
        last = max(trial.intermediate_values, default=0)
        failed = trial.user_attrs.get("failure") is not None
        yield (
            {"n": trial.number}
            | {name: trial.params[name] for name in VALUES}
            | {"steps": last, "final": trial.value, "failed": last if failed else None}
            | {"diverged": None}
            | {f"score_{step}": trial.intermediate_values.get(step) for step in reports[:-1]}
        )


def diverged_at(losses: Sequence[float], base: float) -> int | None:
    """Return the first step at which the mean of ten losses is above three times the base's."""
    filled = np.where(np.isfinite(losses), losses, math.inf)
    for step in range(FIRST_STEP, len(filled) + 1):
        if filled[step - LATEST : step].mean() > TIMES * base:
            return step
    return None


def _rows(path: str) -> Iterable[Mapping[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        yield from (dict(row) for row in csv.DictReader(file))


if __name__ == "__main__":
    main()
