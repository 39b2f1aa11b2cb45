"""The loop: ask -> start -> advance -> report and tell.  Read this first.

The runner knows Optuna, an engine and the store.  It alone asks, tells and writes; several of them
on one storage share the study's budget, each unit of which is taken once.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.exceptions import UpdateFinishedTrialError

from study.bases.load import locate_base
from study.data.corpora import corpus_of
from study.data.readers import Corpus
from study.data.remarks import data_remarks
from study.engines.base import Engine
from study.engines.engine_choice import PACKED, EngineChoice
from study.engines.pool.build import pool_of, reached
from study.engines.process_settings import be_one_quiet_thread
from study.engines.workspace import make_engine
from study.errors import InputError
from study.metrics.needs import check_metrics, metric_remarks
from study.samplers import sampler_for
from study.spec.sections import SHARED_COSTS, StudySpec
from study.store.claims import Claim
from study.store.comparable import task_name
from study.store.folders import check_run_folder
from study.store.ledger import Ledger, open_ledger
from study.store.provenance import provenance
from study.store.storage import DATABASE_NAME, is_shared, sqlite_url
from study.tasks.base import Task
from study.trials import (
    Event,
    Finished,
    Interrupted,
    Notice,
    Progress,
    TrialConfig,
    TrialResult,
    baseline_configs,
    search_config,
)
from study.views.base import QUIET, Outcome, View

POLL_SECONDS = 1.0  # while other runs train what is left
TAKEN_OVER = "it was silent for too long, and another run took it over"


@dataclass(frozen=True)
class StudyRun:
    """Where a run left its results, and whether it was stopped before its budget was used."""

    folder: Path
    storage: str
    name: str
    stopped_early: bool


def run_study(
    spec: StudySpec,
    out: Path,
    view: View = QUIET,
    *,
    storage: str | None = None,
    choice: EngineChoice = PACKED,
    task: Task | None = None,
) -> StudyRun:
    """Run a study, or continue it where it stands, until `spec.search.trials` trials count.

    Several runs may share a storage, each with an `out` of its own or, on a server, one for all:
    every unit of the budget is trained once, and what a run leaves that dies is retried by another.

    Args:
        spec: The study.
        out: The run folder; it gets `study.db`, `spec.toml` and `adapters/`.
        view: Receives what happens; nothing is shown unless it is given.
        storage: An Optuna storage URL in place of `out/study.db`.
        choice: The engine, and its worker processes and slots.
        task: A task of one's own in place of the one that the study file names; only a task of the
            same class continues the study.

    Raises:
        InputError: data, model, storage or folder are not usable; nothing of the study is lost.
    """
    check_metrics(spec.evaluation)
    url = storage or sqlite_url(out / DATABASE_NAME)
    choice = _allowed(spec, choice, view)
    with locked(out, alone=not is_shared(url)):
        corpus = corpus_of(spec) if task is None else None
        hashes = {} if corpus is None else corpus.hashes()
        rests_on = {"data_sha256": hashes, "own_task": task_name(task)}
        with open_ledger(url, spec, out) as ledger:
            ledger.check_resumable(rests_on)
            if ledger.is_finished():
                return StudyRun(out, url, spec.name, stopped_early=False)
            with (
                reached(choice, view.remarked) as choice,
                ready_engine(spec, choice, task, view) as (engine, base),
            ):
                for remark in metric_remarks(spec.evaluation):
                    view.remarked(remark)
                for remark in data_remarks(spec, corpus, base) if corpus else ():
                    view.remarked(f"data: {remark}")
                ledger.begin(provenance(choice.name, choice.workers, base, hashes) | rests_on)
                runner = Runner(spec, engine, ledger, view, partial(_epoch, task, corpus))
                stopped = runner.run(choice.workers)
    return StudyRun(out, url, spec.name, stopped)


class Runner:
    """Fills the engine's slots from Optuna, and the ledger from the engine."""

    def __init__(
        self,
        spec: StudySpec,
        engine: Engine,
        ledger: Ledger,
        view: View,
        epoch: Callable[[], int],
    ) -> None:
        self._spec = spec
        self._engine = engine
        self._ledger = ledger
        self._view = view
        self._epoch = epoch  # how many examples it has
        self._space = spec.search.search_space
        self._objective = spec.evaluation.objective[0]
        self._baselines = {config.number: config for config in baseline_configs(spec)}
        self._running: dict[int, TrialConfig] = {}
        self._claims: dict[int, Claim] = {}
        self._trials: dict[int, optuna.Trial] = {}
        self._is_waiting = False
        self._total = spec.search.budget
        seconds = spec.search.timeout_seconds
        self._deadline = math.inf if seconds is None else time.monotonic() + seconds

    def run(self, workers: int) -> bool:
        """Run until the budget is used; returns whether it was stopped before."""
        done = self._ledger.counted()
        with self._view.searching(self._total, done, workers), stop_signals() as interruptible:
            try:
                self._loop(interruptible)
            except KeyboardInterrupt:
                self._interrupt_all("the study was stopped")
        self._ledger.keep_the_best()
        return self._ledger.counted() < self._total

    def _loop(self, interruptible: Callable[[], Any]) -> None:
        while True:
            self._fill_slots()
            if not self._running:
                if not self._awaits_others():
                    return
                with interruptible():
                    time.sleep(POLL_SECONDS)
                continue
            with interruptible():
                events = self._engine.advance()
            finished = {e.number for e in events if isinstance(e, (Finished, Interrupted))}
            for event in events:
                self._handle(event, finished)

    # ------------------------------------------------------------ asking

    def _fill_slots(self) -> None:
        while self._engine.free_slots:
            claim = self._ledger.take(baselines_only=time.monotonic() >= self._deadline)
            if claim is None:
                return
            try:
                config = self._config_of(claim)
            except UpdateFinishedTrialError:
                continue  # taken over before it had its point
            if config.training.epochs is not None:
                config = replace(config, training=config.training.counted(self._epoch()))
            self._claims[config.number] = claim
            self._running[config.number] = config
            self._engine.start(config)
            self._view.started(config)

    def _config_of(self, claim: Claim) -> TrialConfig:
        if claim.is_baseline:
            return self._baselines[claim.number]
        given = claim.number if claim.enqueued else None
        self._ledger.study.sampler = sampler_for(self._spec, claim.sampled, given)
        trial = self._ledger.ask(claim)
        values = self._space.suggest(trial)
        self._trials[trial.number] = trial
        return search_config(self._spec, trial.number, values, claim.number)

    def _awaits_others(self) -> bool:
        """Say whether other runs train what is left: should they die, it is taken here."""
        held = self._ledger.others_at_work() if time.monotonic() < self._deadline else 0
        if held and not self._is_waiting:
            self._view.remarked(f"waiting for the last trials, which other runs train: {held}")
        self._is_waiting = held > 0
        return self._is_waiting

    # ------------------------------------------------------------ telling

    def _handle(self, event: Event, finished: Container[int]) -> None:
        match event:
            case Notice():
                self._view.remarked(event.text)
            case Progress():
                self._report(event, is_over=event.number in finished)
            case Finished():
                self._finish(event)
            case Interrupted():
                self._interrupt(event)

    def _report(self, event: Progress, is_over: bool) -> None:
        config = self._running[event.number]
        self._view.progressed(config, event.step, event.value)
        trial = self._trials.get(event.number)
        is_single = len(self._spec.evaluation.objective) == 1
        if trial is None or event.value is None or not is_single:
            return
        if not math.isfinite(event.value):
            return
        with suppress(UpdateFinishedTrialError):  # taken over: whoever tells it will notice
            trial.report(event.value, event.step)
        if not is_over and trial.should_prune():
            self._prune(event, trial)

    def _prune(self, event: Progress, trial: optuna.Trial) -> None:
        result = self._engine.stop(event.number)
        config, claim = self._forget(event.number)
        if self._ledger.tell_pruned(trial, claim, config, result):
            self._show(config, "pruned", event.value, f"pruned at step {event.step}")
        else:
            self._show(config, "interrupted", None, TAKEN_OVER)

    def _finish(self, event: Finished) -> None:
        trial = self._trials.get(event.number)
        config, claim = self._forget(event.number)
        result: TrialResult | None = event.result
        if trial is None:
            self._ledger.record_baseline(claim, config, event.result)
        else:
            result = self._ledger.tell_finished(trial, claim, config, event.result)
        if result is None:
            self._show(config, "interrupted", None, TAKEN_OVER)
        elif result.failure:
            self._show(config, "failed", None, result.failure)
        else:
            self._show(config, "complete", result.metrics()[self._objective])

    def _interrupt(self, event: Interrupted) -> None:
        trial = self._trials.get(event.number)
        config, claim = self._forget(event.number)
        self._ledger.tell_interrupted(trial, claim, event.reason)
        self._show(config, "interrupted", None, event.reason)

    def _show(
        self, config: TrialConfig, state: str, value: float | None, reason: str | None = None
    ) -> None:
        counted = self._ledger.counted()
        self._view.ended(Outcome(config, state, self._objective, value, reason, counted))

    def _interrupt_all(self, reason: str) -> None:
        for number in list(self._running):
            self._interrupt(Interrupted(number, reason))

    def _forget(self, number: int) -> tuple[TrialConfig, Claim]:
        self._trials.pop(number, None)
        return self._running.pop(number), self._claims.pop(number)


