"""The ledger of one study in its storage: what to train next, what was recorded and kept.

The write that makes a trial final comes last, after its evaluations, so that a crash leaves either
a complete finished trial or an unfinished one.
"""

from __future__ import annotations

import math
import sqlite3
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.samplers import RandomSampler
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy.exc import DBAPIError

from study.errors import InputError, reason_of
from study.kinds.goals import STARTS
from study.kinds.measurements import COSTS
from study.kinds.schedules import rungs_of
from study.make_sampler import pruner_for
from study.metrics import Statistics, split_and_metric
from study.searching.ladder import ladder_in_words
from study.searching.untrained import clearly_better
from study.spec.sections import StudySpec, spec_from_toml
from study.store import records, recovery, run_queries, schema
from study.store.claims import Claim, Claims
from study.store.comparable import (
    check_comparable,
    check_same_data,
    check_same_draws,
    check_same_task,
)
from study.store.folders import write_whole
from study.store.live_runs import GRACE_SECONDS, Parent
from study.store.outlasting import be_patient
from study.store.provenance import DRAWS
from study.store.saved_adapters import KeptAdapters, save_adapter
from study.store.storage import (
    DATABASE_NAME,
    NO_STUDY,
    close_after_writing,
    hidden,
    is_shared,
    named_damage,
    one_line,
    open_for_writing,
    sqlite_url,
)
from study.trials import TrialConfig, TrialResult, baseline_configs

LOOK_AGAIN_SECONDS = 1.0  # between searches for dead runs if nothing is left to take


@contextmanager
def open_ledger(
    url: str, spec: StudySpec, out: Path, remark: Callable[[str], None]
) -> Iterator[Ledger]:
    """Open or create the study in its storage, and close the storage at the end.

    If a server goes away meanwhile, everything waits for it; `remark` shows a line.

    Raises:
        InputError: the storage cannot be used, or can no longer be written.
    """
    storage = open_for_writing(url)
    try:
        with _as_input_errors(url, out):
            with named_damage(hidden(url), NO_STUDY):
                ledger = Ledger(storage, spec, out)
            if is_shared(url):
                be_patient(storage.engine, remark)
            try:
                yield ledger
            finally:
                ledger.end()
    finally:
        close_after_writing(storage)


@contextmanager
def _as_input_errors(url: str, out: Path) -> Iterator[None]:
    kept = "finished trials are kept; run the same command to continue"
    try:
        yield
    except (StorageInternalError, DBAPIError, sqlite3.Error) as error:
        problem = f"{hidden(url)}: cannot write the database: {one_line(error)}; {kept}"
        raise InputError(problem) from error
    except OSError as error:
        problem = f"{error.filename or out}: cannot write: {reason_of(error)}; {kept}"
        raise InputError(problem) from error


def _refuse_a_second_study(storage: RDBStorage, name: str, out: Path) -> None:
    """Refuse to start another study in a run folder, where it would share the adapters.

    A study file that was renamed is mostly meant to continue the study, or to start beside it.
    """
    if storage.url != sqlite_url(out / DATABASE_NAME):
        return
    names = [study.study_name for study in storage.get_all_studies()]
    if names and name not in names:
        raise InputError(
            f"{out}: holds the study {names[0]!r:.80}, not {name!r:.80}; give the new one its own "
            f"--out, or continue the old one: optuna-study run {out}"
        )


