"""Whether a training has diverged: its loss is far above that of the untrained model."""

from __future__ import annotations

import statistics

from study.trials import Progress

TIMES = 3.0  # the untrained model's loss
LATEST = 10  # steps whose mean loss is compared with it
FIRST_STEP = 20  # a warm-up may raise the loss for a while
LEAST_LOSSES = 3  # of untrained models: one batch alone may be an easy one


class Divergence:
    """Compares a training's latest losses with the first losses of all trainings.

    A first step's loss is the untrained model's on one batch.  The limit is three times their
    median, or three times the training's own first loss if that is larger, for trials with other
    losses, such as those with another distillation weight.  On the curves in benchmarks/curves/ no
    configuration of the better half ever reached it.
    """

    def __init__(self) -> None:
        self._first: dict[int, float] = {}  # by the training's number

    def note(self, progress: Progress) -> None:
        """Remember a training's first loss."""
        if progress.first_loss is not None:
            self._first[progress.number] = progress.first_loss

    def shows_in(self, progress: Progress) -> bool:
        """Return whether a training that reports this has diverged."""
        recent, own = progress.recent_loss, progress.first_loss
        if recent is None or own is None or progress.step < FIRST_STEP:
            return False
        if len(self._first) < LEAST_LOSSES:
            return False
        untrained = max(own, statistics.median(self._first.values()))
        return untrained > 0 and recent > TIMES * untrained
