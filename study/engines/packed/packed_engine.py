"""K trials in one forward and backward pass over one frozen base.  docs/packing.md explains it.

Every step stacks the batches of all running trials, slot by slot, and runs the task's loss once.
Each linear layer applies W to all rows and every trial's own adapter to its own (linear.py);
weights and gradients of all adapters are two matrices, one row per slot (bank.py).  A trial's
rows never meet another's, so its result is the same whatever is packed beside it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from study.bases.load import BaseModel
from study.engines.dropout import GROUP
from study.engines.evaluation import Examiner
from study.engines.memory import PeakMemory, is_out_of_memory
from study.engines.packed.bank import AdapterBank
from study.engines.packed.batch_rows import Rows
from study.engines.pass_size import ALL_ROWS, PassRows
from study.engines.trial_state import SIGN_OF_LIFE_SECONDS, Training
from study.spec.hyperparameters import MethodSpec
from study.spec.sections import StudySpec
from study.tasks.base import Batch, Task, stacked
from study.trials import Event, Finished, Notice, Progress, SplitResult, TrialConfig, TrialResult

T = TypeVar("T")


class PackedEngine:
    """K slots over one base; a free slot costs no compute.

    Args:
        spec: The study.
        base: The frozen base; the engine replaces its linear layers until `close`.
        task: What the trials learn.
        methods: Every method that trials may use, with the largest rank and all targets.
        slots: K.
        rows: The most rows of a pass.
    """

    def __init__(
        self,
        spec: StudySpec,
        base: BaseModel,
        task: Task,
        methods: Iterable[MethodSpec],
        slots: int,
        rows: PassRows = ALL_ROWS,
    ) -> None:
        self.slots = slots
        self._rows = rows
        self._model = base.model
        self._task = task
        self._bank = AdapterBank(base, methods, slots)
        self.open()
        self._examiner = Examiner(spec, task, base.model, self._lay_out, rows)
        self._trials: dict[int, Training] = {}  # by slot
        self._memory = PeakMemory()
        self._notices: list[Notice] = []

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
            training.trainable_parameters = self._bank.attach(slot, config.method, config.seed)
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
        notices, self._notices = self._notices, []
        return [*notices, *self._reported(sorted(due, key=self._order))]

    def train_one_step(self) -> None:
        """Train every trial for one step on its next batch."""
        started = time.perf_counter()
        slots = sorted(self._trials, key=self._order)
        batches = {slot: self._trials[slot].next_groups() for slot in slots}
        totals: dict[int, Tensor] = {}
        most = self._rows.training // GROUP
        for first in range(0, len(slots), most):
            some = slots[first : first + most]
            totals |= self._in_parts(some, lambda part: self._gradients(part, batches))
        if totals:  # after all passes, which may be repeated in halves
            self._update(totals)
        seconds = time.perf_counter() - started
        for training in self._trials.values():
            training.train_seconds += seconds / len(slots)

    def _order(self, slot: int) -> tuple[int, int, int]:
        """Return a sort key: neighbours in this order can share a batch in a layer."""
        return self._trials[slot].config.training.batch_size, self._bank.breadth(slot), slot

    def _gradients(
        self, slots: Sequence[int], batches: Mapping[int, list[Batch]]
    ) -> Sequence[Tensor]:
        """Sum the gradients of some slots over their batches; return each one's loss and weight."""
        at_once = max(1, self._rows.training // (GROUP * len(slots)))
        totals = torch.zeros(len(slots), 2, dtype=torch.float64, device=self._model.device)
        self._bank.grads[slots] = 0.0
        for first in range(0, max(len(batches[slot]) for slot in slots), at_once):
            groups = [batches[slot][first : first + at_once] for slot in slots]
            totals += self._backward(slots, groups, first * GROUP)
        return totals.unbind()

    def _update(self, totals: Mapping[int, Tensor]) -> None:
        """Move the weights of some slots by their gradients.

        Losses are read from the device once, after all that does not need them has been launched.
        """
        slots = sorted(totals)  # neighbours in the matrix if all are there
        stack = torch.stack([totals[slot] for slot in slots])
        max_norms = [self._trials[slot].config.training.max_grad_norm for slot in slots]
        self._bank.average_and_clip(slots, stack[:, 1], max_norms)
        for slot, (total, weight) in zip(slots, stack.tolist(), strict=True):
            if self._trials[slot].count_step(total / weight if weight else math.nan):
                self._in_parts([slot], self._move)

    def _move(self, slots: Sequence[int]) -> list[None]:
        for slot in slots:
            self._trials[slot].update()
        return [None] * len(slots)

    def _backward(
        self, slots: Sequence[int], groups: Sequence[Sequence[Batch]], first: int
    ) -> Tensor:
        """Add the gradients of some groups of every slot's batch; return loss and weight (k, 2).

        `first` is the number of the groups' first row in each batch.
        """
        counts = [sum(len(group.labels) for group in of_slot) for of_slot in groups]
        self._bank.lay_out(
            [
                Rows(slot, count, first, self._trials[slot].step)
                for slot, count in zip(slots, counts, strict=True)
                if count
            ]
        )
        batch = stacked([group for of_slot in groups for group in of_slot]).to(self._model.device)
        losses = self._task.loss(self._model, batch)  # (rows, 2)
        torch.autograd.backward(losses[:, 0].sum())
        owner = torch.repeat_interleave(torch.tensor(counts)).to(losses.device)
        totals = torch.zeros(len(slots), 2, dtype=torch.float64, device=losses.device)
        return totals.index_add(0, owner, losses.detach().double())

    # ------------------------------------------------------------ reporting

    def _reported(self, due: Sequence[int]) -> list[Progress | Finished]:
        failed = [slot for slot in due if self._trials[slot].failure]
        going = [slot for slot in due if slot not in failed and not self._trials[slot].is_done]
        ended = [slot for slot in due if slot not in failed and self._trials[slot].is_done]
        values = self._evaluated(going, self._examiner.report)
        splits = self._evaluated(ended, self._examiner.splits)
        events: list[Progress | Finished] = []
        for slot, value in values.items():
            training = self._trials[slot]
            events.append(Progress(training.config.number, training.step, value))
        for slot in [*failed, *ended]:
            events += self._ended(slot, splits.get(slot, {}))
        return events

    def _evaluated(
        self, slots: Sequence[int], evaluate: Callable[[Sequence[TrialConfig]], Sequence[T]]
    ) -> dict[int, T]:
        started = time.perf_counter()
        results = self._in_parts(
            slots, lambda some: evaluate([self._trials[slot].config for slot in some])
        )
        seconds = time.perf_counter() - started
        for slot in slots:
            self._trials[slot].evaluation_seconds += seconds / len(slots)
        return results

    def _lay_out(self, configs: Sequence[TrialConfig], count: int) -> None:
        self._bank.lay_out([Rows(self._slot_of(config.number), count) for config in configs])

    def _ended(self, slot: int, splits: dict[str, SplitResult]) -> list[Progress | Finished]:
        """Free the slot of a trial that has ended; return its last events."""
        training = self._trials[slot]
        config = training.config
        has_adapter = config.method is not None and not training.failure
        files = self._bank.files(slot) if has_adapter else None
        details = training.details(self._memory.peak_bytes())
        result = TrialResult(splits, details, files, training.failure, training.losses)
        self._release(slot)
        return [*self._examiner.last_progress(config, result), Finished(config.number, result)]

    # ------------------------------------------------------------ memory

    def _in_parts(
        self, slots: Sequence[int], work: Callable[[Sequence[int]], Sequence[T]]
    ) -> dict[int, T]:
        """Do the work for all slots at once; if that fails, in halves, down to a single trial.

        After an out-of-memory error, only as many slots are filled as fitted together.
        """
        if not slots:
            return {}
        try:
            return dict(zip(slots, work(slots), strict=True))
        except RuntimeError as error:
            if len(slots) == 1:
                training = self._trials[slots[0]]
                reason = " ".join(str(error).split())[:300]
                training.failure = f"at step {training.step}: {reason}"
                return {}
            half = (len(slots) + 1) // 2
            if is_out_of_memory(error) and half < self.slots:
                self.slots = half
                self._notices.append(Notice(f"out of memory: continuing with {half} slots"))
        return {**self._in_parts(slots[:half], work), **self._in_parts(slots[half:], work)}
