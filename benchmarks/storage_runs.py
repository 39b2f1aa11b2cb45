"""Runs whose trials cost nothing: real processes, real storages, and an engine that sleeps.

A fork server imports everything once, so that a run begins within milliseconds and may be killed at
any of its moments.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from study.engines.engine_choice import EngineChoice
from study.errors import InputError
from study.metrics import Statistics
from study.spec.sections import StudySpec, parse_spec
from study.store import live_runs
from study.trials import (
    AdapterFiles,
    Event,
    Finished,
    Progress,
    SplitResult,
    TrialConfig,
    TrialResult,
)

SLOTS = 3
PARAMETERS = {
    "learning_rate": {"low": 1e-5, "high": 1e-1, "log": True},
    "alpha": {"low": 1, "high": 256, "log": True},
}


def cheap_spec(trials: int, **search: Any) -> StudySpec:
    """A study of the loss, drawn at random."""
    found = {"sampler": "random", "parameters": PARAMETERS, "trials": trials, **search}
    return parse_spec(
        {"name": "cheap", "evaluation": {"objective": "loss"}, "search": found}, "cheap.toml"
    )


class CheapEngine:
    """Trains nothing: a trial's loss is a function of its seed and its learning rate."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._trials: dict[int, TrialConfig] = {}

    @property
    def free_slots(self) -> int:
        """A few, as of a packed engine."""
        return SLOTS - len(self._trials)

    def start(self, config: TrialConfig, state: bytes | None = None) -> None:
        """Take note of a trial."""
        self._trials[config.number] = config

    def advance(self) -> list[Event]:
        """Bring the oldest trial to its end."""
        time.sleep(self._seconds)
        number = next(iter(self._trials))
        result = result_of(self._trials.pop(number))
        return [Progress(number, 30, result.metrics()["loss"]), Finished(number, result)]

    def state(self, number: int) -> bytes | None:
        """Nothing: its trials have no steps."""
        return None

    def stop(self, number: int) -> TrialResult:
        """Never asked for: nothing is pruned."""
        raise NotImplementedError

    def close(self) -> None:
        """Hold nothing."""


def result_of(config: TrialConfig) -> TrialResult:
    """The statistics, outputs and adapter that a training of this configuration has."""
    loss = config.training.learning_rate + config.seed % 1000
    statistics = {"loss": Statistics("loss", np.array([[loss, 1.0]]), "mean")}
    split = SplitResult(statistics, (str(config.seed),), (("source", "target"),))
    adapter = AdapterFiles("{}", config.seed.to_bytes(8, "little"))
    return TrialResult({"dev": split}, {"train_seconds": 0.0}, adapter)


def run_cheaply(spec: StudySpec, out: Path, url: str | None, seconds: float) -> bool:
    """Run a study with the cheap engine; returns whether it stopped early."""
    import study.loop
    import study.runner
    import study.store.ledger
    from study.engines.start import StartedEngine

    @contextmanager
    def engine(*_: Any) -> Iterator[StartedEngine]:
        yield StartedEngine(CheapEngine(seconds), "nowhere", choice)

    task: Any = object()  # no corpus is read
    choice = EngineChoice("sequential")
    with (
        mock.patch.object(study.runner, "started_engine", engine),
        mock.patch.object(study.loop, "POLL_SECONDS", 0.05),
        mock.patch.object(study.store.ledger, "LOOK_AGAIN_SECONDS", 0.05),
    ):
        done = study.runner.run_study(spec, out, storage=url, choice=choice, task=task)
    return done.stopped_early


def _main(
    spec_text: str,
    out: str,
    url: str | None,
    seconds: float,
    grace: float,
    heartbeat: float,
    problems: Path | None,
) -> None:
    """What a forked process does: 0 whole, 3 stopped early, 2 with its problems written."""
    from study.spec.sections import spec_from_toml

    live_runs.GRACE_SECONDS, live_runs.HEARTBEAT_SECONDS = grace, heartbeat
    try:
        stopped = run_cheaply(spec_from_toml(spec_text, "cheap"), Path(out), url, seconds)
    except InputError as error:
        print(*error.problems, sep="\n", file=sys.stderr, flush=True)
        if problems is not None:
            problems.write_text("\n".join(error.problems))
        os._exit(2)
    os._exit(3 if stopped else 0)


_FORKED = multiprocessing.get_context("forkserver")
_FORKED.set_forkserver_preload([__name__, "study.runner"])


def start(
    spec: StudySpec,
    out: Path,
    url: str | None = None,
    *,
    seconds: float = 0.002,
    grace: float = 60.0,
    heartbeat: float = 10.0,
    problems: Path | None = None,
) -> ForkServerProcess:
    """Begin a run in a process of its own."""
    arguments = (spec.to_toml(), str(out), url, seconds, grace, heartbeat, problems)
    process = _FORKED.Process(target=_main, args=arguments, daemon=True)
    process.start()
    return process
