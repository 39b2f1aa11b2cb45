"""One study in its storage: what counts, what is told, what is kept.

Every write that makes a trial final comes last, after its evaluations, so that a crash leaves
either a finished trial with everything or an unfinished one.
"""

from __future__ import annotations

import math
import sqlite3
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import DBAPIError

from study.errors import InputError
from study.resume import check_comparable, check_same_data
from study.samplers import is_given, pruner_for
from study.spec import StudySpec, spec_from_toml
from study.store import records
from study.store.adapters import keep_only, save_adapter, trial_name
from study.store.storage import (
    NO_STUDY,
    close_after_writing,
    hidden,
    named_damage,
    open_for_writing,
)
from study.trials import TrialConfig, TrialResult, baseline_configs

MAX_ATTEMPTS = 3


@contextmanager
def open_ledger(url: str, spec: StudySpec, out: Path) -> Iterator[Ledger]:
    """Open or create the study in its storage, and close the storage in the end.

    Raises:
        InputError: the storage cannot be used, or could not be written any more.
    """
    storage = open_for_writing(url)
    try:
        with named_damage(hidden(url), NO_STUDY):
            ledger = Ledger(storage, spec, out)
        yield ledger
    except (StorageInternalError, DBAPIError, sqlite3.Error) as error:
        cause = " ".join(str(error.__cause__ or error).split())[:200]
        raise InputError(
            f"{hidden(url)}: cannot write the database: {cause}; trials that were told are kept, "
            "the same command continues"
        ) from error
    except OSError as error:
        raise InputError(
            f"{error.filename or out}: cannot write: {error.strerror}; trials that were told are "
            "kept, the same command continues"
        ) from error
    finally:
        close_after_writing(storage)


