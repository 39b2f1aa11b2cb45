"""Runs whose trials cost nothing: real processes, real storages, and an engine that sleeps.

A fork server imports everything once, so that a run begins within milliseconds and may be killed at
any of its moments.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import text

from study.engines.choice import EngineChoice
from study.errors import InputError
from study.metrics import Statistics
from study.spec import StudySpec, parse_spec
from study.store import parents, records
from study.store.storage import engine_of, open_read_only
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
        return SLOTS - len(self._trials)

    def start(self, config: TrialConfig) -> None:
        self._trials[config.number] = config

    def advance(self) -> list[Event]:
        """Bring the oldest trial to its end."""
        time.sleep(self._seconds)
        number = next(iter(self._trials))
        result = result_of(self._trials.pop(number))
        return [Progress(number, 30, result.metrics()["loss"]), Finished(number, result)]

    def stop(self, number: int) -> TrialResult:
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


class NoView:
    """Shows nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None

    @contextmanager
    def searching(self, total: int, done: int, workers: int) -> Iterator[None]:
        yield


def run_cheaply(spec: StudySpec, out: Path, url: str | None, seconds: float) -> bool:
    """Run a study with the cheap engine; returns whether it stopped early."""
    import study.runner

    @contextmanager
    def engine(*_: Any) -> Iterator[tuple[CheapEngine, str]]:
        yield CheapEngine(seconds), "nowhere"

    study.runner._engine = engine  # type: ignore[assignment]
    study.runner.POLL_SECONDS = 0.05
    task: Any = object()  # no corpus is read
    choice = EngineChoice("sequential")
    done = study.runner.run_study(spec, out, NoView(), storage=url, choice=choice, task=task)
    return done.stopped_early


def _main(
    spec_text: str, out: str, url: str | None, seconds: float, grace: float, heartbeat: float
) -> None:
    """What a forked process does: 0 whole, 3 stopped early, 2 with its problems on stderr."""
    from study.spec import spec_from_toml

    parents.GRACE_SECONDS, parents.HEARTBEAT_SECONDS = grace, heartbeat
    try:
        stopped = run_cheaply(spec_from_toml(spec_text, "cheap"), Path(out), url, seconds)
    except InputError as error:
        print(*error.problems, sep="\n", file=sys.stderr, flush=True)
        os._exit(2)
    os._exit(3 if stopped else 0)


_FORKED = multiprocessing.get_context("forkserver")
_FORKED.set_forkserver_preload(["tests.cheap_runs", "study.runner"])


def start(
    spec: StudySpec,
    out: Path,
    url: str | None = None,
    *,
    seconds: float = 0.002,
    grace: float = 60.0,
    heartbeat: float = 10.0,
) -> ForkServerProcess:
    """Begin a run in a process of its own."""
    arguments = (spec.to_toml(), str(out), url, seconds, grace, heartbeat)
    process = _FORKED.Process(target=_main, args=arguments, daemon=True)
    process.start()
    return process


# ---------------------------------------------------------------- what must hold afterwards


@dataclass(frozen=True)
class Found:
    """What a storage holds of the cheap study."""

    trials: list[FrozenTrial]
    claims: list[tuple[Any, ...]]  # claim, state, attempt
    parents: int
    evaluations: list[tuple[str, str, int | None]]  # role, name, trial

    def counted(self) -> list[FrozenTrial]:
        """The trials that are part of the total."""
        return [t for t in self.trials if not t.user_attrs.get("interrupted")]

    def complete(self) -> dict[int, list[float]]:
        """The values of the COMPLETE trials by number."""
        return {t.number: t.values for t in self.trials if t.state == TrialState.COMPLETE}

    def table(self) -> list[tuple[Any, ...]]:
        """What must be the same whoever ran the study: seed, point and values of every claim."""
        rows = [
            (t.system_attrs["run:claim"][0], t.user_attrs["seed"], t.params, t.values)
            for t in self.trials
            if t.state == TrialState.COMPLETE
        ]
        return sorted(rows, key=lambda row: row[0])


def look(target: str) -> Found:
    """Read a storage as anybody would."""
    storage = open_read_only(target)
    engine = engine_of(storage)
    assert engine is not None
    (study,) = storage.get_all_studies()  # ValueError where there is none yet
    trials = storage.get_all_trials(study._study_id, deepcopy=False)
    with engine.connect() as connection:
        claims = connection.execute(text("SELECT claim, state, attempt FROM run_claims")).all()
        alive = connection.execute(text("SELECT count(*) FROM run_parents")).scalar()
    rows = records.read_evaluations(engine, study._study_id)
    evaluations = [(row.role, row.name, row.trial_number) for row in rows]
    engine.dispose()
    return Found(list(trials), [tuple(row) for row in claims], int(alive or 0), evaluations)


def assert_whole(found: Found, total: int) -> None:
    """Every unit of the budget is there once, and nothing is left of what was interrupted."""
    assert [t.number for t in found.trials] == list(range(len(found.trials)))
    assert all(t.state.is_finished() for t in found.trials)
    numbers = [t.system_attrs["run:claim"][0] for t in found.counted()]
    assert sorted(numbers) == list(range(total))
    assert {state for _, state, _ in found.claims} == {"done"}
    assert sorted(claim for claim, _, _ in found.claims if claim >= 0) == list(range(total))
    assert max(attempt for _, _, attempt in found.claims) <= 3
    evaluated = Counter(found.evaluations)
    wanted = {("baseline", name, None) for name in ("base", "default")}
    wanted |= {("search", "", number) for number in found.complete()}
    assert evaluated == Counter(wanted)
    failed = [t for t in found.counted() if t.state == TrialState.FAIL]
    assert all(t.user_attrs["failure"].startswith("interrupted 3 times") for t in failed)
    assert found.parents == 0


def assert_best_kept(found: Found, out: Path, count: int = 3) -> None:
    """A folder holds the adapters of the best trials, whole, and no others."""
    best = sorted(found.complete().items(), key=lambda item: (item[1], item[0]))[:count]
    folders = {
        path.name for path in (out / "adapters").iterdir() if path.name.strip(".")[:5] == "trial"
    }
    assert folders == {f"trial-{number:05d}" for number, _ in best}
    for number, _ in best:
        files = {p.name for p in (out / "adapters" / f"trial-{number:05d}").iterdir()}
        assert files == {"adapter_config.json", "adapter_model.safetensors"}


def expected_table(total: int, out: Path) -> list[tuple[Any, ...]]:
    """What one run that nothing interrupts gives."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    assert start(cheap_spec(total), out, seconds=0.0).join() is None
    return look(str(out)).table()


def spoken(point: dict[str, Any]) -> str:
    """A point as text, to be counted."""
    return json.dumps(point, sort_keys=True)
