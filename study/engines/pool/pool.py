"""Workers, each with an engine of its own, behind one parent.

The parent alone asks, tells and writes, so SQLite has one writer.  A worker that dies loses its
trials, which are reported as interrupted, and a new worker takes its place.  Where workers are is a
launcher's affair: `processes.py` starts them here, `ray_pool.py` anywhere on a cluster.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from study.engines.engine_choice import EngineChoice
from study.engines.pool.worker import Answer
from study.errors import InputError
from study.spec.sections import StudySpec
from study.tasks.base import Task
from study.trials import Event, Finished, Interrupted, Notice, TrialConfig, TrialResult

MAX_DEATHS_IN_A_ROW = 5  # beside one of every worker, since a machine takes all of its own along
PATIENCE_SECONDS = 10.0  # for the other workers once the first is ready: few trials spread evenly


class WorkerError(RuntimeError):
    """A worker raised; the message holds its traceback."""


@dataclass(frozen=True)
class Death:
    """Why a worker is no more, and whether it was killed, as the system does for want of memory."""

    reason: str
    was_killed: bool


class Channel(Protocol):
    """What leads to one worker.  Commands are answered in their order, all but `start`."""

    def send(self, command: str, arguments: tuple[Any, ...]) -> None:
        """Send a command; that the worker is dead is found by `receive`."""

    def receive(self) -> Answer:
        """Wait for the answer; raises EOFError where the worker died."""

    def death(self) -> Death:
        """Return why a dead worker died."""


C = TypeVar("C", bound=Channel)


class Launcher(Protocol[C]):
    """Starts workers, and knows which of them have answered."""

    def launch(self) -> C:
        """Start a worker, which at once begins to import what it needs."""

    def brought(self, spec: StudySpec, base: str) -> Any:
        """Return what `make_engine` gets over there in place of the base's location."""

    def ready(self, channels: Sequence[C], timeout: float | None) -> Sequence[C]:
        """Wait for an answer, or a death, so many seconds; returns whose came, perhaps none."""

    def close(self) -> None:
        """End all workers, whatever they are doing."""


class PoolEngine:
    """W workers with the slots of their own engines.

    The engines are made by `load`, whose arguments become known only after the workers have
    started: they import torch while the parent still builds the base.
    """

    def __init__(self, launcher: Launcher[C], workers: int) -> None:
        self._launcher: Launcher[Any] = launcher
        self._workers = [_Worker(launcher.launch()) for _ in range(workers)]
        self._deaths = 0
        self._first_ready_at: float | None = None
        self._kept: list[Event] = []  # what happened outside `advance`, which reports it

    def load(self, spec: StudySpec, base: str, task: Task | None, choice: EngineChoice) -> None:
        """Let every worker make its engine."""
        self._arguments = (spec, self._launcher.brought(spec, base), task)
        self._choice = choice
        for worker in self._workers:
            worker.ask("load", *self._arguments, choice)

    @property
    def free_slots(self) -> int:
        """The free slots of the workers that are ready and not in the middle of their training.

        Waits where nothing runs and nobody is ready yet.
        """
        while loading := [w for w in self._workers if w.asked == "load"]:
            patience = self._patience()
            answered = self._answered(loading, patience)
            for worker in answered:
                self._kept += self._events_of(worker)
            if not answered and patience is not None:
                break
        return sum(worker.free_slots for worker in self._workers)

    def _patience(self) -> float | None:
        """Return for how many seconds engines in the making are waited for; None is for ever."""
        if all(worker.asked == "load" for worker in self._workers):
            return None
        now = time.monotonic()
        self._first_ready_at = self._first_ready_at or now
        return max(0.0, self._first_ready_at + PATIENCE_SECONDS - now)

    def start(self, config: TrialConfig) -> None:
        """Give the trial to the worker with the most room."""
        max(self._workers, key=lambda worker: worker.free_slots).start(config)

    def advance(self) -> list[Event]:
        """Let every worker train, and return the reports of those that have some.

        Nothing is reported where all that came is a worker whose slots are now free.
        """
        for worker in self._workers:
            if worker.trials and worker.asked is None:
                worker.ask("advance")
        asked = [worker for worker in self._workers if worker.asked]
        events, self._kept = self._kept, []
        for worker in self._answered(asked, timeout=None):
            events += self._events_of(worker)
        return events

    def _answered(self, workers: Sequence[_Worker], timeout: float | None) -> list[_Worker]:
        ready = self._launcher.ready([worker.channel for worker in workers], timeout)
        return [worker for worker in workers if worker.channel in ready]

    def _events_of(self, worker: _Worker) -> list[Event]:
        command, worker.asked = worker.asked, None
        try:
            answer = worker.receive()
        except EOFError:
            return self._replace(worker)
        if command == "load":
            return []
        self._deaths = 0
        events: list[Event] = answer
        worker.trials -= {event.number for event in events if isinstance(event, Finished)}
        return events

    def _replace(self, worker: _Worker) -> list[Event]:
        """Report the dead worker's trials, and start another worker in its place."""
        death = worker.channel.death()
        self._deaths += 1
        if self._deaths >= MAX_DEATHS_IN_A_ROW + len(self._workers) - 1:
            raise WorkerError(f"{self._deaths} workers died in a row, the last one: {death.reason}")
        notices: list[Event] = []
        if death.was_killed and len(worker.trials) > 1:
            self._choice = self._choice.halved(len(worker.trials))
            notices = [
                Notice(
                    f"{death.reason}, perhaps for want of memory: the next one packs "
                    f"{self._choice.slots} trials"
                )
            ]
        fresh = _Worker(self._launcher.launch())
        fresh.ask("load", *self._arguments, self._choice)
        self._workers[self._workers.index(worker)] = fresh
        lost = sorted(worker.trials)
        return [*notices, *(Interrupted(number, death.reason) for number in lost)]

    def stop(self, number: int) -> TrialResult:
        """Stop a pruned trial in its worker."""
        worker = next(w for w in self._workers if number in w.trials)
        assert worker.asked is None, "a trial is pruned at its report"
        worker.trials.remove(number)
        worker.channel.send("stop", (number,))
        try:
            result: TrialResult = worker.receive()
        except EOFError:
            if not worker.trials:  # else the next `advance` finds them lost
                self._kept += self._replace(worker)
            return TrialResult()
        return result

    def close(self) -> None:
        """End all workers, whatever they are doing."""
        self._launcher.close()


class _Worker:
    """What the parent knows of a worker: its trials, its room, and what it was asked."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.trials: set[int] = set()
        self.free = 0  # slots, by its last answer
        self.asked: str | None = None  # `load` or `advance`, while the answer is awaited

    @property
    def free_slots(self) -> int:
        """How many trials may be sent now."""
        return 0 if self.asked else self.free

    def start(self, config: TrialConfig) -> None:
        assert self.free_slots
        self.trials.add(config.number)
        self.free -= 1
        self.channel.send("start", (config,))

    def ask(self, command: str, *arguments: Any) -> None:
        """Send a command whose answer comes later."""
        self.channel.send(command, arguments)
        self.asked = command

    def receive(self) -> Any:
        """Return the worker's answer; EOFError where it died."""
        answer = self.channel.receive()
        self.free = answer.free
        if answer.status == "input":
            raise InputError(answer.value)
        if answer.status == "error":
            raise WorkerError(answer.value)
        return answer.value