# ---------------------------------------------------------------- surroundings


@contextmanager
def locked(out: Path, *, alone: bool) -> Iterator[None]:
    """Make the run folder, free of links; on an SQLite file of its own a run has it `alone`."""
    check_run_folder(out)
    lock = FileLock(out / ".lock")
    try:
        out.mkdir(parents=True, exist_ok=True)
        if alone:
            lock.acquire(timeout=0)
    except Timeout:
        raise InputError(
            f"{out}: another `optuna-study run` is working in this folder; "
            "wait for it, or use another --out"
        ) from None
    except OSError as error:
        raise InputError(f"{out}: cannot use the run folder: {error.strerror}") from None
    try:
        yield
    finally:
        lock.release()


def _epoch(task: Task | None, corpus: Corpus[Any] | None) -> int:
    """Return how many training examples a task of one's own, or the study's corpus, has."""
    if corpus is not None:
        return len(corpus.train)
    assert task is not None
    return len(task.examples("train"))


def _allowed(spec: StudySpec, wanted: EngineChoice, view: View) -> EngineChoice:
    """Return how to train: what is shared between trials can be no objective of theirs."""
    shared = [cost for cost in spec.evaluation.objective if cost in SHARED_COSTS]
    alone = wanted.alone()
    if not shared or wanted == alone:
        return wanted
    view.remarked(f"one trial at a time: {shared[0]} as an objective cannot be shared")
    return alone


