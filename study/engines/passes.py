"""Gradient accumulation: cut the rows of a step into passes over the base by a budget of tokens.

A step has `rows_per_step` rows (`study/spec/hyperparameters.py`), in however many passes.
A token here is a position, padding included: what a pass needs besides weights grows with them.
Rows of similar length share a pass, since all are padded to the longest.  Each trial's gradients
are summed over its passes, so their number and size change no result.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from study.engines.memory import is_out_of_memory, release_memory
from study.tasks.base import Batch
from study.trials import Notice, Passes

TOKENS_PER_PASS = {"cpu": 3072, "cuda": 8192}
"""More would gain nothing: on a CPU activations leave the cache; a GPU is busy with so many."""


PASS_BYTES = {"cpu": 3 * 2**29}
"""On a CPU, passes over a large model gain a twentieth at most by taking more memory than this."""
ENOUGH_TOKENS = {"cpu": 256, "cuda": 2048}
"""Passes of fewer tokens lose more time, mostly on reading weights and launching kernels, than the
third that recomputing blocks takes."""
RECOMPUTES = "computes each block again in the backward pass, which takes a third more time"

IN_AN_UPDATE = "out of memory in an update of the weights; lower method.rank or --slots"


class DoesNotFitError(Exception):
    """A pass that cannot be divided does not fit into memory; the message says how long it is."""


def one_row(tokens: int, rows: int = 1) -> str:
    """Return the message of `DoesNotFitError`."""
    what = "a row" if rows == 1 else f"{rows} rows"
    return f"out of memory in a pass over {what} of {tokens:,} tokens; lower data.max_tokens"


@dataclass
class TokenBudget:
    """The most tokens of a pass, in training and in evaluation; less once memory has run out.

    Before training passes get smaller than `enough`, the model's blocks are recomputed in the
    backward pass if they `can_recompute`, so that tokens take less memory.
    """

    training: int = TOKENS_PER_PASS["cpu"]
    evaluation: int = 2**31
    recomputes: bool = False
    enough: int = 0
    can_recompute: Callable[[], bool] = bool
    remarks: list[str] = field(default_factory=list)  # that the engine has yet to report

    def recompute(self) -> None:
        """Recompute blocks from now on, after a pass that did not fit."""
        release_memory()
        self.recomputes = True
        self.remarks.append(f"out of memory: training continues and {RECOMPUTES}")

    def shrink(self, tokens: int, *, training: bool) -> None:
        """Halve the passes after one of so many tokens did not fit.

        Call it when the error has been handled: its traceback holds the pass's tensors.
        """
        release_memory()
        fewer = max(1, tokens // 2)
        if training:
            self.training = fewer
        else:
            self.evaluation = fewer
        kind = "training" if training else "evaluation"
        self.remarks.append(f"out of memory: {kind} continues with {fewer:,} tokens per pass")

    def notices(self) -> list[Notice]:
        """Return what was not reported before."""
        remarks, self.remarks = self.remarks, []
        return [Notice(remark) for remark in remarks]


@dataclass(frozen=True)
class Part:
    """Consecutive rows of the batch of the trial in `slot`, which stay in one pass."""

    slot: int
    first: int  # row of the trial's batch
    batch: Batch
    tokens: float  # without padding
    order: int  # tokens per row; no less than those of the rows before

    @property
    def count(self) -> int:
        """How many rows there are."""
        return len(self.batch.labels)


def tokens_of(batches: Iterable[Batch], reads_labels: bool) -> int:
    """Return the tokens of some batches in one pass, padded to the longest row.

    An encoder-decoder reads the labels as well.
    """
    rows = read = labels = 0
    for batch in batches:
        S, T = batch.widths
        rows, read, labels = rows + len(batch.labels), max(read, S), max(labels, T)
    return rows * (read + labels * reads_labels)


def parts_of(slot: int, groups: Sequence[Batch], most: int, reads_labels: bool) -> list[Part]:
    """Return the parts of a trial's batch, which is sorted by length.

    A group of more than `most` tokens is divided as far as it may be.
    """
    parts: list[Part] = []
    first = order = 0
    for group in groups:
        pieces = [group]
        if tokens_of(pieces, reads_labels) > most:
            pieces = [group.part(slice(row, row + 1)) for row in range(len(group.labels))]
        order = max(order, tokens_of([group], reads_labels) // len(group.labels))
        per_row = group.real_tokens / len(group.labels)
        for piece in pieces:
            parts.append(Part(slot, first, piece, per_row * len(piece.labels), order))
            first += len(piece.labels)
    return parts


def cut(parts: Sequence[Part], most: int, reads_labels: bool) -> list[list[Part]]:
    """Return passes of parts of similar length, each of at most `most` tokens or of one part.

    Within a pass, a trial's parts are consecutive.
    """
    passes: list[list[Part]] = []
    rows = read = labels = 0
    for part in sorted(parts, key=lambda part: (part.order, part.slot, part.first)):
        S, T = part.batch.widths
        rows, read, labels = rows + part.count, max(read, S), max(labels, T)
        if not passes or rows * (read + labels * reads_labels) > most:
            passes.append([])
            rows, read, labels = part.count, S, T
        passes[-1].append(part)
    return passes


@dataclass
class Padding:
    """The tokens of training passes since the last event, with and without padding."""

    padded: int = 0
    real: float = 0.0

    def count(self, passes: Sequence[Sequence[Part]], reads_labels: bool) -> None:
        """Add a step's passes."""
        for parts in passes:
            self.padded += tokens_of((part.batch for part in parts), reads_labels)
            self.real += sum(part.tokens for part in parts)

    def event(self, slots: int, budget: TokenBudget) -> list[Passes]:
        """Return what was counted, if anything, and begin again."""
        padded, real = self.padded, self.real
        self.padded, self.real = 0, 0.0
        return [Passes(slots, budget.training, padded, real)] if padded else []


