"""Progress while a study runs: the base class of every view, which shows nothing."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from study.trials import TrialConfig


@dataclass(frozen=True)
class Outcome:
    """How a training ended."""

    config: TrialConfig
    state: str  # complete, pruned, failed, interrupted
    objective: str
    value: float | None
    reason: str | None = None
    counted: int | None = None  # trials that count towards the total so far, over all runs
    further: Mapping[str, float] = field(default_factory=dict)  # the other objectives' values


@dataclass(frozen=True)
class Planned:
    """How many trainings a command wants, how many of them count already, and what they are."""

    total: int
    done: int
    workers: int
    what: str = "trials"


class View:
    """Receives events in order and shows nothing.  Subclasses override what they show.

    The loop and the runner use only this class and know nothing about terminals.
    """

    def base_training(self, step: int, total: int, loss: float) -> None:
        """Show the progress of training the embedded base."""

    def remarked(self, line: str) -> None:
        """Show a remark about the data or the training."""

    def searching(self, planned: Planned) -> AbstractContextManager[None]:
        """Enclose the trainings."""
        return nullcontext()

    def started(self, config: TrialConfig) -> None:
        """Show that a training started."""

    def progressed(self, config: TrialConfig, step: int, value: float | None) -> None:
        """Show the current step of a training, and its value if it has one."""

    def paused(self, config: TrialConfig) -> None:
        """Show that a training was put aside; it may start again, or end later."""

    def ended(self, outcome: Outcome) -> None:
        """Show how a training ended."""


QUIET = View()
