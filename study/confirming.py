"""Training the winners again on fresh seeds, and scoring them on what is held out.

The best of N trials was chosen by the very score it is praised for.  Here its configuration, the
runners-up and the baselines are trained anew: each on the same fresh seeds, so that differences are
paired by seed as well as by example, and evaluated on the test split, which no search has seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from study.data.corpora import corpus_of
from study.engines.base import Engine
from study.engines.engine_choice import PACKED, EngineChoice
from study.engines.pool.build import reached
from study.errors import InputError
from study.runner import locked, ready_engine, stop_signals
from study.seeds import derive_seed
from study.spec.sections import SHARED_COSTS, StudySpec
from study.store.ledger import Ledger, open_ledger
from study.store.recovery import MAX_ATTEMPTS
from study.store.storage import DATABASE_NAME, sqlite_url
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
from study.views.base import Outcome, View

FIRST_NUMBER = -100
"""Confirmations are no Optuna trials; an engine knows them by this number and those below."""


@dataclass(frozen=True)
class Candidate:
    """A trial of the search, by its number and the values that the search chose."""

    number: int
    values: dict[str, Any]


def confirm_study(
    spec: StudySpec,
    out: Path,
    view: View,
    candidates: Sequence[Candidate],
    *,
    seeds: int = 5,
    storage: str | None = None,
    choice: EngineChoice = PACKED,
) -> bool:
    """Train candidates and baselines on fresh seeds; returns whether all of it is done.

    What is stored already is not trained again, so the same call continues; with more seeds it
    trains those that are new.

    Raises:
        InputError: there is no test split, or another than an earlier confirmation had; data,
            model, storage or folder are not usable.
    """
    corpus = corpus_of(spec)
    if not corpus.test:
        raise InputError("data.test: confirming needs held-out examples; give a file by --test")
    url = storage or sqlite_url(out / DATABASE_NAME)
    with locked(out, alone=True), open_ledger(url, spec, out) as ledger:
        ledger.check_task(None)  # one of the user's own is not here
        wanted = confirmation_configs(spec, candidates, seeds, len(corpus.train))
        pending = ledger.unconfirmed(wanted)
        if not pending:
            view.remarked(f"all {len(wanted)} trainings are done: nothing is trained again")
            return True
        with (
            reached(choice, view.remarked) as choice,
            ready_engine(spec, choice, None, view) as (engine, _),
        ):
            confirmation = _Confirmation(spec, engine, ledger, view, choice)
            return confirmation.run(pending, len(wanted))


def confirmation_configs(
    spec: StudySpec, candidates: Sequence[Candidate], seeds: int, examples: int
) -> list[TrialConfig]:
    """Return what is to be trained: seed by seed every candidate and baseline; the base once.

    `examples` are those of training: what epochs are counted in.
    """
    untrained, *defaults = baseline_configs(spec)
    number = iter(range(FIRST_NUMBER, FIRST_NUMBER - 10**9, -1))
    configs = [replace(untrained, number=next(number), role="confirm")]
    for index in range(seeds):
        seed = derive_seed(spec.seed, "confirm", index)
        again = [replace(search_config(spec, 0, c.values, 0), repeats=c.number) for c in candidates]
        configs += [
            replace(config, number=next(number), seed=seed, role="confirm")
            for config in (*again, *defaults)
        ]
    return [replace(c, training=c.training.counted(examples)) for c in configs]


def chosen_trials(
    ranked: Sequence[FrozenTrial], top: int, others: Sequence[int]
) -> list[Candidate]:
    """Return the best trials, and those that are named besides.

    Raises:
        InputError: no trial is complete, or a named one is not.
    """
    if not ranked:
        raise InputError("confirm: no trial is complete yet")
    known = {trial.number: trial for trial in ranked}
    for number in others:
        if number not in known:
            raise InputError(f"--trial: no complete trial has the number {number}")
    numbers = dict.fromkeys([*(trial.number for trial in ranked[:top]), *others])
    return [Candidate(number, known[number].params) for number in numbers]


class _Confirmation:
    """Fills the engine's slots from a list; the ledger gets what comes of it."""

    def __init__(
        self, spec: StudySpec, engine: Engine, ledger: Ledger, view: View, choice: EngineChoice
    ) -> None:
        self._engine = engine
        self._choice = choice
        self._ledger = ledger
        self._view = view
        self._objective = spec.evaluation.objective[0]
        self._running: dict[int, TrialConfig] = {}
        self._attempts: dict[int, int] = {}
        self._pending: list[TrialConfig] = []
        self._missed = 0

    def run(self, pending: Sequence[TrialConfig], total: int) -> bool:
        """Train what is pending; returns whether none of it failed or was interrupted."""
        self._pending = list(pending)
        done, workers = total - len(pending), self._choice.workers
        with (
            self._view.searching(total, done, workers, "trainings"),
            stop_signals() as interruptible,
        ):
            try:
                self._loop(interruptible)
            except KeyboardInterrupt:
                return False
        return self._missed == 0

    def _loop(self, interruptible: Callable[[], Any]) -> None:
        while self._pending or self._running:
            while self._pending and self._engine.free_slots:
                config = self._pending.pop(0)
                self._running[config.number] = config
                self._engine.start(config)
                self._view.started(config)
            with interruptible():
                events = self._engine.advance()
            for event in events:
                self._handle(event)

    def _handle(self, event: Event) -> None:
        match event:
            case Notice():
                self._view.remarked(event.text)
            case Progress():
                self._view.progressed(self._running[event.number], event.step, event.value)
            case Finished():
                self._finish(self._running.pop(event.number), event.result)
            case Interrupted():
                self._retry(self._running.pop(event.number), event.reason)

    def _finish(self, config: TrialConfig, result: TrialResult) -> None:
        if result.failure:
            self._missed += 1
            self._view.ended(Outcome(config, "failed", self._objective, None, result.failure))
            return
        self._ledger.record_confirmation(config, replace(result, details=self._costs(result)))
        value = result.metrics()[self._objective]
        self._view.ended(Outcome(config, "complete", self._objective, value))

    def _costs(self, result: TrialResult) -> dict[str, float]:
        """What the training itself cost: seconds and memory that others share are not its own."""
        shared = () if self._choice == self._choice.alone() else SHARED_COSTS
        return {name: cost for name, cost in result.details.items() if name not in shared}

    def _retry(self, config: TrialConfig, reason: str) -> None:
        self._attempts[config.number] = self._attempts.get(config.number, 1) + 1
        if self._attempts[config.number] <= MAX_ATTEMPTS:
            self._pending.append(config)
        else:
            self._missed += 1
        self._view.ended(Outcome(config, "interrupted", self._objective, None, reason))
