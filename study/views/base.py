"""What a person sees while a study runs: the base class of every view, which shows nothing."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from study.trials import TrialConfig


@dataclass(frozen=True)
class Outcome:
    """How a training ended, as far as a person wants to know."""

    config: TrialConfig
    state: str  # complete, pruned, failed, interrupted
    objective: str
    value: float | None
    reason: str | None = None
    counted: int | None = None  # trials of the study's total, by now and by all runs


class View:
    """Receives what happens, in order, and shows nothing.  A view overrides what it shows.

    The loop and the runner know nothing of terminals.
    """

    def base_training(self, step: int, total: int, loss: float) -> None:
        """Show how far the training of the embedded base is."""

    def remarked(self, line: str) -> None:
        """Show what a person should know about the data or the training."""

    def searching(
        self, total: int, done: int, workers: int, what: str = "trials"
    ) -> AbstractContextManager[None]:
        """Enclose the training; `done` of `total` trials (or `what` they are) already count."""
        return nullcontext()

    def started(self, config: TrialConfig) -> None:
        """Show that a training began."""

    def progressed(self, config: TrialConfig, step: int, value: float | None) -> None:
        """Show the step that a training has reached, and its value if it has one."""

    def ended(self, outcome: Outcome) -> None:
        """Show how a training ended."""


QUIET = View()
