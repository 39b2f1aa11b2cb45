"""A study from its file to its database.  Read this first.

`run_study` prepares a run: the folder, the data, the ledger (what the database holds) and the
engine (what trains).  `drive` (loop.py) then runs trials through the engine.  `Search` decides
which: it takes units of the study's budget from the ledger, asks Optuna for a point for each,
prunes, and records how each trial ended.  Several runs may share a storage; each unit is trained
once.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from typing_extensions import override

from study.data.splitting import split_tsv
from study.engines.engine_choice import PACKED, EngineChoice
from study.engines.start import started_engine
from study.errors import InputError
from study.kinds.measurements import SHARED_COSTS
from study.kinds.schedules import SCHEDULES
from study.loop import Source, Verdict, drive
from study.make_sampler import sampler_for
from study.preparing.preparation import prepare, read_inputs
from study.run_folder import run_folder
from study.searching.divergence import Divergence
from study.searching.rungs import Rungs
from study.spec.sections import StudySpec
from study.store.claims import Claim
from study.store.comparable import task_name
from study.store.folders import SPLIT, write_whole
from study.store.ledger import Ledger, open_ledger
from study.store.provenance import provenance
from study.store.saved_states import SavedState, SavedStates, identity_of, state_name
from study.store.storage import DATABASE_NAME, is_shared, sqlite_url
from study.tasks.base import Task
from study.trials import (
    Finished,
    Interrupted,
    Passes,
    Progress,
    SelfCheck,
    TrialConfig,
    TrialResult,
    baseline_configs,
    search_config,
)
from study.views.base import QUIET, Outcome, Planned, View

STEP, REPORTS = "step", "reports"
"""What is noted beside a state: its step, and all reports so far."""
TAKEN_OVER = "it was silent for too long, and another run took it over"


@dataclass(frozen=True)
class StudyRun:
    """Where a run left its results, and whether it stopped before its budget was used."""

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
    """Run a study, or continue it, until `spec.search.trials` trials count.

    Several runs may share a storage, each with its own `out` or, on a server, with the same one.
    If a run dies, another retries what it left unfinished.

    Args:
        spec: The study.
        out: The run folder; it gets `study.db`, `spec.toml` and `adapters/`, and `split.tsv` if
            the dev set was taken from the training file.
        view: Shows the progress; nothing by default.
        storage: An Optuna storage URL instead of `out/study.db`.
        choice: The engine, and its worker processes and slots.
        task: Your own task instead of the one in the study file.  Only a task of the same class
            can continue the study.

    Raises:
        InputError: data, model, storage or folder cannot be used.  Finished trials are kept.
    """
    if task is not None and spec.own_task is not None:
        spec = spec.model_copy(update={"own_task": None})  # the object wins
    inputs = read_inputs(spec, task)
    if inputs.faults.problems:
        prepare(spec, inputs, view.base_training)  # raises, with the base's faults as well
    url = storage or sqlite_url(out / DATABASE_NAME)
    choice = _choice_for_objectives(spec, choice, view)
    with run_folder(out, exclusive=not is_shared(url)):
        corpus = inputs.corpus
        hashes = {} if corpus is None else corpus.hashes()
        trained_on = {"data_sha256": hashes, "own_task": task_name(inputs.task)}
        with open_ledger(url, spec, out, view.remarked) as ledger:
            if remark := ledger.check_resumable(trained_on):
                view.remarked(remark)
            if ledger.is_finished():
                return StudyRun(out, url, spec.name, stopped_early=False)
            spec = ledger.with_its_dtype()
            with started_engine(spec, choice, view, inputs) as started:
                name, workers = started.choice.name, started.choice.workers
                facts = provenance(name, workers, started.base_location, hashes)
                facts |= {"dtype": started.dtype or spec.base.dtype}
                if corpus is not None and corpus.labels:
                    facts |= {"labels": list(corpus.labels)}
                if remark := ledger.begin(facts | trained_on):
                    view.remarked(remark)
                if corpus is not None and corpus.places:
                    write_whole(out / SPLIT, split_tsv(corpus.places))
                settled = ledger.with_its_dtype()
                states = RunStates(SavedStates(out), partial(identity_of, settled, hashes))
                rungs = None
                if SCHEDULES[spec.search.schedule].pauses:
                    rungs = Rungs(spec, ledger.untrained, workers > 1, view.remarked)
                search = Search(spec, ledger, view, lambda: inputs.count("train"), states, rungs)
                planned = Planned(spec.search.budget, ledger.counted(), workers)
                with view.searching(planned):
                    drive(started.engine, search, view)
                if search.passes is not None:
                    ledger.record_facts({"passes": search.passes.facts()})
                ledger.keep_the_best()
                if ledger.is_finished():
                    states.files.remove_all()
                stopped_early = ledger.counted() < spec.search.budget
    return StudyRun(out, url, spec.name, stopped_early)


def trial_reports(trial: optuna.Trial) -> dict[int, float]:
    """Return what a trial has reported: something, if an earlier run had put it aside."""
    return dict(trial.study._storage.get_trial(trial._trial_id).intermediate_values)


def _choice_for_objectives(spec: StudySpec, wanted: EngineChoice, view: View) -> EngineChoice:
    """Return how to train: if seconds or memory are objectives, one trial at a time."""
    shared = [cost for cost in spec.evaluation.objective if cost in SHARED_COSTS]
    if not shared or wanted == wanted.one_at_a_time():
        return wanted
    view.remarked(
        f"training one trial at a time: {shared[0]} is an objective, so trials cannot share it"
    )
    return wanted.one_at_a_time()


@dataclass(frozen=True)
class Attempt:
    """A training in progress, with everything that identifies it.

    Here and in the engine its number is `config.number`: its Optuna trial's or a baseline's.
    """

    config: TrialConfig
    claim: Claim  # the unit of the budget that it uses
    trial: optuna.Trial | None  # None for a baseline
    reports: dict[int, float] = field(
        default_factory=dict
    )  # step -> value, of earlier attempts too

    @property
    def name(self) -> str:
        """Under which its state is saved."""
        return state_name(self.config, self.claim.number)


@dataclass(frozen=True)
class RunStates:
    """The saved states of a run's trainings, and what tells their settings apart."""

    files: SavedStates
    identity: Callable[[TrialConfig], str]

    def of(self, config: TrialConfig, claim: Claim) -> SavedState | None:
        """Return the state of an earlier attempt, or of one that was put aside."""
        name = state_name(config, claim.number)
        if not config.is_trained or not self.files.has(name):
            return None
        return self.files.find(name, self.identity(config))

    def save(self, attempt: Attempt, state: bytes, step: int) -> None:
        """Save the state of an attempt at its report."""
        notes = {STEP: step, REPORTS: sorted(attempt.reports.items())}
        identity = self.identity(attempt.config)
        self.files.save(attempt.name, SavedState(state, identity, notes))


