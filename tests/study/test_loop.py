"""The loop between an engine and a source: what each is told, and in which order."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

import pytest
from typing_extensions import override

import study.loop
from study.loop import Source, Verdict, drive
from study.spec.files import load_spec
from study.trials import (
    Event,
    Finished,
    Interrupted,
    Progress,
    TrialConfig,
    TrialResult,
    search_config,
)
from study.views.base import Outcome
from tests.conftest import RecordingView

SPEC = load_spec("petroleum")


class ListSource(Source):
    """Hands out numbers from a list, prunes those it is told to, and keeps what it was told."""

    def __init__(self, numbers: Sequence[int], pruned: Sequence[int] = ()) -> None:
        self.numbers = list(numbers)
        self.pruned = pruned
        self.told: list[tuple[str, int]] = []
        self.late: list[int] = []  # numbers that come only after a wait

    @override
    def next(self) -> TrialConfig | None:
        return search_config(SPEC, n := self.numbers.pop(0), {}, n) if self.numbers else None

    @override
    def waits(self) -> bool:
        self.numbers, self.late = self.late, []
        return bool(self.numbers)

    @override
    def report(self, progress: Progress, *, is_last: bool) -> Verdict:
        self.told.append(("last report" if is_last else "report", progress.number))
        return Verdict.PRUNE if progress.number in self.pruned else Verdict.GO_ON

    @override
    def prune(self, progress: Progress, result: TrialResult) -> Outcome:
        return self._outcome("pruned", progress.number)

    @override
    def finish(self, finished: Finished) -> Outcome:
        return self._outcome("complete", finished.number)

    @override
    def interrupt(self, interrupted: Interrupted) -> Outcome:
        return self._outcome("interrupted", interrupted.number)

    def _outcome(self, state: str, number: int) -> Outcome:
        self.told.append((state, number))
        return Outcome(search_config(SPEC, number, {}, number), state, "bleu", None)


class TwoReports:
    """Two slots; every trial reports once, and then a second time with its end."""

    def __init__(self) -> None:
        self.reports: dict[int, int] = {}
        self.stopped: list[int] = []

    @property
    def free_slots(self) -> int:
        return 2 - len(self.reports)

    def start(self, config: TrialConfig, state: bytes | None = None) -> None:
        assert self.free_slots
        self.reports[config.number] = 0

    def advance(self) -> list[Event]:
        events: list[Event] = []
        for number in list(self.reports):
            self.reports[number] += 1
            events.append(Progress(number, self.reports[number], 1.0))
            if self.reports[number] == 2:
                del self.reports[number]
                events.append(Finished(number, TrialResult()))
        return events

    def state(self, number: int) -> bytes | None:
        return None

    def stop(self, number: int) -> TrialResult:
        self.stopped.append(number)
        del self.reports[number]
        return TrialResult()

    def close(self) -> None:
        """Hold nothing."""


def test_every_training_ends_in_one_outcome(view: RecordingView) -> None:
    """Slots are refilled, a pruned trial is stopped in the engine, and the view sees every end."""
    engine, source = TwoReports(), ListSource([0, 1, 2], pruned=[1])
    drive(engine, source, view)
    assert engine.stopped == [1]
    states = {outcome.config.number: outcome.state for outcome in view.outcomes}
    assert states == {0: "complete", 1: "pruned", 2: "complete"}
    assert len(view.outcomes) == 3
    assert engine.free_slots == 2


def test_a_report_that_comes_with_the_end_is_the_last(view: RecordingView) -> None:
    """What has ended in the engine cannot be stopped there, so its source is told beforehand."""
    source = ListSource([0])
    drive(TwoReports(), source, view)
    assert source.told == [("report", 0), ("last report", 0), ("complete", 0)]


def test_a_source_that_waits_is_asked_again(
    view: RecordingView, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What others leave behind is trained although nothing was running here."""
    monkeypatch.setattr(study.loop, "POLL_SECONDS", 0.0)
    source = ListSource([0])
    source.late = [1]
    drive(TwoReports(), source, view)
    assert [outcome.config.number for outcome in view.outcomes] == [0, 1]


def test_a_signal_interrupts_what_is_running(view: RecordingView) -> None:
    """The report at hand is passed on whole; then everything running is given back."""
    view.on_progress = lambda config, step: os.kill(os.getpid(), signal.SIGTERM)
    source = ListSource([0, 1, 2])
    drive(TwoReports(), source, view)
    assert source.told == [("report", 0), ("report", 1), ("interrupted", 0), ("interrupted", 1)]
    assert source.numbers == [2]
