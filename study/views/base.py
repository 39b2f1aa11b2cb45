"""What a person sees while a study runs: a promise, and the view that shows nothing."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

from study.trials import TrialConfig


@dataclass(frozen=True)
class Outcome:
    """How a trial or baseline ended, in what a person wants to know of it."""

    config: TrialConfig
    state: str  # complete, pruned, failed, interrupted
    objective: str
    value: float | None
    reason: str | None = None
    counted: int | None = None  # of the study's total, by now and by all runs


class View(Protocol):
    """Receives what happens, in order.  The runner knows nothing of terminals."""

    def base_training(self, step: int, total: int, loss: float) -> None:
        """Report that the embedded base is being trained."""

    def remarked(self, line: str) -> None:
        """Report what a person should know of the data, or of how the trials are trained."""

    def searching(
        self, total: int, done: int, workers: int, what: str = "trials"
    ) -> AbstractContextManager[None]:
        """Enclose the search: `done` of `total` trials, or what they are, count already."""

    def started(self, config: TrialConfig) -> None:
        """Report that a trial or baseline began."""

    def progressed(self, config: TrialConfig, step: int, value: float | None) -> None:
        """Report a value on the way."""

    def ended(self, outcome: Outcome) -> None:
        """Report that a trial or baseline came to its end."""


class Quiet:
    """Shows nothing."""

    def base_training(self, step: int, total: int, loss: float) -> None:
        """Show nothing."""

    def remarked(self, line: str) -> None:
        """Show nothing."""

    def searching(
        self, total: int, done: int, workers: int, what: str = "trials"
    ) -> AbstractContextManager[None]:
        """Enclose the search in nothing."""
        return nullcontext()

    def started(self, config: TrialConfig) -> None:
        """Show nothing."""

    def progressed(self, config: TrialConfig, step: int, value: float | None) -> None:
        """Show nothing."""

    def ended(self, outcome: Outcome) -> None:
        """Show nothing."""


QUIET = Quiet()
