"""Confirm the winners: train them again on fresh seeds and score them on held-out examples.

The winner was chosen for its score, so that score is too good.  Its configuration, the runners-up
and the baselines are trained again on the same fresh seeds, so that differences are paired by seed
and by example.  They are evaluated on the test split, which the search never sees.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial
from typing_extensions import override

from study.engines.engine_choice import PACKED, EngineChoice
from study.engines.start import started_engine
from study.errors import InputError
from study.kinds.measurements import SHARED_COSTS
from study.loop import Source, drive
from study.preparing.preparation import read_inputs
from study.run_folder import run_folder
from study.seeds import derive_seed
from study.spec.sections import StudySpec
from study.store.comparable import task_name
from study.store.ledger import Ledger, open_ledger
from study.store.recovery import MAX_ATTEMPTS
from study.store.storage import DATABASE_NAME, sqlite_url
from study.tasks.base import Task
from study.trials import (
    Finished,
    Interrupted,
    SelfCheck,
    TrialConfig,
    baseline_configs,
    search_config,
)
from study.views.base import Outcome, Planned, View

FIRST_NUMBER = -100
"""Confirmations are not Optuna trials; in an engine their numbers start here and go down."""


@dataclass(frozen=True)
class Candidate:
    """A trial to confirm: its number, and the values that the search chose."""

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
    task: Task | None = None,
) -> bool:
    """Train candidates and baselines on fresh seeds; return whether all of it is done.

    Stored trainings are not repeated, so the same call continues; with more seeds it trains only
    on the new ones.

    Raises:
        InputError: there is no test split, or it differs from an earlier confirmation's; or data,
            model, storage or folder cannot be used.
    """
    if task is not None and spec.own_task is not None:
        spec = spec.model_copy(update={"own_task": None})  # the object wins
    inputs = read_inputs(spec, task)
    inputs.faults.refuse()
    if not inputs.count("test"):
        raise InputError(
            "data.test: confirming needs held-out examples, got none; name a file with --test"
        )
    url = storage or sqlite_url(out / DATABASE_NAME)
    with run_folder(out, exclusive=True), open_ledger(url, spec, out, view.remarked) as ledger:
        ledger.check_task(task_name(inputs.task))
        wanted = confirmation_configs(spec, candidates, seeds, inputs.count("train"))
        pending = ledger.unconfirmed(wanted)
        if not pending:
            view.remarked(f"all {len(wanted)} trainings are already done; nothing to train")
            return True
        with started_engine(spec, choice, view, inputs) as started:
            is_shared = started.choice != started.choice.one_at_a_time()
            source = Confirmation(spec, ledger, pending, SHARED_COSTS if is_shared else ())
            done = len(wanted) - len(pending)
            planned = Planned(len(wanted), done, started.choice.workers, "trainings")
            with view.searching(planned):
                drive(started.engine, source, view)
            return source.is_complete


def confirmation_configs(
    spec: StudySpec, candidates: Sequence[Candidate], seeds: int, examples: int
) -> list[TrialConfig]:
    """Return what to train: base and teacher once, then candidates and baselines, seed by seed.

    `examples` is the number of training examples in an epoch.
    """
    baselines = baseline_configs(spec)
    defaults = [config for config in baselines if config.is_trained]
    number = iter(range(FIRST_NUMBER, FIRST_NUMBER - 10**9, -1))
    configs: list[TrialConfig] = [
        replace(config, number=next(number), role="confirm")
        for config in baselines
        if not config.is_trained
    ]
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
    """Return the `top` best trials, and the `others` that were named.

    Raises:
        InputError: no trial is complete, or a named one is not.
    """
    if not ranked:
        raise InputError("confirm: needs a complete trial, got none yet")
    complete = {trial.number: trial for trial in ranked}
    for number in others:
        if number not in complete:
            raise InputError(f"--trial: no complete trial has the number {number}")
    numbers = dict.fromkeys([*(trial.number for trial in ranked[:top]), *others])
    return [Candidate(number, complete[number].params) for number in numbers]


class Confirmation(Source):
    """The trainings of a confirmation, taken one by one from a list.

    Those that a dead worker lost are retried at the end; `missed` counts those that failed or were
    lost too often.
    """

    def __init__(
        self,
        spec: StudySpec,
        ledger: Ledger,
        pending: Sequence[TrialConfig],
        shared: Container[str],
    ) -> None:
        self.missed = 0
        self._ledger = ledger
        self._objective = spec.evaluation.objective[0]
        self._pending = list(pending)
        self._shared = shared  # costs that are measured only for several trainings together
        self._running: dict[int, TrialConfig] = {}
        self._attempts: Counter[int] = Counter()  # by config.number

    @property
    def is_complete(self) -> bool:
        """Return whether everything was trained."""
        return not self.missed and not self._pending

    @override
    def next(self) -> TrialConfig | None:
        if not self._pending:
            return None
        config = self._pending.pop(0)
        self._running[config.number] = config
        return config

    @override
    def checked(self, check: SelfCheck) -> None:
        self._ledger.record_facts({"confirmation_self_check": check.to_json()})

    @override
    def finish(self, finished: Finished) -> Outcome:
        config, result = self._running.pop(finished.number), finished.result
        if result.failure:
            self.missed += 1
            return Outcome(config, "failed", self._objective, None, result.failure)
        details = {n: cost for n, cost in result.details.items() if n not in self._shared}
        self._ledger.record_confirmation(config, replace(result, details=details))
        return Outcome(config, "complete", self._objective, result.metrics()[self._objective])

    @override
    def interrupt(self, interrupted: Interrupted) -> Outcome:
        config = self._running.pop(interrupted.number)
        self._attempts[config.number] += 1
        if self._attempts[config.number] < MAX_ATTEMPTS:
            self._pending.append(config)
        else:
            self.missed += 1
        return Outcome(config, "interrupted", self._objective, None, interrupted.reason)
