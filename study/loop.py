"""The training loop: fill the free slots, advance the engine, pass on what it reports.

A `Source` decides what to train and what to do with the results.  There are two: the search, which
asks Optuna (runner.py), and the confirmation, which has a list (confirming.py).
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from enum import Enum, auto

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


class Verdict(Enum):
    """What becomes of a training after its report."""

    GO_ON = auto()
    PAUSE = auto()
    PRUNE = auto()


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

    def state_of(self, config: TrialConfig) -> bytes | None:
        """Return the state that a training goes on from; None if it begins."""
        return None

    def report(self, progress: Progress, *, is_last: bool) -> Verdict:
        """Take a report; return what becomes of the training, which is ignored if `is_last`."""
        return Verdict.GO_ON

    @property
    def keeps_states(self) -> bool:
        """Whether it wants the state of every training at its reports."""
        return False

    def keep(self, progress: Progress, state: bytes) -> None:  # noqa: B027 - most do not
        """Take the state of a training that goes on after its report."""

    def pause(self, progress: Progress, result: TrialResult, state: bytes | None) -> None:
        """Take a training that is put aside, with its costs so far and its state."""
        raise NotImplementedError

    def settle(self) -> Sequence[Outcome]:
        """End what is put aside, since nothing is running and nothing can start."""
        return ()

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
                    engine.start(config, source.state_of(config))
                    view.started(config)
                if running:
                    with interruptible():
                        events = engine.advance()
                    _pass_on(events, running, engine, source, view)
                    continue
                for outcome in source.settle():
                    view.ended(outcome)
                if source.waits():
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
                _judge(event, running, engine, source, view, is_last=event.number in ending)
            case Finished():
                del running[event.number]
                view.ended(source.finish(event))
            case Interrupted():
                del running[event.number]
                view.ended(source.interrupt(event))


def _judge(
    progress: Progress,
    running: dict[int, TrialConfig],
    engine: Engine,
    source: Source,
    view: View,
    *,
    is_last: bool,
) -> None:
    """Let the source decide what becomes of a training after its report."""
    number = progress.number
    verdict = source.report(progress, is_last=is_last)
    if is_last:
        return
    if verdict is Verdict.PRUNE:
        result = engine.stop(number)
        del running[number]
        view.ended(source.prune(progress, result))
    elif verdict is Verdict.PAUSE:
        state = engine.state(number)
        source.pause(progress, engine.stop(number), state)
        view.paused(running.pop(number))
    elif progress.is_report and source.keeps_states:
        state = engine.state(number)
        if state is not None:
            source.keep(progress, state)