class Ledger:
    """The one writer of a study."""

    def __init__(self, storage: RDBStorage, spec: StudySpec, out: Path) -> None:
        self._engine = storage.engine
        self._spec = spec
        self._out = out
        self._maximize = spec.evaluation.directions[0] == "maximize"
        records.create_tables(self._engine)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.study = optuna.create_study(
            storage=storage,
            study_name=spec.name,
            directions=list(spec.evaluation.directions),
            pruner=pruner_for(spec),
            load_if_exists=True,
        )
        trials = self.study.get_trials(deepcopy=False)
        self._counted = sum(map(counts, trials))
        self.sampled = sum(not is_given(t) for t in trials)
        self._retries = [t.number for t in trials if "retry_of" in t.user_attrs]
        self._complete = {t.number: t.values for t in trials if t.state == TrialState.COMPLETE}
        self._examples_known = set(records.read_examples(self._engine, self._id))

    @property
    def _id(self) -> int:
        return self.study._study_id

    # ------------------------------------------------------------ begin and resume

    def check_resumable(self, hashes: Mapping[str, str]) -> None:
        """Refuse a study whose earlier trials would not be comparable with new ones."""
        stored = records.read_spec(self._engine, self._id)
        if stored is None:
            if self.study.get_trials(deepcopy=False):
                raise InputError(
                    f"{self._spec.name}: the storage holds a study of this name that "
                    "optuna-study did not run; choose another name"
                )
            return
        check_comparable(spec_from_toml(stored, self._spec.name), self._spec, self._spec.name)
        before = records.read_provenance(self._engine, self._id).get("data_sha256", {})
        check_same_data(before, hashes, self._spec.name)

    def begin(self, provenance: Mapping[str, Any]) -> None:
        """Record how the study is run; enqueue points that are new; retry what was left running."""
        before = records.read_spec(self._engine, self._id)
        records.write_study(self._engine, self._id, self._spec.to_toml(), provenance)
        (self._out / "spec.toml").write_text(self._spec.to_toml(), encoding="utf-8")
        if before is None:
            self._describe()
        known = spec_from_toml(before, self._spec.name).search.enqueue if before else ()
        for point in self._spec.search.enqueue:
            if point not in known:
                self.study.enqueue_trial(point, user_attrs={"enqueued": True})
        self._retry_stale()

    def _retry_stale(self) -> None:
        for stale in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            trial = optuna.Trial(self.study, stale._trial_id)
            self.tell_interrupted(trial, "the process that trained it ended")

    def _describe(self) -> None:
        objectives = list(self._spec.evaluation.objective)
        self.study.set_user_attr("task", self._spec.task)
        self.study.set_user_attr("objectives", objectives)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            self.study.set_metric_names(objectives)

    # ------------------------------------------------------------ counting

    def counted(self) -> int:
        """Return how many trials count: complete, pruned, and failed by their own fault."""
        return self._counted

    def note_asked(self, trial: optuna.Trial) -> int:
        """Take note of a trial that was asked for; returns what its seed is derived from.

        That is its number in a study that was never interrupted, and for a retry its origin's.
        """
        attributes = trial.user_attrs
        if "retry_of" in attributes:
            self._retries.append(trial.number)
        elif "enqueued" not in attributes:
            self.sampled += 1
        number = int(attributes.get("retry_of", trial.number))
        return number - sum(retry < number for retry in self._retries)

    def missing_baselines(self) -> list[TrialConfig]:
        """Return the baselines that were not evaluated before."""
        rows = records.read_evaluations(self._engine, self._id)
        known = {row.name for row in rows if row.role == "baseline"}
        return [config for config in baseline_configs(self._spec) if config.name not in known]

    def is_finished(self) -> bool:
        """Say whether nothing is left to train; a trial left running is then told as failed."""
        if self._counted < self._spec.search.budget or self.missing_baselines():
            return False
        self._retry_stale()
        return True

    # ------------------------------------------------------------ writing

    def record_baseline(self, config: TrialConfig, result: TrialResult) -> None:
        """Store a baseline, which is no Optuna trial."""
        if result.failure:
            return
        self._record(config, result)
        if result.adapter is not None:
            save_adapter(self._out, config.name, result.adapter)

    def tell_finished(
        self, trial: optuna.Trial, config: TrialConfig, result: TrialResult
    ) -> TrialResult:
        """Store and tell a trial that came to its end; returns the result as it was judged."""
        result = _judged(result, self._spec.evaluation.objective)
        self._set_details(trial, config, result)
        self._counted += 1
        if result.failure:
            trial.set_user_attr("failure", result.failure)
            self.study.tell(trial, state=TrialState.FAIL)
            return result
        metrics = result.metrics()
        values = [metrics[objective] for objective in self._spec.evaluation.objective]
        self._record(config, result)
        self._complete[trial.number] = values
        self._keep_adapters(trial.number, result)
        self.study.tell(trial, values)
        return result

    def tell_pruned(self, trial: optuna.Trial, result: TrialResult) -> None:
        """Tell a trial that the pruner stopped."""
        for name, value in result.details.items():
            trial.set_user_attr(name, value)
        self._counted += 1
        self.study.tell(trial, state=TrialState.PRUNED)

    def tell_interrupted(self, trial: optuna.Trial, reason: str) -> None:
        """Fail a trial that was lost through no fault of its own, and put it up for a retry.

        After the third attempt it counts as failed.
        """
        attempt = int(trial.user_attrs.get("attempt", 1))
        trial.set_user_attr("failure", reason)
        if attempt >= MAX_ATTEMPTS:
            trial.set_user_attr("failure", f"interrupted {attempt} times, at last: {reason}")
            self.study.tell(trial, state=TrialState.FAIL)
            self._counted += 1
            return
        origin = int(trial.user_attrs.get("retry_of", trial.number))
        carried = {k: v for k, v in trial.user_attrs.items() if k == "enqueued"}
        self.study.enqueue_trial(
            trial.params, user_attrs={**carried, "retry_of": origin, "attempt": attempt + 1}
        )
        trial.set_user_attr("interrupted", True)
        self.study.tell(trial, state=TrialState.FAIL)

    def _set_details(self, trial: optuna.Trial, config: TrialConfig, result: TrialResult) -> None:
        trial.set_user_attr("seed", config.seed)
        for name, value in result.metrics().items():
            if math.isfinite(value):
                trial.set_user_attr(name, value)

    def _record(self, config: TrialConfig, result: TrialResult) -> None:
        self._record_examples(result)
        number = config.number if config.role == "search" else None
        records.write_evaluations(
            self._engine,
            self._id,
            [
                records.Evaluation(
                    role=config.role,
                    name=config.name,
                    trial_number=number,
                    seed=config.seed,
                    split=split,
                    config=config.values,
                    details={**result.details, "training_losses": result.losses},
                    statistics=found.statistics,
                    outputs=found.outputs,
                )
                for split, found in result.splits.items()
            ],
        )

    def _record_examples(self, result: TrialResult) -> None:
        for split, found in result.splits.items():
            if split not in self._examples_known:
                sources, targets = zip(*found.texts, strict=True)
                examples = records.Examples(sources, targets)
                records.write_examples(self._engine, self._id, split, examples)
                self._examples_known.add(split)

    # ------------------------------------------------------------ adapters

    def _keep_adapters(self, number: int, result: TrialResult) -> None:
        """Save the adapter if the trial is among the best k by the first objective."""
        ranked = sorted(self._complete, key=lambda n: self._complete[n][0], reverse=self._maximize)
        best = ranked[: self._spec.search.keep_adapters]
        if number not in best or result.adapter is None:
            return
        save_adapter(self._out, trial_name(number), result.adapter)
        keep_only(self._out, {trial_name(n) for n in best})
        self.study.set_user_attr("adapters", {str(n): f"adapters/{trial_name(n)}" for n in best})


def counts(trial: FrozenTrial) -> bool:
    """Say whether a trial is part of the total."""
    return trial.state.is_finished() and not trial.user_attrs.get("interrupted")


def _judged(result: TrialResult, objectives: tuple[str, ...]) -> TrialResult:
    """Return the result, failed where an objective is no finite number."""
    if result.failure:
        return result
    metrics = result.metrics()
    bad = [f"{o} is {metrics[o]}" for o in objectives if not math.isfinite(metrics[o])]
    return replace(result, failure=f"after training {', '.join(bad)}") if bad else result