@contextmanager
def ready_engine(
    spec: StudySpec, choice: EngineChoice, task: Task | None, view: View
) -> Iterator[tuple[Engine, str]]:
    """Yield an engine that is ready, and the base's location."""
    be_one_quiet_thread()
    pool = pool_of(make_engine, choice)
    engine: Engine | None = pool
    try:
        location = locate_base(spec, view.base_training)
        if pool is None:
            engine = make_engine(spec, location, task, choice)
        else:
            pool.load(spec, location, task, choice)
        assert engine is not None
        yield engine, location
    finally:
        if engine is not None:
            engine.close()


@contextmanager
def stop_signals() -> Iterator[Callable[[], Any]]:
    """Turn SIGINT and SIGTERM into KeyboardInterrupt, but only where nothing is being written.

    Yields a context manager for the places that may be interrupted.  A second signal is left to
    Python's own handler.
    """
    state = {"requested": False, "inside": False}

    def handler(number: int, frame: Any) -> None:
        state["requested"] = True
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if state["inside"]:
            raise KeyboardInterrupt

    @contextmanager
    def interruptible() -> Iterator[None]:
        state["inside"] = True
        try:
            if state["requested"]:
                raise KeyboardInterrupt
            yield
        finally:
            state["inside"] = False

    try:
        before = {s: signal.signal(s, handler) for s in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread: signals are somebody else's
        yield interruptible
        return
    try:
        yield interruptible
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