Totals = dict[int, Tensor]
"""Loss and weight of a trial's batch (2,), by slot, on the device: to read them is to wait."""


@dataclass
class Summation:
    """Sums gradients over a step's passes; begins again with smaller ones if memory runs out.

    `zero(slots)` sets gradients to zero; `backward(parts)` adds those of a pass and returns its
    totals.  Losses, weights and gradients are those of whole batches, whatever the passes.
    """

    budget: TokenBudget
    reads_labels: bool
    zero: Callable[[Iterable[int]], None]
    backward: Callable[[Sequence[Part]], Totals]
    padding: Padding = field(default_factory=Padding)

    def gradients(
        self, batches: Mapping[int, Sequence[Batch]], whole: bool = False
    ) -> tuple[Totals, dict[int, str]]:
        """Sum the gradients of batches in groups, by slot; return totals and failures by slot.

        A trial fails if a single row does not fit with recomputed blocks either; `whole` batches
        are not divided.
        """
        failures: dict[int, str] = {}
        while True:
            going = {slot: groups for slot, groups in batches.items() if slot not in failures}
            passes = self._passes(going, sys.maxsize if whole else self.budget.training)
            self.zero(going)
            totals, too_large = self._tried(passes)
            if not too_large:
                self.padding.count(passes, self.reads_labels)
                return totals, failures
            tokens = tokens_of((part.batch for part in too_large), self.reads_labels)
            rows = sum(part.count for part in too_large)
            is_whole = whole or rows == 1
            is_little = is_whole or tokens // 2 < self.budget.enough
            if is_little and not self.budget.recomputes and self.budget.can_recompute():
                self.budget.recompute()
            elif is_whole:
                failures[too_large[0].slot] = one_row(tokens // rows, rows)
                release_memory()
            else:
                self.budget.shrink(tokens, training=True)

    def _passes(self, batches: Mapping[int, Sequence[Batch]], most: int) -> list[list[Part]]:
        parts = [
            part
            for slot, groups in batches.items()
            for part in parts_of(slot, groups, most, self.reads_labels)
        ]
        return cut(parts, most, self.reads_labels)

    def _tried(self, passes: Sequence[list[Part]]) -> tuple[Totals, list[Part]]:
        """Return the totals, and the pass for which memory did not suffice, if there is one."""
        totals: Totals = {}
        for parts in passes:
            try:
                added = self.backward(parts)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                return totals, parts
            for slot, both in added.items():
                totals[slot] = totals[slot] + both if slot in totals else both
        return totals, []


def reads_labels(model: torch.nn.Module) -> bool:
    """Return whether the model reads labels besides its inputs."""
    return bool(getattr(model.config, "is_encoder_decoder", False))


def rectangles(models: range, rows: range, most: int) -> list[tuple[range, range]]:
    """Divide some rows of some models into passes of at most `most` rows, and at least one.

    A pass has the same rows of each of its models.
    """
    most = max(1, most)
    k, n = max(1, most // len(rows)), min(most, len(rows))
    return [
        (models[m : m + k], rows[r : r + n])
        for m in range(0, len(models), k)
        for r in range(0, len(rows), n)
    ]
