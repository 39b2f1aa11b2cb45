"""What every engine promises.  The loop knows nothing else about training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from study.trials import Event, TrialConfig, TrialResult


class Engine(Protocol):
    """Trains as many trials at a time as it has slots.

    A trial's result does not depend on its neighbours: data order, dropout masks and initial
    weights come from the trial's own seed.
    """

    @property
    def free_slots(self) -> int:
        """The number of trials that may be started now."""

    def start(self, config: TrialConfig, state: bytes | None = None) -> None:
        """Put a trial into a free slot; from a state it takes the steps that would have followed.

        A state that is damaged, or of an engine of another kind, is not used: the trial begins
        anew, which gives the same in the end.
        """

    def advance(self) -> Sequence[Event]:
        """Train until at least one trial has something to report, and return the reports."""

    def state(self, number: int) -> bytes | None:
        """Return all that a trial needs to go on later, at its report; None if it has no steps.

        It goes on in any engine of the same kind, beside any neighbours, in any process.
        """

    def stop(self, number: int) -> TrialResult:
        """End a pruned trial and free its slot; return what it had so far."""

    def close(self) -> None:
        """Release processes and memory; running trials are lost."""