class Ledger:
    """Everything that a run reads and writes about a study."""

    def __init__(self, storage: RDBStorage, spec: StudySpec, out: Path) -> None:
        self._database = storage.engine
        self._spec = spec
        self._out = out
        schema.create_tables(self._database)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        _refuse_a_second_study(storage, spec.name, out)
        self.study = optuna.create_study(
            storage=storage,
            study_name=spec.name,
            directions=list(spec.evaluation.directions),
            pruner=pruner_for(spec),
            load_if_exists=True,
        )
        self._claims = Claims(self._database, self._id)
        self._kept = KeptAdapters(self._database, self._id, spec, out)
        self._parent = Parent(self._database, out)
        self._recovered_at = -math.inf
        self._bar: float | None = None
        self._untrained: dict[str, Statistics] = {}
        self._examples_known = set(records.read_examples(self._database, self._id))

    @property
    def _id(self) -> int:
        return self.study._study_id

    # ------------------------------------------------------------ begin and resume

    def check_resumable(self, now: Mapping[str, Any]) -> str:
        """Refuse a study whose earlier trials would not be comparable with new ones.

        Returns a line if a metric was mended that has scored no trial, else an empty one.
        """
        stored = records.read_spec(self._database, self._id)
        if stored is None:
            if run_queries.has_trials(self._database, self._id):
                raise InputError(
                    f"{self._spec.name}: the storage already contains a study of this name "
                    "that optuna-study did not run; choose another name"
                )
            return ""
        self.check_task(now.get("own_task"))
        before = spec_from_toml(stored, self._spec.name)
        files, mended = self._spec.evaluation.metric_files, ""
        if before.evaluation.metric_files != files and not self._has_scored_trials():
            scored = before.evaluation.model_copy(update={"metric_files": files})
            before = before.model_copy(update={"evaluation": scored})
            mended = "a metric's file changed before it scored a trial; its baselines are repeated"
            if failed := self.counted():
                mended += f", and {failed} failed trials count: give more with --trials"
        check_comparable(before, self._spec, self._spec.name)
        known = records.read_provenance(self._database, self._id)
        check_same_data(known.get("data_sha256", {}), now["data_sha256"], self._spec.name)
        if mended:
            records.forget_baselines(self._database, self._id)  # the mended metric scores them anew
        if max(self._spec.values_of("dropout")) > 0.0:
            check_same_draws(known.get("draws", 1), DRAWS, self._spec.name)
        with named_damage(self._spec.name, NO_STUDY):
            recovery.adopt(self.study, self._claims)
            self._recover()
        return mended

    def _has_scored_trials(self) -> bool:
        rows = records.read_evaluations(self._database, self._id)
        return any(row.role != "baseline" for row in rows)

    def check_task(self, custom: str | None) -> None:
        """Refuse a study that another task began; None means the task in the study file."""
        before = records.read_provenance(self._database, self._id)
        if "own_task" in before:  # older studies did not record it
            check_same_task(before["own_task"], custom, self._spec.name)

    def with_its_dtype(self) -> StudySpec:
        """Return the study with the dtype that it began with, if its file leaves the choice."""
        stored = records.read_spec(self._database, self._id)
        if stored is not None and self._spec.base.dtype == "auto":
            self._settle(spec_from_toml(stored, self._spec.name).base.dtype)
        return self._spec

    def _settle(self, dtype: str) -> None:
        base = self._spec.base.model_copy(update={"dtype": dtype})
        self._spec = self._spec.model_copy(update={"base": base})

    def begin(self, provenance: Mapping[str, Any]) -> str:
        """Record how the study is run, and join the runs that share it.

        The stored study names the dtype that the machine chose.  Returns a line about where the
        search starts, if it begins now and not at the sampler's points.
        """
        self._settle(provenance.get("dtype", self._spec.base.dtype))
        text = self._spec.to_toml()
        if not records.add_study(self._database, self._id, text, provenance):
            self.check_resumable(provenance)  # another run may have started it
            records.write_study(self._database, self._id, text, provenance)
        write_whole(self._out / "spec.toml", text)
        self._describe()
        self._parent.begin()
        self._claims.open_baselines([config.number for config in self.missing_baselines()])
        is_new = self._claims.is_empty() and STARTS[self._spec.search.start]
        starts = self._spec.starts if is_new else ()
        self._claims.enqueue([*self._spec.search.enqueue, *starts])
        for trial_id in run_queries.waiting(self._database, self._id):
            waiting = self.study._storage.get_trial(trial_id)
            point = waiting.system_attrs.get("fixed_params", {})
            self._claims.enqueue_waiting(trial_id, point)
        room = self._spec.search.budget - len(self._spec.search.enqueue)
        return ladder_in_words(starts, room) if is_new else ""

    def record_facts(self, facts: Mapping[str, Any]) -> None:
        """Add to what is recorded of how the study is run."""
        records.add_facts(self._database, self._id, facts)

    def end(self) -> None:
        """Leave the study to other runs."""
        self._parent.end()

    def _describe(self) -> None:
        objectives = list(self._spec.evaluation.objective)
        if self.study.user_attrs.get("objectives") == objectives:
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            self.study.set_metric_names(objectives)
        self.study.set_user_attr("task", self._spec.task)
        self.study.set_user_attr("objectives", objectives)

    def _recover(self) -> None:
        recovery.recover(self.study, self._claims, self._database, self._out)
        self._recovered_at = time.monotonic()

    # ------------------------------------------------------------ what to train

    def counted(self) -> int:
        """Return how many trials count: complete, pruned, or failed by themselves."""
        return self._claims.counted()

    def missing_baselines(self) -> list[TrialConfig]:
        """Return the baselines that are not evaluated yet."""
        rows = records.read_evaluations(self._database, self._id, role="baseline")
        evaluated = {row.name for row in rows}
        return [config for config in baseline_configs(self._spec) if config.name not in evaluated]

    def bar(self) -> float | None:
        """Return the score from which a trial is clearly better than the untrained base.

        None with several objectives, with a cost as objective, or before the base is evaluated.
        """
        objectives = self._spec.evaluation.objective
        if self._bar is None and STARTS[self._spec.search.start] and len(objectives) == 1:
            found = self.untrained().get(objectives[0])
            if found is not None:
                self._bar = clearly_better(found, self._spec.evaluation.directions[0])
        return self._bar

    def untrained(self) -> Mapping[str, Statistics]:
        """Return the untrained base's statistics of the objectives that are scores, by objective.

        Empty before the base is evaluated.
        """
        if not self._untrained:
            rows = records.read_evaluations(self._database, self._id, role="baseline")
            of_base = {row.split: row.evaluation_id for row in rows if row.name == "base"}
            for objective in self._spec.evaluation.objective:
                split, metric = split_and_metric(objective)
                if objective not in COSTS and split in of_base:
                    self._untrained[objective] = records.read_statistics(
                        self._database, of_base[split], metric
                    )
        return self._untrained

    def is_finished(self) -> bool:
        """Return whether nothing is left to train."""
        return self.counted() >= self._spec.search.budget and not self.missing_baselines()

    def take(self, *, baselines_only: bool = False) -> Claim | None:
        """Take what to train next, which no other run will get; None if nothing is left.

        From time to time, and when nothing is left, the claims of dead runs are reopened.
        """
        if time.monotonic() - self._recovered_at > GRACE_SECONDS:
            self._recover()
        claim = self._take(baselines_only)
        if claim is None and time.monotonic() - self._recovered_at > LOOK_AGAIN_SECONDS:
            self._recover()
            claim = self._take(baselines_only)
        return claim

    def _take(self, baselines_only: bool) -> Claim | None:
        budget = self._spec.search.budget
        claim = self._claims.take(self._parent.id, budget, baselines_only=baselines_only)
        if claim is None or not claim.is_baseline:
            return claim
        if claim.number in [config.number for config in self.missing_baselines()]:
            return claim
        self._claims.close(claim)  # its run was killed between storing and closing it
        return self._take(baselines_only)

    def begun(self) -> int:
        """Return how many units to take for all that earlier runs had begun and not ended."""
        return self._claims.begun()

    def rungs_passed(self, trial: optuna.Trial, claim: Claim) -> list[dict[str, Any]]:
        """Return the rungs that a trial or its last attempt came to."""
        earlier = self._claims.trial_of(replace(claim, attempt=claim.attempt - 1))
        ids = [trial._trial_id, *([] if earlier is None else [earlier])]
        known = (rungs_of(self.study._storage.get_trial(trial_id).user_attrs) for trial_id in ids)
        return next((passed for passed in known if passed), [])

    def others_at_work(self) -> int:
        """Return how many trials and baselines of this study other runs hold."""
        others = [claim for claim in self._claims.held() if claim.parent != self._parent.id]
        if self.counted() >= self._spec.search.budget:
            others = [claim for claim in others if claim.is_baseline]
        return len(others)

    def ask(self, claim: Claim) -> optuna.Trial:
        """Return a claim's trial, whose point is not yet sampled."""
        storage, attributes = self.study._storage, _attributes(claim)
        if claim.waiting is not None:
            return self._ask_waiting(claim.waiting, claim, attributes)
        system = {run_queries.CLAIM: claim.key, "fixed_params": claim.point}
        template = optuna.trial.create_trial(
            state=TrialState.RUNNING,
            user_attrs=attributes,
            system_attrs={key: value for key, value in system.items() if value is not None},
        )
        return optuna.Trial(self.study, storage.create_new_trial(self._id, template))

    def _ask_waiting(
        self, trial_id: int, claim: Claim, attributes: Mapping[str, Any]
    ) -> optuna.Trial:
        storage = self.study._storage
        self.study.get_trials(
            deepcopy=False
        )  # fills Optuna's cache, which knows only what it made or read
        if storage.get_trial(trial_id).state == TrialState.RUNNING:
            self.study.sampler = RandomSampler()  # it was put aside, and its point is known
            return optuna.Trial(self.study, trial_id)
        storage.set_trial_system_attr(trial_id, run_queries.CLAIM, claim.key)
        for name, value in attributes.items():
            storage.set_trial_user_attr(trial_id, name, value)
        storage.set_trial_state_values(trial_id, TrialState.RUNNING)
        return optuna.Trial(self.study, trial_id)

    # ------------------------------------------------------------ results

    def record_baseline(self, claim: Claim, config: TrialConfig, result: TrialResult) -> None:
        """Store a baseline, which is not an Optuna trial; the next run retries a failed one."""
        if not result.failure:
            self._record(config, result)
            if result.adapter is not None:
                save_adapter(self._out, config.name, result.adapter)
        self._claims.close(claim, "failed" if result.failure else "done")

    def tell_finished(
        self, trial: optuna.Trial, claim: Claim, config: TrialConfig, result: TrialResult
    ) -> TrialResult | None:
        """Store and tell a finished trial; return the result, failed if an objective is NaN.

        Returns None if another run took the trial over because this one was silent for too long.
        """
        result = _judged(result, self._spec.evaluation.objective)
        if not self._set_details(trial, claim, config, result):
            return None
        if result.failure:
            return result if self._tell(trial, claim, TrialState.FAIL) else None
        metrics = result.metrics()
        values = [metrics[objective] for objective in self._spec.evaluation.objective]
        self._record(config, result)
        is_saved = self._kept.save(trial.number, values[0], result.adapter)
        if not self._tell(trial, claim, TrialState.COMPLETE, values):
            self._claims.forget_evaluations(trial.number)
            return None
        if is_saved:
            self.keep_the_best()
        return result

    def keep_the_best(self) -> None:
        """Delete the adapters of trials that are no longer among the best."""
        self._kept.remove_the_rest()

    def tell_pruned(
        self, trial: optuna.Trial, claim: Claim, config: TrialConfig, result: TrialResult
    ) -> bool:
        """Tell a pruned trial; return whether this run still held it."""
        is_mine = self._set_details(trial, claim, config, result)
        return is_mine and self._tell(trial, claim, TrialState.PRUNED)

    def tell_interrupted(self, trial: optuna.Trial | None, claim: Claim, reason: str) -> None:
        """Reopen the claim of a trial that was interrupted."""
        if trial is not None:
            recovery.interrupt(self.study, self._claims, trial, claim, reason)
        elif claim.attempt >= recovery.MAX_ATTEMPTS:
            self._claims.close(claim, "failed")
        else:
            self._claims.release(claim)

    def unconfirmed(self, configs: Sequence[TrialConfig]) -> list[TrialConfig]:
        """Return the confirmations that are not stored yet."""
        rows = records.read_evaluations(self._database, self._id, role="confirm")
        stored = {(row.trial_number, row.name, row.seed) for row in rows}
        return [c for c in configs if (c.repeats, c.name, c.seed) not in stored]

    def record_confirmation(self, config: TrialConfig, result: TrialResult) -> None:
        """Store a training on a fresh seed; it is not an Optuna trial.

        Raises InputError if an earlier confirmation had different test examples.
        """
        stored = records.read_examples(self._database, self._id).get("test")
        if stored is not None:
            texts = tuple(zip(stored.sources, stored.targets, strict=True))
            if texts != tuple(result.splits["test"].texts):
                raise InputError(
                    f"{self._spec.name}: data.test: must be the examples of the earlier "
                    "confirmation, got others; results could not be compared"
                )
        self._record(config, result)

    def _tell(
        self, trial: optuna.Trial, claim: Claim, state: TrialState, values: Any = None
    ) -> bool:
        is_told = recovery.tell(self.study, trial, state, values)
        if is_told:
            self._claims.close(claim)
        return is_told

    def _is_mine(self, claim: Claim) -> bool:
        """Return whether this run still holds a trial; if not, make sure it is not left RUNNING."""
        if self._claims.is_mine(claim):
            return True
        recovery.recover(self.study, self._claims, self._database, self._out)
        return False

    def _set_details(
        self, trial: optuna.Trial, claim: Claim, config: TrialConfig, result: TrialResult
    ) -> bool:
        if not self._is_mine(claim):
            return False
        attributes: dict[str, Any] = {"seed": config.seed, **result.metrics()}
        if result.failure:
            attributes["failure"] = result.failure
        with suppress(optuna.exceptions.UpdateFinishedTrialError):  # `_tell` will notice
            for name, value in attributes.items():
                if not isinstance(value, float) or math.isfinite(value):
                    trial.set_user_attr(name, value)
        return True

    def _record(self, config: TrialConfig, result: TrialResult) -> None:
        for split, split_result in result.splits.items():
            if split not in self._examples_known:
                sources, targets = zip(*split_result.texts, strict=True)
                examples = records.Examples(sources, targets, split_result.groups)
                records.write_examples(self._database, self._id, split, examples)
                self._examples_known.add(split)
        number = config.number if config.role == "search" else config.repeats
        records.write_evaluations(
            self._database,
            self._id,
            [
                records.Evaluation(
                    role=config.role,
                    name=config.name,
                    trial_number=number,
                    seed=config.seed,
                    split=split,
                    config=config.values,
                    details={
                        **result.details,
                        **split_result.details,
                        "training_losses": result.losses,
                    },
                    statistics=split_result.statistics,
                    outputs=split_result.outputs,
                )
                for split, split_result in result.splits.items()
            ],
        )


def _attributes(claim: Claim) -> dict[str, Any]:
    """The user attributes that record where a trial's point comes from."""
    attributes: dict[str, Any] = {"enqueued": True} if claim.enqueued else {}
    if claim.origin is not None:
        attributes |= {"retry_of": claim.origin, "attempt": claim.attempt}
    return attributes


def _judged(result: TrialResult, objectives: tuple[str, ...]) -> TrialResult:
    """Return the result, failed if an objective is not a finite number."""
    if result.failure:
        return result
    metrics = result.metrics()
    bad = [f"{o} is {metrics[o]}" for o in objectives if not math.isfinite(metrics[o])]
    return replace(result, failure=f"after training {', '.join(bad)}") if bad else result
