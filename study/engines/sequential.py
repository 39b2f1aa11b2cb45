"""One trial at a time with PEFT: the reference that every other engine must agree with."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from study.bases.load import BaseModel
from study.engines.evaluation import Examiner
from study.engines.memory import PeakMemory, is_out_of_memory, release_memory
from study.engines.passes import (
    IN_AN_UPDATE,
    DoesNotFitError,
    Part,
    Summation,
    TokenBudget,
    Totals,
    reads_labels,
)
from study.engines.recomputing import recomputed_blocks
from study.engines.saved_state import take_up, to_bytes
from study.engines.trial_state import SIGN_OF_LIFE_SECONDS, Training
from study.errors import MetricError
from study.peft_methods.attached import Attached, attach
from study.seeds import derive_seed
from study.spec.sections import StudySpec
from study.tasks.base import Batch, Task, stacked
from study.trials import Event, Finished, Progress, SplitResult, TrialConfig, TrialResult


class SequentialEngine:
    """One slot over one base, which is loaded once and reused by every trial."""

    def __init__(
        self,
        spec: StudySpec,
        base: BaseModel,
        task: Task,
        budget: TokenBudget | None = None,
        first_events: Sequence[Event] = (),
    ) -> None:
        self._spec = spec
        self._base = base
        self._task = task
        self._budget = budget or TokenBudget()
        self._examiner = Examiner(spec, task, base.model, budget=self._budget)
        self._trial: _Trial | None = None
        self.first_events = first_events  # reported by the first `advance`

    @property
    def free_slots(self) -> int:
        """One, or none while a trial is in it."""
        return 1 if self._trial is None else 0

    def start(self, config: TrialConfig, state: bytes | None = None) -> None:
        """Attach an adapter, fresh or as it was; training begins with `advance`."""
        assert self._trial is None, "the sequential engine has one slot"
        self._begin(config)
        if state is not None and not self._took_up(state):
            self._release()
            self._begin(config)

    def _begin(self, config: TrialConfig) -> None:
        training = Training(config, self._spec, self._task)
        adapter = None
        if config.method is not None:
            adapter = attach(self._base, config.method, config.seed)
            training.optimize(adapter.other_weights, adapter.lora_b)
            if config.is_trained:
                training.trainable_parameters = sum(w.numel() for w in adapter.weights)
        self._trial = _Trial(training, adapter, PeakMemory())

    def advance(self) -> list[Event]:
        """Train up to the next report; at the end evaluate every split.

        After a second without a report, returns the step without a value.
        """
        trial = self._trial
        assert trial is not None, "no trial to advance"
        try:
            if trial.adapter is not None and not trial.training.is_done:
                self._train(trial.training, trial.adapter)
            events = self._reported(trial)
        except (DoesNotFitError, MetricError) as error:
            reason = f"at step {trial.training.step}: {error}"
            events = [Finished(trial.number, trial.result(failure=reason))]
        if isinstance(events[-1], Finished):
            self._release()
        first_events, self.first_events = self.first_events, ()
        return [*first_events, *self._budget.notices(), *events]

    def _train(self, training: Training, adapter: Attached) -> None:
        """Train up to the next report, the end, a loss that is not finite, or for a second."""
        started = time.perf_counter()
        self._base.model.train(training.config.training.base_dropout)
        self._train_one_step(training, adapter, training.next_groups())
        while not training.is_due and time.perf_counter() - started < SIGN_OF_LIFE_SECONDS:
            self._train_one_step(training, adapter, training.next_groups())
        self._base.model.eval()
        training.train_seconds += time.perf_counter() - started

    def rehearse(self, config: TrialConfig, batch: Batch) -> int:
        """Train a trial for one step on a batch, without a trace; return the bytes it took."""
        release_memory()
        memory = PeakMemory()
        before = memory.peak_bytes()
        self.start(config)
        assert self._trial is not None
        try:
            if self._trial.adapter is not None:
                self._train_one_step(self._trial.training, self._trial.adapter, [batch])
            return memory.peak_bytes() - before
        finally:
            self._release()

    def _train_one_step(
        self, training: Training, adapter: Attached, groups: Sequence[Batch]
    ) -> None:
        def zero(slots: Iterable[int]) -> None:
            for weights in adapter.weights:
                if weights.grad is not None:
                    weights.grad.zero_()

        def backward(parts: Sequence[Part]) -> Totals:
            adapter.begin_step(training.step, parts[0].first)
            batch = stacked([part.batch for part in parts]).to(self._base.model.device)
            with recomputed_blocks(self._base.model, self._budget.recomputes):
                with self._base_dropout_of(training):
                    both = self._task.loss(self._base.model, batch).sum(dim=0)
                torch.autograd.backward(both[0])
            return {0: both.detach().double()}

        step = Summation(self._budget, reads_labels(self._base.model), zero, backward)
        # the base's own dropout is drawn for all rows of a pass together
        whole = training.config.training.base_dropout
        totals, failures = step.gradients({0: groups}, whole)
        if failures:
            raise DoesNotFitError(failures[0])
        total, weight = totals[0].tolist()
        training.count_step()
        if training.note_loss(total / weight if weight else math.nan):
            for weights in adapter.weights:
                if weights.grad is not None:
                    weights.grad /= weight
            torch.nn.utils.clip_grad_norm_(adapter.weights, training.config.training.max_grad_norm)
            try:
                training.update()
            except (RuntimeError, MemoryError) as error:  # the first update makes the moments
                if not is_out_of_memory(error):
                    raise
                training.failure = f"at step {training.step}: {IN_AN_UPDATE}"

    @contextmanager
    def _base_dropout_of(self, training: Training) -> Iterator[None]:
        """Seed the base's own dropout, which draws from PyTorch's global generator."""
        if not training.config.training.base_dropout:
            yield
            return
        device = self._base.model.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(derive_seed(training.config.seed, "base dropout", training.step))
            yield

    def _reported(self, trial: _Trial) -> list[Progress | Finished]:
        training = trial.training
        if training.failure:
            return [Finished(trial.number, trial.result(failure=training.failure))]
        if not training.is_due:
            return [Progress(trial.number, training.step, None)]
        started = time.perf_counter()
        if not training.is_done:
            (found,) = self._examiner.report([training.config])
            training.evaluation_seconds += time.perf_counter() - started
            return [training.progress(found, trial.memory.peak_bytes())]
        (splits,) = self._examiner.splits([training.config])
        training.evaluation_seconds += time.perf_counter() - started
        result = trial.result(splits)
        return [
            *self._examiner.last_progress(training.config, result),
            Finished(trial.number, result),
        ]

    def state(self, number: int) -> bytes | None:
        """Return all that the trial needs to go on elsewhere."""
        trial = self._trial
        assert trial is not None
        assert trial.number == number
        if trial.adapter is None:
            return None
        trial.training.peak_memory_bytes = trial.memory.peak_bytes()
        return to_bytes(trial.training, _numbered(trial.adapter))

    def _took_up(self, state: bytes) -> bool:
        trial = self._trial
        assert trial is not None
        return trial.adapter is None or take_up(trial.training, _numbered(trial.adapter), state)

    def stop(self, number: int) -> TrialResult:
        """End the trial as it stands."""
        trial = self._trial
        assert trial is not None
        assert trial.number == number
        self._release()
        return trial.result()

    def close(self) -> None:
        """Restore the layers of the base."""
        if self._trial is not None:
            self._release()

    def _release(self) -> None:
        assert self._trial is not None
        if self._trial.adapter is not None:
            self._trial.adapter.detach()
        self._trial = None


def _numbered(adapter: Attached) -> dict[str, Tensor]:
    return {str(index): weight for index, weight in enumerate(adapter.weights)}


@dataclass(frozen=True)
class _Trial:
    """A training and the adapter that it trains."""

    training: Training
    adapter: Attached | None
    memory: PeakMemory

    @property
    def number(self) -> int:
        return self.training.config.number

    def result(
        self, splits: Mapping[str, SplitResult] | None = None, failure: str | None = None
    ) -> TrialResult:
        """Return the result: everything if the training ended, otherwise only its costs."""
        details = self.training.details(self.memory.peak_bytes())
        keeps = self.training.config.is_trained and splits is not None
        files = self.adapter.files() if self.adapter and keeps else None
        return TrialResult(splits or {}, details, files, failure, self.training.losses)
