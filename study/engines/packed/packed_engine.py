"""K trials in one forward and backward pass over one frozen base.  docs/packing.md explains it.

Every step stacks the batches of all running trials, slot by slot, and runs the task's loss once.
Each linear layer applies W to all rows and every trial's own adapter to its own (linear.py);
weights and gradients of all adapters are two matrices, one row per slot (bank.py).  A trial's
rows never meet another's, so its result is the same whatever is packed beside it.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import torch

from study.bases.load import BaseModel
from study.engines.evaluation import Examiner
from study.engines.memory import PeakMemory, is_out_of_memory, release_memory
from study.engines.packed.bank import AdapterBank
from study.engines.packed.batch_rows import Rows
from study.engines.passes import (
    IN_AN_UPDATE,
    DoesNotFitError,
    Part,
    Summation,
    TokenBudget,
    Totals,
    reads_labels,
)
from study.engines.trial_state import SIGN_OF_LIFE_SECONDS, Training
from study.errors import MetricError
from study.spec.hyperparameters import MethodSpec
from study.spec.sections import StudySpec
from study.tasks.base import Batch, Task, stacked
from study.trials import Event, Finished, Progress, SplitResult, TrialConfig, TrialResult

T = TypeVar("T")


class PackedEngine:
    """K slots over one base; a free slot costs no compute.

    Args:
        spec: The study.
        base: The frozen base; the engine replaces its linear layers until `close`.
        task: What the trials learn.
        methods: Every method that trials may use, with the largest rank and all targets.
        slots: K.
        budget: The most tokens of a pass.
    """

    def __init__(
        self,
        spec: StudySpec,
        base: BaseModel,
        task: Task,
        methods: Iterable[MethodSpec],
        slots: int,
        budget: TokenBudget | None = None,
    ) -> None:
        self.slots = slots
        self._budget = budget = budget or TokenBudget()
        self._summation = Summation(budget, reads_labels(base.model), self._zero, self._backward)
        self._model = base.model
        self._task = task
        self._bank = AdapterBank(base, methods, slots)
        self.open()
        self._examiner = Examiner(spec, task, base.model, self._lay_out, budget)
        self._trials: dict[int, Training] = {}  # by slot
        self._memory = PeakMemory()

    # ------------------------------------------------------------ slots

    @property
    def free_slots(self) -> int:
        """The number of slots without a trial."""
        return max(0, self.slots - len(self._trials))

    def holds(self, method: MethodSpec) -> bool:
        """Return whether a slot has room for a method's adapter."""
        return self._bank.holds(method)

    @property
    def is_busy(self) -> bool:
        """Return whether any slot holds a trial."""
        return bool(self._trials)

    def start(self, config: TrialConfig) -> None:
        """Put a trial with a fresh adapter into the first free slot."""
        slot = next(slot for slot in range(self.slots) if slot not in self._trials)
        training = Training(config, self._examiner.spec, self._task)
        if config.method is not None:
            count = self._bank.attach(slot, config.method, config.seed)
            training.trainable_parameters = count if config.is_trained else 0
            a, b = self._bank.trained(slot)
            training.optimize([a], [b])
        self._trials[slot] = training

    def stop(self, number: int) -> TrialResult:
        """End a trial as it stands."""
        slot = self._slot_of(number)
        details = self._trials[slot].details(self._memory.peak_bytes())
        self._release(slot)
        return TrialResult(details=details)

    def open(self) -> None:
        """Replace the base's layers again."""
        self._bank.open()

    def close(self) -> None:
        """Restore the layers of the base."""
        self._bank.close()

    def _release(self, slot: int) -> None:
        del self._trials[slot]
        self._bank.release(slot)

    def _slot_of(self, number: int) -> int:
        return next(s for s, training in self._trials.items() if training.config.number == number)

    # ------------------------------------------------------------ training

    def advance(self) -> list[Event]:
        """Train all trials, a step at a time, until one has something to report.

        After a second without a report, returns their progress without values.
        """
        assert self._trials, "no trial to advance"
        started = time.perf_counter()
        due = [slot for slot, training in self._trials.items() if training.is_done]
        while not due:  # the untrained base is done immediately
            self.train_one_step()
            due = [slot for slot, training in self._trials.items() if training.is_due]
            if not due and time.perf_counter() - started > SIGN_OF_LIFE_SECONDS:
                return [Progress(t.config.number, t.step, None) for t in self._trials.values()]
        events = self._reported(due)
        return [*self._budget.notices(), *events]

    def train_one_step(self) -> None:
        """Train every trial for one step on its next batch."""
        started = time.perf_counter()
        batches = {slot: training.next_groups() for slot, training in self._trials.items()}
        totals, failures = self._summation.gradients(batches)
        for slot, reason in failures.items():
            self._fail(slot, reason)
        if totals:
            self._update(totals)
        seconds = time.perf_counter() - started
        for training in self._trials.values():
            training.train_seconds += seconds / len(self._trials)

    def rehearse(self, config: TrialConfig, batch: Batch) -> int:
        """Run a training pass over a batch, without a trace; return the bytes that it took."""
        self.start(config)
        slot = self._slot_of(config.number)
        release_memory()
        memory = PeakMemory()
        before = memory.peak_bytes()
        try:
            self._backward([Part(slot, 0, batch, 0.0, 0)])
            return memory.peak_bytes() - before
        finally:
            self._release(slot)

    def _zero(self, slots: Iterable[int]) -> None:
        self._bank.grads[list(slots)] = 0.0

    def _backward(self, parts: Sequence[Part]) -> Totals:
        """Add the gradients of one pass; return loss and weight by slot."""
        by_slot: dict[int, list[Part]] = defaultdict(list)
        for part in parts:
            by_slot[part.slot].append(part)
        counts = {slot: sum(part.count for part in own) for slot, own in by_slot.items()}
        # neighbours with equally many rows and the same layers are computed as one batch
        slots = sorted(by_slot, key=lambda slot: (counts[slot], self._bank.breadth(slot), slot))
        self._bank.lay_out(
            [
                Rows(slot, counts[slot], by_slot[slot][0].first, self._trials[slot].step)
                for slot in slots
            ]
        )
        batch = stacked([part.batch for slot in slots for part in by_slot[slot]])
        losses = self._task.loss(self._model, batch.to(self._model.device))  # (rows, 2)
        torch.autograd.backward(losses[:, 0].sum())
        owner = torch.repeat_interleave(torch.tensor([counts[slot] for slot in slots]))
        totals = torch.zeros(len(slots), 2, dtype=torch.float64, device=losses.device)
        totals.index_add_(0, owner.to(losses.device), losses.detach().double())
        return dict(zip(slots, totals.unbind(), strict=True))

    def _update(self, totals: Totals) -> None:
        """Move the weights of some slots by their gradients.

        Losses are read from the device once, after all that does not need them has been launched.
        """
        slots = sorted(totals)  # neighbours in the matrix if all are there
        stack = torch.stack([totals[slot] for slot in slots])
        max_norms = [self._trials[slot].config.training.max_grad_norm for slot in slots]
        self._bank.average_and_clip(slots, stack[:, 1], max_norms)
        for slot, (total, weight) in zip(slots, stack.tolist(), strict=True):
            if self._trials[slot].count_step(total / weight if weight else math.nan):
                self._move(slot)

    def _move(self, slot: int) -> None:
        try:
            self._trials[slot].update()
        except (RuntimeError, MemoryError) as error:  # the first update makes the moments
            if not is_out_of_memory(error):
                raise
            self._fail(slot, IN_AN_UPDATE)

    def _fail(self, slot: int, reason: str) -> None:
        training = self._trials[slot]
        training.failure = f"at step {training.step}: {reason}"

    # ------------------------------------------------------------ reporting

    def _reported(self, due: Sequence[int]) -> list[Event]:
        going = [slot for slot in due if self._goes(slot) and not self._trials[slot].is_done]
        ended = [slot for slot in due if self._goes(slot) and self._trials[slot].is_done]
        values = self._evaluated(going, self._examiner.report)
        splits = self._evaluated(ended, self._examiner.splits)
        events: list[Event] = []
        for slot, value in values.items():
            events.append(self._trials[slot].progress(value))
        for slot in due:
            if slot not in values:
                events += self._ended(slot, splits.get(slot, {}))
        return (
            [*events, *self._summation.padding.event(self.slots, self._budget)] if ended else events
        )

    def _goes(self, slot: int) -> bool:
        return not self._trials[slot].failure

    def _evaluated(
        self, slots: Sequence[int], evaluate: Callable[[Sequence[TrialConfig]], Sequence[T]]
    ) -> dict[int, T]:
        started = time.perf_counter()
        results = self._scored(slots, evaluate)
        seconds = time.perf_counter() - started
        for slot in slots:
            self._trials[slot].evaluation_seconds += seconds / len(slots)
        return results

    def _scored(
        self, slots: Sequence[int], evaluate: Callable[[Sequence[TrialConfig]], Sequence[T]]
    ) -> dict[int, T]:
        """Evaluate some slots together, or one by one if that fails, since one may be to blame."""
        if not slots:
            return {}
        try:
            results = evaluate([self._trials[slot].config for slot in slots])
        except (DoesNotFitError, MetricError) as error:
            if len(slots) > 1:
                parts = (self._scored([slot], evaluate) for slot in slots)
                return {slot: result for part in parts for slot, result in part.items()}
            self._fail(slots[0], str(error))
            return {}
        return dict(zip(slots, results, strict=True))

    def _lay_out(self, configs: Sequence[TrialConfig], count: int) -> None:
        self._bank.lay_out([Rows(self._slot_of(config.number), count) for config in configs])

    def _ended(self, slot: int, splits: dict[str, SplitResult]) -> list[Progress | Finished]:
        """Free the slot of a trial that has ended; return its last events."""
        training = self._trials[slot]
        config = training.config
        has_adapter = config.is_trained and not training.failure
        files = self._bank.files(slot) if has_adapter else None
        details = training.details(self._memory.peak_bytes())
        result = TrialResult(splits, details, files, training.failure, training.losses)
        self._release(slot)
        return [*self._examiner.last_progress(config, result), Finished(config.number, result)]
