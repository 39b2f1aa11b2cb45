"""How a pool keeps its books: with workers that are made of nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from study.engines.engine_choice import EngineChoice
from study.engines.pool import pool
from study.engines.pool.pool import Death, PoolEngine, WorkerError
from study.engines.pool.worker import Reply
from study.errors import InputError
from study.spec.files import load_spec
from study.spec.sections import StudySpec
from study.trials import (
    Checked,
    Event,
    Finished,
    Interrupted,
    Notice,
    SelfCheck,
    TrialConfig,
    TrialResult,
    search_config,
)

CHOICE = EngineChoice(slots=4, workers=2)
SPEC = load_spec("petroleum")


class Scripted:
    """A worker that has no place yet, lives, or is dead; its trials end when they are advanced."""

    def __init__(self, placed: bool) -> None:
        self.placed = placed
        self.dead: Death | None = None
        self.slots = 0
        self.trials: list[int] = []
        self.answers: list[Reply] = []
        self.first_events: list[Event] = []

    def send(self, command: str, arguments: tuple[Any, ...]) -> None:
        if command == "load":
            self.slots = arguments[-1].slots
            self.answers.append(Reply("ok", None, self.slots))
        elif command == "start":
            self.trials.append(arguments[0].number)
        else:
            ended = [Finished(number, TrialResult()) for number in self.trials]
            self.trials = []
            self.answers.append(Reply("ok", [*self.first_events, *ended], self.slots))
            self.first_events = []

    def receive(self) -> Reply:
        if self.dead:
            raise EOFError
        return self.answers.pop()

    def death(self) -> Death:
        assert self.dead
        return self.dead


class ScriptedLauncher:
    """Launches workers that get a place or not, in the order of `places`."""

    def __init__(self, *places: bool) -> None:
        self._places = list(places)
        self.launched: list[Scripted] = []
        self.waited: list[float | None] = []
        self.all_die = False

    def launch(self, number: int) -> Scripted:
        self.launched.append(Scripted(self._places.pop(0)))
        if self.all_die:
            self.launched[-1].dead = Death("it died", was_killed=False)
        return self.launched[-1]

    def base_for_workers(self, spec: StudySpec, base: str) -> str:
        return base

    def ready(self, channels: Sequence[Scripted], timeout: float | None) -> list[Scripted]:
        self.waited.append(timeout)
        found = [c for c in channels if c.dead or (c.placed and c.answers)]
        assert found or timeout is not None, "would wait for ever"
        return found

    def close(self) -> None:
        """Hold nothing."""


def loaded(launcher: ScriptedLauncher) -> PoolEngine:
    """A pool of two workers whose engines are in the making."""
    engine = PoolEngine(launcher, 2)
    engine.load(SPEC, "base", None, CHOICE)
    return engine


def configs(count: int) -> list[TrialConfig]:
    """So many trials."""
    return [search_config(SPEC, n, {}, n) for n in range(count)]


def test_a_worker_without_a_place_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others train; once it has a place its slots are free too."""
    monkeypatch.setattr(pool, "PATIENCE_SECONDS", 0.0)
    launcher = ScriptedLauncher(True, False)
    engine = loaded(launcher)
    assert engine.free_slots == 4
    engine.start(configs(1)[0])
    assert [type(event) for event in engine.advance()] == [Finished]
    launcher.launched[1].placed = True
    assert engine.free_slots == 8


def test_the_others_are_waited_for_a_little() -> None:
    """The first is awaited for ever, the second some seconds: few trials are spread evenly."""
    launcher = ScriptedLauncher(True, False)
    engine = loaded(launcher)
    assert engine.free_slots == 4
    first, second = launcher.waited
    assert first is None
    assert second is not None
    assert 0 < second <= pool.PATIENCE_SECONDS


def test_trials_are_spread_evenly() -> None:
    """Each trial goes where there is most room."""
    launcher = ScriptedLauncher(True, True)
    engine = loaded(launcher)
    assert engine.free_slots == 8
    for config in configs(4):
        engine.start(config)
    assert [len(worker.trials) for worker in launcher.launched] == [2, 2]


@pytest.mark.parametrize("was_killed", [True, False])
def test_only_a_worker_that_was_killed_is_made_smaller(was_killed: bool) -> None:
    """Its trials are interrupted either way; for want of memory the next makes smaller passes."""
    launcher = ScriptedLauncher(True, True, True)
    engine = loaded(launcher)
    assert engine.free_slots == 8
    for config in configs(8):
        engine.start(config)
    launcher.launched[0].dead = Death("it died", was_killed)
    events = engine.advance()
    lost = [event.number for event in events if isinstance(event, Interrupted)]
    assert len(lost) == 4
    notices = [event for event in events if isinstance(event, Notice)]
    assert len(notices) == was_killed
    assert engine.free_slots == 8  # as many trials as before
    assert engine._choice.share_of_pass == (0.5 if was_killed else 1.0)


def test_a_worker_that_dies_with_its_last_trial_pruned_is_replaced() -> None:
    """Nothing of it is awaited any more, but its slots are wanted."""
    launcher = ScriptedLauncher(True, True, True)
    engine = PoolEngine(launcher, 2)
    engine.load(SPEC, "base", None, replace(CHOICE, slots=1))
    assert engine.free_slots == 2
    for config in configs(2):
        engine.start(config)
    launcher.launched[0].dead = Death("it died", was_killed=False)
    assert engine.stop(0) == TrialResult()
    assert engine.free_slots == 1
    assert len(launcher.launched) == 3


def test_workers_that_only_die_end_the_run() -> None:
    """A node may take all of its workers along, but a loop of deaths is an error."""
    launcher = ScriptedLauncher(*[True] * 20)
    launcher.all_die = True
    engine = loaded(launcher)
    with pytest.raises(WorkerError, match="6 workers died in a row; the last one: it died"):
        _ = engine.free_slots


def test_a_users_mistake_over_there_is_one_here() -> None:
    """The problems that a worker finds are the run's own."""
    launcher = ScriptedLauncher(True, True)
    engine = loaded(launcher)
    launcher.launched[0].answers = [Reply("input", ("no such folder",))]
    with pytest.raises(InputError, match="no such folder"):
        _ = engine.free_slots


def test_a_self_check_is_passed_on_unless_another_worker_found_the_same() -> None:
    """One of equal checks reaches the parent, and every one that found something else."""
    agrees = SelfCheck("float32", 7, (), seconds=0.1, packs=True)
    differs = SelfCheck("float32", 7, (), seconds=0.1, packs=False, why_alone="it is broken")
    for second, passed_on in (
        (replace(agrees, seconds=0.2), [agrees]),
        (differs, [agrees, differs]),
    ):
        launcher = ScriptedLauncher(True, True)
        engine = loaded(launcher)
        assert engine.free_slots == 8
        for worker, check in zip(launcher.launched, (agrees, second), strict=True):
            worker.first_events = [Checked(check)]
        for config in configs(8):
            engine.start(config)
        events = engine.advance()
        assert [event.check for event in events if isinstance(event, Checked)] == passed_on
        assert len(events) == 8 + len(passed_on)
