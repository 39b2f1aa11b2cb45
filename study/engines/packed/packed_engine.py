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
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor

from study.bases.load import BaseModel
from study.engines.evaluation import Examiner
from study.engines.memory import PeakMemory, is_out_of_memory, release_memory
from study.engines.packed.bank import AdapterBank
from study.engines.packed.batch_rows import Rows, on_device
from study.engines.packed.updates import Move, SlotOptimizers
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
from study.kinds.optimizers import OPTIMIZERS
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
        reads_late: Whether the host reads a step's losses during the next one, so that it does not
            wait; by default on a GPU.
    """

    def __init__(
        self,
        spec: StudySpec,
        base: BaseModel,
        task: Task,
        methods: Iterable[MethodSpec],
        slots: int,
        budget: TokenBudget | None = None,
        reads_late: bool | None = None,
    ) -> None:
        self.slots = slots
        self._budget = budget = budget or TokenBudget()
        self._summation = Summation(budget, reads_labels(base.model), self._zero, self._backward)
        self._model = base.model
        self._task = task
        self._bank = bank = AdapterBank(base, methods, slots)
        self._optimizers = SlotOptimizers(bank.weights, bank.grads, bank.b_start)
        self._reads_late = base.model.device.type != "cpu" if reads_late is None else reads_late
        self._unread: tuple[list[int], Tensor] | None = None  # slots, losses and weights (k, 2)
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

    def start(self, config: TrialConfig, state: bytes | None = None) -> None:
        """Put a trial into the first free slot, with a fresh adapter or as it was."""
        slot = next(slot for slot in range(self.slots) if slot not in self._trials)
        self._begin(slot, config)
        if state is not None and not self._took_up(slot, state):
            self._release(slot)
            self._begin(slot, config)

    def _begin(self, slot: int, config: TrialConfig) -> None:
        training = Training(config, self._examiner.spec, self._task)
        if config.method is not None:
            count = self._bank.attach(slot, config.method, config.seed)
            training.trainable_parameters = count if config.is_trained else 0
            self._optimizers.begin(slot, config.training.optimizer)
        self._trials[slot] = training

    def state(self, number: int) -> bytes | None:
        """Return all that a trial needs to go on elsewhere."""
        self._read()
        slot = self._slot_of(number)
        training = self._trials[slot]
        if training.config.method is None:
            return None
        training.peak_memory_bytes = self._memory.peak_bytes()
        return to_bytes(training, self._own(slot))

    def _took_up(self, slot: int, state: bytes) -> bool:
        training = self._trials[slot]
        return training.config.method is None or take_up(training, self._own(slot), state)

    def _own(self, slot: int) -> dict[str, Tensor]:
        """Return a slot's weights and moments by name, sharing memory."""
        kept = OPTIMIZERS[self._trials[slot].config.training.optimizer].moments
        own = self._bank.named(slot, self._bank.weights)
        for number, moments in enumerate(self._optimizers.moments[:kept]):
            of_slot = self._bank.named(slot, moments)
            own |= {f"{name}.moment{number}": tensor for name, tensor in of_slot.items()}
        return own

    def stop(self, number: int) -> TrialResult:
        """End a trial as it stands."""
        self._read()
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

    @contextmanager
    def set_aside(self) -> Iterator[None]:
        """Restore the layers of the base for a while, if they are replaced."""
        was_open = self._bank.is_open
        self.close()
        try:
            yield
        finally:
            if was_open:
                self.open()

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
        self._read()
        for slot, reason in failures.items():
            if self._goes(slot):
                self._fail(slot, reason)
        totals = {slot: total for slot, total in totals.items() if self._goes(slot)}
        if totals:
            self._update(totals)
        if any(training.is_due for training in self._trials.values()):
            self._read()
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
        self._bank.zero(sorted(slots))

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
        with recomputed_blocks(self._model, self._budget.recomputes):
            losses = self._task.loss(self._model, batch.to(self._model.device))  # (rows, 2)
            torch.autograd.backward(losses[:, 0].sum())
        owner = [number for number, slot in enumerate(slots) for _ in range(counts[slot])]
        totals = losses.new_zeros(len(slots), 2, dtype=torch.float64)
        totals.index_add_(0, on_device(owner, losses, torch.long), losses.detach().double())
        return dict(zip(slots, totals.unbind(), strict=True))

    def _update(self, totals: Totals) -> None:
        """Move the weights of some slots by their gradients; losses are read now or later."""
        slots = sorted(totals)  # neighbours in the matrix if all are there
        stack = torch.stack([totals[slot] for slot in slots])  # (k, 2)
        max_norms = [self._trials[slot].config.training.max_grad_norm for slot in slots]
        self._bank.average_and_clip(slots, stack, max_norms, masks=self._reads_late)
        for slot in slots:
            self._trials[slot].count_step()
        self._unread = slots, stack
        if not self._reads_late:
            self._read()
        moves = [self._move(slot) for slot in slots if self._goes(slot)]
        for block in self._optimizers.blocks(moves):
            try:
                self._optimizers.make(block)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                for move in block:
                    self._fail(move.slot, IN_AN_UPDATE)

    def _move(self, slot: int) -> Move:
        training = self._trials[slot]
        of_trial = training.config.training
        return Move(
            slot, of_trial.optimizer, *training.rates(), of_trial.weight_decay, training.step
        )

    def _read(self) -> None:
        """Read the losses of the last update from the device, if nobody has yet."""
        if self._unread is None:
            return
        (slots, stack), self._unread = self._unread, None
        for slot, (total, weight) in zip(slots, stack.tolist(), strict=True):
            self._trials[slot].note_loss(total / weight if weight else math.nan)

    def _fail(self, slot: int, reason: str) -> None:
        training = self._trials[slot]
        training.failure = f"at step {training.step}: {reason}"

    # ------------------------------------------------------------ reporting

    def _reported(self, due: Sequence[int]) -> list[Event]:
        going = [slot for slot in due if self._goes(slot) and not self._trials[slot].is_done]
        ended = [slot for slot in due if self._goes(slot) and self._trials[slot].is_done]
        values = self._evaluated(going, self._examiner.report)
        splits = self._evaluated(ended, self._examiner.splits)
        peak = self._memory.peak_bytes()
        events: list[Event] = [
            self._trials[slot].progress(found, peak) for slot, found in values.items()
        ]
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
