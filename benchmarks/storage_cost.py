"""What a trial costs beside its training, at 100 to 10,000 trials, and what 500 leave in memory.

The trials train nothing, and those before are written in bulk.  Cost is processor time of the run
itself, from taking a claim to having told its trial, so that a busy machine does not change it; the
ratio to the cost at 100 trials says whether a long study slows down.
Memory is the run's resident set after 100 trials and after 600.

    python benchmarks/storage_cost.py [--storage URL] [--window 50] [--sizes 100 1000 10000]
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
from storage_big import fill_claims, fill_trials
from storage_runs import cheap_spec, result_of

from study.make_sampler import sampler_for
from study.spec.sections import StudySpec
from study.store.ledger import Ledger, open_ledger
from study.store.storage import sqlite_url
from study.trials import search_config


def train(ledger: Ledger, spec: StudySpec) -> None:
    """Take, ask, report and tell one trial, as the runner does."""
    claim = ledger.take()
    assert claim is not None
    ledger.study.sampler = sampler_for(spec, claim.sampled)
    trial = ledger.ask(claim)
    values = spec.search.search_space.suggest(trial)
    config = search_config(spec, trial.number, values, claim.number)
    result = result_of(config)
    trial.report(result.metrics()["loss"], 30)
    ledger.tell_finished(trial, claim, config, result)


def milliseconds(ledger: Ledger, spec: StudySpec, trials: int) -> float:
    """Processor time of one trial, mean of so many."""
    began = time.process_time()
    for _ in range(trials):
        train(ledger, spec)
    return (time.process_time() - began) / trials * 1e3


def main() -> None:
    """Print the costs and the memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--window", type=int, default=50)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000, 10000])
    parser.add_argument("--storage")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = arguments.storage or sqlite_url(Path(folder) / "study.db")
        _costs(url, Path(folder), arguments.sizes, arguments.window)
        _memory(sqlite_url(Path(folder) / "memory.db"), Path(folder))


def _costs(url: str, out: Path, sizes: Sequence[int], window: int) -> None:
    spec = cheap_spec(10**9)
    first = 0.0
    with open_ledger(url, spec, out, print) as ledger:
        _begin(ledger)
        print("trials before   ms a trial   ratio")
        done = 0
        for size in sizes:
            fill(ledger, size - done)
            train(ledger, spec)  # warm
            cost = milliseconds(ledger, spec, window)
            done = size + window + 1
            first = first or cost
            print(f"{size:13,}   {cost:10.2f}   {cost / first:5.2f}", flush=True)


def fill(ledger: Ledger, trials: int) -> None:
    """Add trials as if they had been run."""
    fill_trials(ledger._engine, ledger._id, trials)
    fill_claims(ledger._engine, ledger._id, trials)


def _begin(ledger: Ledger) -> None:
    ledger.begin({})
    while (claim := ledger.take(baselines_only=True)) is not None:
        ledger._claims.close(claim)


def _memory(url: str, out: Path) -> None:
    spec = cheap_spec(10**9)
    process = psutil.Process()
    with open_ledger(url, spec, out, print) as ledger:
        _begin(ledger)
        sizes = []
        for trials in (100, 500):
            for _ in range(trials):
                train(ledger, spec)
            gc.collect()
            sizes.append(process.memory_info().rss)
    grown = (sizes[1] - sizes[0]) / 2**20
    print(f"resident after 100 trials {sizes[0] / 2**20:.0f} MiB, 500 more: {grown:+.1f} MiB")


if __name__ == "__main__":
    main()
