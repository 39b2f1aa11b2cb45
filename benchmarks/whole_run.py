"""Wall seconds of `optuna-study run` from nothing, base training included, and of `show`.

Every run has an empty cache and an empty folder.  Prints each run and the medians.

    python benchmarks/whole_run.py --runs 3
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COMMAND = [sys.executable, "-m", "optuna_study"]


def main() -> None:
    """Time the commands as whole processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--shows", type=int, default=7)
    options = parser.parse_args()
    run_seconds, show_seconds = [], []
    for number in range(options.runs):
        with tempfile.TemporaryDirectory() as folder:
            run_seconds.append(_seconds(["run"], Path(folder)))
            print(f"run {number + 1}: {run_seconds[-1]:.0f} s", flush=True)
            show = ["show", "runs/petroleum"]
            show_seconds += [_seconds(show, Path(folder)) for _ in range(options.shows)]
    print(f"optuna-study run:  median {statistics.median(run_seconds):.0f} s, aim 150 s")
    print(f"optuna-study show: median {statistics.median(show_seconds):.2f} s, aim 1 s")


def _seconds(arguments: list[str], folder: Path) -> float:
    environment = {**os.environ, "OPTUNA_STUDY_CACHE": str(folder / "cache")}
    started = time.perf_counter()
    subprocess.run(
        [*COMMAND, *arguments], cwd=folder, env=environment, check=True, capture_output=True
    )
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
