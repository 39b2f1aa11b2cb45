"""What Ray costs on one machine: the embedded study in local processes, and in a local cluster.

Both sides are whole commands, run in turns with as many workers and slots, so that they train the
same.  `search` counts from the first trial's start to the last one's end; the rest of a command is
start-up, one baseline's evaluation and the report.

    python benchmarks/ray_cost.py --rounds 3 --trials 16
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

SIDES = {"processes": (), "ray": ("--ray", "local")}


class Seconds(NamedTuple):
    """Of one command: all of it, and its search."""

    whole: float
    search: float


def main() -> None:
    """Time both sides in turns and print their medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--slots", type=int, default=4)
    options = parser.parse_args()
    found: dict[str, list[Seconds]] = {side: [] for side in SIDES}
    for _ in range(options.rounds):
        for side in SIDES:
            found[side].append(_run(side, options))
            print(f"{side}: {found[side][-1].whole:.1f} s", flush=True)
    _table(found, options.trials)


def _run(side: str, options: argparse.Namespace) -> Seconds:
    with tempfile.TemporaryDirectory() as folder:
        line = [sys.executable, "-m", "optuna_study", "run", "--out", folder, *SIDES[side]]
        for name in ("trials", "workers", "slots"):
            line += [f"--{name}", str(getattr(options, name))]
        started = time.perf_counter()
        subprocess.run(line, check=True, capture_output=True)
        return Seconds(time.perf_counter() - started, _search_seconds(Path(folder)))


def _search_seconds(folder: Path) -> float:
    import optuna

    study = optuna.load_study(study_name=None, storage=f"sqlite:///{folder}/study.db")
    starts = [trial.datetime_start for trial in study.trials if trial.datetime_start]
    ends = [trial.datetime_complete for trial in study.trials if trial.datetime_complete]
    return (max(ends) - min(starts)).total_seconds()


def _table(found: dict[str, list[Seconds]], trials: int) -> None:
    print(f"\nmedian seconds of {trials} trials\n")
    print("| side | whole command | search | a trial |")
    print("|---|---|---|---|")
    for side, runs in found.items():
        whole, search = (statistics.median(column) for column in zip(*runs, strict=True))
        print(f"| {side} | {whole:.1f} | {search:.1f} | {search / trials:.2f} |")
    both = zip(found["processes"], found["ray"], strict=True)
    ratios = [(r.whole / p.whole, r.search / p.search) for p, r in both]
    whole, search = (statistics.median(column) for column in zip(*ratios, strict=True))
    print(f"\nray over processes, median of the rounds: whole {whole:.2f}, search {search:.2f}")


if __name__ == "__main__":
    main()