class Search(Source):
    """The trials and baselines of a study that this run gets to train."""

    def __init__(
        self,
        spec: StudySpec,
        ledger: Ledger,
        view: View,
        epoch: Callable[[], int],
        states: RunStates,
        rungs: Rungs | None = None,
    ) -> None:
        self._spec = spec
        self._ledger = ledger
        self._view = view
        self._epoch = epoch
        self._states = states
        self._rungs = rungs
        self._restored: list[Attempt] | None = None  # of an earlier run, to be trained first
        self._costs: dict[int, TrialResult] = {}  # of those that are put aside
        self._objective = spec.evaluation.objective[0]
        self._baselines = {config.number: config for config in baseline_configs(spec)}
        self._attempts: dict[int, Attempt] = {}  # by config.number
        self._is_waiting = False
        self._is_checked = False
        self.passes: Passes | None = None  # of all workers
        self._divergence = Divergence()
        seconds = spec.search.timeout_seconds
        self._deadline = math.inf if seconds is None else time.monotonic() + seconds

    # ------------------------------------------------------------ asking

    @override
    def next(self) -> TrialConfig | None:
        if self._rungs is not None and self._restored is None:
            self._restored = self._restore(self._rungs)
        if self._restored:
            return self._restored.pop(0).config
        while True:
            if self._rungs is not None:
                if (number := self._rungs.next()) is not None:
                    return self._attempts[number].config
                if not self._rungs.wants_new:
                    return None
            attempt = self._take()
            if attempt is None:
                if self._rungs is None or not self._rungs.no_more():
                    return None
            elif not self._waits_at_rung(attempt):
                return attempt.config

    def _restore(self, rungs: Rungs) -> list[Attempt]:
        """Take in all that an earlier run had begun; return what is to be trained now."""
        training: list[Attempt] = []
        with rungs.restoring():
            for _ in range(self._ledger.begun()):
                if (attempt := self._take()) is None:
                    break
                if not self._waits_at_rung(attempt):
                    training.append(attempt)
        return training

    def _take(self) -> Attempt | None:
        """Return a new training, or one that another attempt or run had begun."""
        while claim := self._ledger.take(baselines_only=time.monotonic() >= self._deadline):
            with suppress(
                UpdateFinishedTrialError
            ):  # another run took it over before it had a point
                attempt = self._attempt_of(claim)
                self._attempts[attempt.config.number] = attempt
                return attempt
        return None

    def _attempt_of(self, claim: Claim) -> Attempt:
        """Return the training of a claim: a baseline, or a trial at a point that Optuna chose."""
        trial = None
        if claim.is_baseline:
            config = self._baselines[claim.number]
        else:
            enqueued = claim.number if claim.enqueued else None
            self._ledger.study.sampler = sampler_for(
                self._spec, claim.sampled, enqueued, self._ledger.bar()
            )
            trial = self._ledger.ask(claim)
            values = self._spec.search.search_space.suggest(trial)
            config = search_config(self._spec, trial.number, values, claim.number)
        if config.training.epochs is not None:
            config = replace(config, training=config.training.counted(self._epoch()))
        known = {} if trial is None or claim.waiting is None else trial_reports(trial)
        return Attempt(config, claim, trial, known)

    def _waits_at_rung(self, attempt: Attempt) -> bool:
        """Take up what is known of a training; return whether it waits at a rung already."""
        saved = self._states.of(attempt.config, attempt.claim)
        notes = {} if saved is None else saved.notes
        for step, value in notes.get(REPORTS, ()):
            self._note(attempt, int(step), float(value))
        if self._rungs is None or attempt.trial is None:
            return False
        passed = self._ledger.rungs_passed(attempt.trial, attempt.claim)
        reached = int(notes.get(STEP, 0))
        return self._rungs.begin(attempt.trial, attempt.config, attempt.reports, passed, reached)

    def _note(self, attempt: Attempt, step: int, value: float) -> None:
        """Report a value to Optuna, once."""
        is_single = len(self._spec.evaluation.objective) == 1
        if attempt.trial is None or not is_single or step in attempt.reports:
            return
        attempt.reports[step] = value
        with suppress(UpdateFinishedTrialError):  # taken over: noticed when telling the trial
            attempt.trial.report(value, step)

    @override
    def state_of(self, config: TrialConfig) -> bytes | None:
        saved = self._states.of(config, self._attempts[config.number].claim)
        return None if saved is None else saved.state

    @override
    def waits(self) -> bool:
        """Return whether other runs still train; if they die, this run takes their trials."""
        held = self._ledger.others_at_work() if time.monotonic() < self._deadline else 0
        if held and not self._is_waiting:
            self._view.remarked(
                f"waiting for the last trials, which other runs are training: {held}"
            )
        self._is_waiting = held > 0
        return self._is_waiting

    # ------------------------------------------------------------ telling

    @override
    def checked(self, check: SelfCheck) -> None:
        """Record the first self-check of the workers, and any that found something."""
        if check.remarks or not self._is_checked:
            self._ledger.record_facts({"self_check": check.to_json()})
        self._is_checked = True

    @override
    def passed(self, passes: Passes) -> None:
        """Add up what all workers' passes contained."""
        self.passes = passes if self.passes is None else passes.after(self.passes)

    @override
    def report(self, progress: Progress, *, is_last: bool) -> Verdict:
        """Report a value to Optuna and its rung; a pruner decides if there is one objective."""
        attempt, value = self._attempts[progress.number], progress.value
        trial = attempt.trial
        self._divergence.note(progress)
        if value is not None and math.isfinite(value):
            self._note(attempt, progress.step, value)
        if trial is None or is_last:
            return Verdict.GO_ON
        if value is not None and len(self._spec.evaluation.objective) == 1:
            prunes = math.isfinite(value) and trial.should_prune()
            if prunes or self._has_diverged(progress):
                return Verdict.PRUNE
        waits = self._rungs is not None and progress.is_report and self._rungs.reports(progress)
        return Verdict.PAUSE if waits else Verdict.GO_ON

    @property
    @override
    def keeps_states(self) -> bool:
        return True

    @override
    def keep(self, progress: Progress, state: bytes) -> None:
        self._states.save(self._attempts[progress.number], state, progress.step)

    @override
    def pause(self, progress: Progress, result: TrialResult, state: bytes | None) -> None:
        self._costs[progress.number] = result
        if state is not None:  # otherwise it will begin anew
            self.keep(progress, state)

    @override
    def settle(self) -> list[Outcome]:
        """Tell trials that stay put aside as pruned, with what they had."""
        return [] if self._rungs is None else [self._leave(n) for n in self._rungs.left()]

    def _leave(self, number: int) -> Outcome:
        assert self._rungs is not None
        rung = self._rungs.last_rung(number)
        attempt = self._pop(number)
        result = self._costs.pop(number, TrialResult())
        assert attempt.trial is not None
        if self._ledger.tell_pruned(attempt.trial, attempt.claim, attempt.config, result):
            reason = f"put aside at step {rung['step']}, where others were better"
            return self._outcome(attempt, "pruned", rung["score"], reason)
        return self._outcome(attempt, "interrupted", reason=TAKEN_OVER)

    def _pop(self, number: int) -> Attempt:
        """Forget a training that ends, and its state."""
        attempt = self._attempts.pop(number)
        if self._rungs is not None:
            self._rungs.end(number)
        self._states.files.remove(attempt.name)
        return attempt

    def _has_diverged(self, progress: Progress) -> bool:
        stops = self._spec.search.purpose.stops_diverged
        return stops and self._divergence.shows_in(progress)

    @override
    def prune(self, progress: Progress, result: TrialResult) -> Outcome:
        attempt = self._pop(progress.number)
        assert attempt.trial is not None
        if self._ledger.tell_pruned(attempt.trial, attempt.claim, attempt.config, result):
            reason = f"pruned at step {progress.step}"
            if self._has_diverged(progress):
                reason += f": its training loss rose to {progress.recent_loss:.3g}"
            return self._outcome(attempt, "pruned", progress.value, reason)
        return self._outcome(attempt, "interrupted", reason=TAKEN_OVER)

    @override
    def finish(self, finished: Finished) -> Outcome:
        attempt = self._pop(finished.number)
        config, claim, trial = attempt.config, attempt.claim, attempt.trial
        result: TrialResult | None = finished.result
        if trial is None:
            self._ledger.record_baseline(claim, config, finished.result)
            self._refuse_the_metric(config, finished.result.failure)
        else:
            result = self._ledger.tell_finished(trial, claim, config, finished.result)
        if result is None:
            return self._outcome(attempt, "interrupted", reason=TAKEN_OVER)
        if result.failure:
            return self._outcome(attempt, "failed", reason=result.failure)
        reached = result.metrics()
        further = {name: reached[name] for name in self._spec.evaluation.objective[1:]}
        outcome = self._outcome(attempt, "complete", reached[self._objective])
        return replace(outcome, further=further)

    def _refuse_the_metric(self, config: TrialConfig, failure: str | None) -> None:
        """Refuse a metric of the user's own that fails on the untrained base: trials would, too."""
        if config.is_trained or failure is None:
            return
        for name in self._spec.evaluation.own_metrics:
            _, found, reason = failure.partition(f"{name}: ")
            if found:
                raise InputError(
                    f"evaluation.metrics: {name}: must score what the {config.name} model writes, "
                    f"or no trial can be scored: {reason}"
                )

    @override
    def interrupt(self, interrupted: Interrupted) -> Outcome:
        attempt = self._attempts.pop(interrupted.number)  # its state stays, for the next attempt
        if self._rungs is not None:
            self._rungs.end(interrupted.number)
        self._ledger.tell_interrupted(attempt.trial, attempt.claim, interrupted.reason)
        return self._outcome(attempt, "interrupted", reason=interrupted.reason)

    def _outcome(
        self, attempt: Attempt, state: str, value: float | None = None, reason: str | None = None
    ) -> Outcome:
        counted = self._ledger.counted()
        return Outcome(attempt.config, state, self._objective, value, reason, counted)
