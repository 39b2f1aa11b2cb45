"""What Ray costs on one machine, against local processes: per trial, to start, and of a whole run.

First trials that train nothing and return an adapter of 300 kB, so that the way there and back is
what is measured; then, with `--whole`, the embedded study as whole commands, in turns with as many
workers and slots, so that both train the same.

    python benchmarks/ray_cost.py
    python benchmarks/ray_cost.py --whole --trials 16
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from study.engines.engine_choice import EngineChoice
from study.engines.start import connected_workers, pool_of
from study.spec.files import load_spec
from study.trials import AdapterFiles, Event, Finished, TrialConfig, TrialResult, search_config

SIDES = {"processes": None, "ray": "local"}
ADAPTER_BYTES = 300_000


class Seconds(NamedTuple):
    """Of one side: until the first trial could begin, and each trial after that."""

    start: float
    trial: float


def main() -> None:
    """Time both sides in turns and print their medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--trials", type=int, help="[default: 300 empty ones, or 16]")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--whole", action="store_true", help="whole commands that train")
    options = parser.parse_args()
    options.trials = options.trials or (16 if options.whole else 300)
    _compare(_command if options.whole else _empty_trials, options)


def _compare(run: Callable[..., Seconds], options: argparse.Namespace) -> None:
    found: dict[str, list[Seconds]] = {side: [] for side in SIDES}
    for _ in range(options.rounds):
        for side in SIDES:
            found[side].append(run(side, options))
            print(f"{side}: {found[side][-1]}", file=sys.stderr, flush=True)
    print(f"medians of {options.rounds}, {options.trials} trials, {options.workers} workers\n")
    print("| side | start, s | a trial, ms |")
    print("|---|---|---|")
    for side, runs in found.items():
        start, trial = (statistics.median(column) for column in zip(*runs, strict=True))
        print(f"| {side} | {start:.1f} | {1000 * trial:.1f} |")


# ---------------------------------------------------------------- trials that cost nothing


class Empty:
    """Ends its trials at once."""

    def __init__(self, slots: int) -> None:
        self.free_slots = slots
        self._numbers: list[int] = []

    def start(self, config: TrialConfig, state: bytes | None = None) -> None:
        """Take a slot."""
        self._numbers.append(config.number)
        self.free_slots -= 1

    def advance(self) -> list[Event]:
        """Return what a small training returns."""
        result = TrialResult(adapter=AdapterFiles("{}", bytes(ADAPTER_BYTES)))
        events: list[Event] = [Finished(number, result) for number in self._numbers]
        self.free_slots += len(self._numbers)
        self._numbers = []
        return events


def make_empty(spec: Any, base: Any, task: Any, choice: EngineChoice) -> Any:
    """Make the engine in a worker."""
    assert choice.slots is not None
    return Empty(choice.slots)


def _empty_trials(side: str, options: argparse.Namespace) -> Seconds:
    from study.bases.load import locate_base

    spec = load_spec("petroleum")
    base = locate_base(spec)
    configs = [search_config(spec, n, {}, n) for n in range(options.trials)]
    choice = EngineChoice(slots=options.slots, workers=options.workers, ray=SIDES[side])
    began = time.perf_counter()
    with connected_workers(choice, lambda line: None) as choice:
        pool = pool_of(make_empty, choice)
        assert pool is not None
        with closing(pool):
            pool.load(spec, base, None, choice)
            assert pool.free_slots == options.slots * options.workers
            ready = time.perf_counter()
            _train_all(pool, configs)
            return Seconds(ready - began, (time.perf_counter() - ready) / options.trials)


def _train_all(pool: Any, configs: list[TrialConfig]) -> None:
    waiting, running = list(configs), 0
    while waiting or running:
        while waiting and pool.free_slots:
            pool.start(waiting.pop(0))
            running += 1
        running -= len(pool.advance())


# ---------------------------------------------------------------- whole commands


def _command(side: str, options: argparse.Namespace) -> Seconds:
    address = SIDES[side]
    with tempfile.TemporaryDirectory() as folder:
        line = [sys.executable, "-m", "optuna_study", "run", "--out", folder]
        line += ["--ray", address] if address else []
        for name in ("trials", "workers", "slots"):
            line += [f"--{name}", str(getattr(options, name))]
        began = time.perf_counter()
        subprocess.run(line, check=True, capture_output=True)
        whole = time.perf_counter() - began
        search = _search_seconds(Path(folder))
    return Seconds(whole - search, search / options.trials)


def _search_seconds(folder: Path) -> float:
    """Return the time from the first trial's start to the last one's end."""
    import optuna

    study = optuna.load_study(study_name=None, storage=f"sqlite:///{folder}/study.db")
    starts = [trial.datetime_start for trial in study.trials if trial.datetime_start]
    ends = [trial.datetime_complete for trial in study.trials if trial.datetime_complete]
    return (max(ends) - min(starts)).total_seconds()


if __name__ == "__main__":
    main()
