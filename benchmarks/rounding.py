"""What rounding makes of a trial when other trials are packed beside it, and where it is nothing.

Neighbours change in which order sums are taken, so in float32 the last digit.  Where training is
stable that stays the last digit; where steps are too large it is chaotic and grows until other
words come out.  Runs the shipped study alone, packed, and in the sequential engine, in float32 and
in float64, and prints for each dtype how far a trial's score moves.

    python benchmarks/rounding.py --trials 24
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

import analysis
from study.engines.engine_choice import EngineChoice
from study.hardware import available_cores
from study.runner import run_study
from study.spec.files import load_spec
from study.views.terminal import make_view

ENGINES = {
    "sequential": EngineChoice("sequential"),
    "one slot": EngineChoice(slots=1),
    "four slots": EngineChoice(slots=4),
    "eight slots": EngineChoice(slots=8),
}
SAME = 1e-6  # of a score: what the rounding of the score itself can do


def main() -> None:
    """Print a row a dtype."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--preset", default="petroleum")
    options = parser.parse_args()
    print("| dtype | trials | the same with every engine | others: median and largest change |")
    print("|---|---|---|---|")
    for dtype in ("float32", "float64"):
        with tempfile.TemporaryDirectory() as folder:
            spec = load_spec(options.preset, {"base.dtype": dtype, "search.trials": options.trials})
            scores = np.array([_scores(spec, engine, Path(folder)) for engine in ENGINES])
        print(_row(dtype, np.ptp(scores, axis=0)), flush=True)


def _row(dtype: str, moved: Any) -> str:
    others = moved[moved > SAME]
    change = f"{np.median(others):.2f} and {others.max():.2f}" if len(others) else "–"
    return f"| {dtype} | {len(moved)} | {len(moved) - len(others)} | {change} |"


def _scores(spec: Any, engine: str, folder: Path) -> list[float]:
    """Return the score of every trial, (N,), as one engine trains it."""
    choice = replace(ENGINES[engine], workers=available_cores())
    run_study(spec, folder / engine, make_view(spec, Console(stderr=True)), choice=choice)
    trials = analysis.load(folder / engine).frozen_trials
    return [trial.values[0] for trial in trials]


if __name__ == "__main__":
    main()
