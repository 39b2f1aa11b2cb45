"""The training loop: fill the free slots, advance the engine, pass on what it reports.

A `Source` decides what to train and what to do with the results.  There are two: the search, which
asks Optuna (runner.py), and the confirmation, which has a list (confirming.py).
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence

from study.engines.base import Engine
from study.errors import InputError
from study.signals import stop_signals
from study.trials import (
    Checked,
    Event,
    Finished,
    Interrupted,
    Notice,
    Passes,
    Progress,
    SelfCheck,
    TrialConfig,
    TrialResult,
)
from study.views.base import Outcome, View

POLL_SECONDS = 1.0  # between questions to a source that waits for other runs


class Source(ABC):
    """Hands out configurations and takes their results.  Every training ends in one `Outcome`."""

    @abstractmethod
    def next(self) -> TrialConfig | None:
        """Return what to train next, or None if nothing can start now."""

    def waits(self) -> bool:
        """Return whether `next` may return something later although nothing is running here."""
        return False

    def checked(self, check: SelfCheck) -> None:  # noqa: B027 - most sources do not keep it
        """Take an engine's self-check."""

    def passed(self, passes: Passes) -> None:  # noqa: B027 - most sources do not keep it
        """Take the size of an engine's training passes and what they contained."""

    def report(self, progress: Progress, *, is_last: bool) -> bool:
        """Take a report; return whether to prune the training, which is ignored if `is_last`."""
        return False

    def prune(self, progress: Progress, result: TrialResult) -> Outcome:
        """Take the partial result of a training that was pruned."""
        raise NotImplementedError

    @abstractmethod
    def finish(self, finished: Finished) -> Outcome:
        """Take the result of a training that ran to its end or failed."""

    @abstractmethod
    def interrupt(self, interrupted: Interrupted) -> Outcome:
        """Take back a training that was lost and may be retried."""


def drive(engine: Engine, source: Source, view: View) -> None:
    """Train what the source provides until nothing is left, or SIGINT or SIGTERM arrives.

    A signal interrupts what is running, and the source is informed; so does an InputError, which
    passes on.
    """
    running: dict[int, TrialConfig] = {}
    with stop_signals() as interruptible:
        try:
            while True:
                while engine.free_slots and (config := source.next()) is not None:
                    running[config.number] = config
                    engine.start(config)
                    view.started(config)
                if running:
                    with interruptible():
                        events = engine.advance()
                    _pass_on(events, running, engine, source, view)
                elif source.waits():
                    with interruptible():
                        time.sleep(POLL_SECONDS)
                else:
                    return
        except (KeyboardInterrupt, InputError) as error:
            for number in list(running):
                view.ended(source.interrupt(Interrupted(number, "the study was stopped")))
            if isinstance(error, InputError):
                raise


def _pass_on(
    events: Sequence[Event],
    running: dict[int, TrialConfig],
    engine: Engine,
    source: Source,
    view: View,
) -> None:
    """Pass the events to the source and the view; remove what has ended from `running`."""
    ending = {event.number for event in events if isinstance(event, (Finished, Interrupted))}
    for event in events:
        match event:
            case Notice():
                view.remarked(event.text)
            case Checked():
                for remark in event.check.remarks:
                    view.remarked(remark)
                source.checked(event.check)
            case Passes():
                source.passed(event)
            case Progress():
                view.progressed(running[event.number], event.step, event.value)
                if source.report(event, is_last=event.number in ending):
                    result = engine.stop(event.number)
                    del running[event.number]
                    view.ended(source.prune(event, result))
            case Finished():
                del running[event.number]
                view.ended(source.finish(event))
            case Interrupted():
                del running[event.number]
                view.ended(source.interrupt(event))
