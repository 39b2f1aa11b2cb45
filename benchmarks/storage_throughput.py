"""How many trials a minute a storage takes, with trials that cost nothing.

1, 2, 4 and 8 runs, each a process with a folder of its own, share a study on one SQLite file and on
one PostgreSQL server, which this script starts on the loopback.  Per trial a run takes a claim,
asks, reports, and tells: some fifteen transactions.  With `--grpc` also plain Optuna, asked and
told by as many processes, on the server directly and through Optuna's gRPC proxy (needs grpcio).

Other work on the machine only slows this down, so of several `--repeats` the fastest counts.

    python benchmarks/storage_throughput.py [--trials 200] [--runs 1 2 4 8] [--repeats 3] [--grpc]
"""

from __future__ import annotations

import argparse
import multiprocessing
import socket
import tempfile
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import postgres
from storage_runs import cheap_spec, start

from study.store.storage import sqlite_url

PARAMETERS = 2


def main() -> None:
    """Print a row for each storage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--runs", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--grpc", action="store_true")
    options = parser.parse_args()
    _quiet()
    with tempfile.TemporaryDirectory() as name, postgres.server() as server:
        folder = Path(name)
        _finish([start(cheap_spec(1), folder / "warm")])
        print("trials a minute    " + "".join(f"{runs:>8}" for runs in options.runs) + "  runs")
        _row("SQLite", options, lambda n: _runs(folder, _new_file(folder), n, options))
        database = postgres.new_database
        _row("PostgreSQL", options, lambda n: _runs(folder, database(server), n, options))
        if options.grpc:
            _row("Optuna alone", options, lambda n: _plain(database(server), None, n, options))
            _row("Optuna, by gRPC", options, lambda n: _proxied(database(server), n, options))


def _quiet() -> None:
    """Keep Optuna from announcing studies, and that its proxy is experimental."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)


def _row(name: str, options: Any, measure: Callable[[int], float]) -> None:
    """Print the trials a minute, and the ratios to the first number of runs."""
    repeats = range(options.repeats)
    rates = [60 * options.trials / min(measure(n) for _ in repeats) for n in options.runs]
    print(f"{name:19}" + "".join(f"{rate:8,.0f}" for rate in rates), flush=True)
    print(
        f"{'':19}" + "".join(f"{'×' + format(r / rates[0], '.2f'):>8}" for r in rates), flush=True
    )


def _new_file(folder: Path) -> str:
    return sqlite_url(folder / uuid.uuid4().hex / "study.db")


def _runs(folder: Path, url: str, runs: int, options: Any) -> float:
    """Seconds of a study that so many runs share."""
    spec, place = cheap_spec(options.trials), folder / uuid.uuid4().hex
    began = time.monotonic()
    _finish([start(spec, place / str(n), url, seconds=0.0) for n in range(runs)])
    return time.monotonic() - began


def _finish(processes: Sequence[Any]) -> None:
    for process in processes:
        process.join()
        assert process.exitcode == 0, process.exitcode


# ---------------------------------------------------------------- Optuna alone


def _proxied(url: str, runs: int, options: Any) -> float:
    with _proxy(url) as port:
        return _plain(url, port, runs, options)


def _plain(url: str, port: int | None, runs: int, options: Any) -> float:
    """Seconds in which so many processes ask and tell as many trials with Optuna itself."""
    optuna.create_study(study_name="plain", storage=url, sampler=None)
    context = multiprocessing.get_context("spawn")
    share = options.trials // runs
    with context.Pool(runs) as pool:
        pool.starmap(_ask_and_tell, [(url, port, 1)] * runs)  # everything is imported
        began = time.monotonic()
        pool.starmap(_ask_and_tell, [(url, port, share)] * runs, chunksize=1)
        return time.monotonic() - began


def _ask_and_tell(url: str, port: int | None, trials: int) -> None:
    _quiet()
    storage: Any = url
    if port is not None:
        storage = optuna.storages.GrpcStorageProxy(host="127.0.0.1", port=port)
        storage.wait_server_ready(timeout=60)
    sampler = optuna.samplers.RandomSampler()
    study = optuna.load_study(study_name="plain", storage=storage, sampler=sampler)
    for _ in range(trials):
        trial = study.ask()
        for number in range(PARAMETERS):
            trial.suggest_float(f"x{number}", 0, 1)
        study.tell(trial, 0.0)


@contextmanager
def _proxy(url: str) -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(url, port))
    process.start()
    try:
        yield port
    finally:
        process.terminate()
        process.join()


def _serve(url: str, port: int) -> None:
    _quiet()
    storage = optuna.storages.get_storage(url)
    optuna.storages.run_grpc_proxy_server(storage, host="127.0.0.1", port=port)


if __name__ == "__main__":
    main()
