"""Workers, each with its own engine, under one parent.

The parent alone asks, tells and writes, so SQLite has one writer.  A worker that dies loses its
trials, which are reported as interrupted, and a new worker takes its place.  A launcher decides
where workers run: local_processes.py starts them on this machine, ray_pool.py on a cluster.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

from study.engines.engine_choice import EngineChoice
from study.engines.pool.worker import Reply
from study.errors import InputError
from study.spec.sections import StudySpec
from study.tasks.base import Task
from study.trials import Checked, Event, Finished, Interrupted, Notice, TrialConfig, TrialResult

MAX_DEATHS_IN_A_ROW = 5  # plus one per other worker: a lost machine ends all its workers
PATIENCE_SECONDS = 10.0  # for the others once one is ready, to spread few trials evenly


class WorkerError(RuntimeError):
    """A worker raised; the message holds its traceback."""


@dataclass(frozen=True)
class Death:
    """Why a worker died, and whether it was killed, as happens when memory runs out."""

    reason: str
    was_killed: bool


class Channel(Protocol):
    """The connection to one worker.  Every command but `start` gets a reply, in order."""

    def send(self, command: str, arguments: tuple[Any, ...]) -> None:
        """Send a command.  If the worker is dead, `receive` will notice."""

    def receive(self) -> Reply:
        """Wait for the reply; raises EOFError if the worker died."""

    def death(self) -> Death:
        """Return why the worker died."""

    def end(self) -> None:
        """End the worker, whatever it is doing."""


C = TypeVar("C", bound=Channel)


class Launcher(Protocol[C]):
    """Starts workers and waits for their replies."""

    def launch(self, number: int) -> C:
        """Start the worker of that number, which begins importing at once."""

    def base_for_workers(self, spec: StudySpec, base: str) -> Any:
        """Return what a worker's `make_engine` gets instead of the base's location."""

    def ready(self, channels: Sequence[C], timeout: float | None) -> Sequence[C]:
        """Wait up to `timeout` seconds for replies or deaths; return their channels, if any."""

    def close(self) -> None:
        """End all workers, whatever they are doing."""


class PoolEngine:
    """W workers with the slots of their own engines.

    `load` builds the engines.  It is separate because its arguments are not known when the workers
    start: they import torch while the parent still builds the base.
    """

    def __init__(self, launcher: Launcher[C], workers: int) -> None:
        self._launcher: Launcher[Any] = launcher
        self._workers = [WorkerState(launcher.launch(n)) for n in range(workers)]
        self._deaths_in_a_row = 0
        self._first_ready_at: float | None = None
        self._remarks: set[tuple[str, ...]] = set()  # of the workers' self-checks so far
        self._unreported: list[Event] = []  # events from outside `advance`, for it to report

    def keep(self, workers: int) -> None:
        """End the workers beyond so many, before any of them has loaded a base."""
        for worker in self._workers[workers:]:
            worker.channel.end()
        del self._workers[workers:]

    def load(self, spec: StudySpec, base: str, task: Task | None, choice: EngineChoice) -> None:
        """Let every worker build its engine."""
        self._arguments = (spec, self._launcher.base_for_workers(spec, base), task)
        self._choice = choice
        for worker in self._workers:
            worker.request("load", *self._arguments, choice)

    def wait_for_the_first(self) -> None:
        """Wait until a worker has loaded the base; raises InputError if it cannot be used."""
        while all(worker.awaited == "load" for worker in self._workers):
            for worker in self._replied(self._workers, timeout=None):
                self._unreported += self._events_of(worker)

    @property
    def free_slots(self) -> int:
        """The free slots of the workers that are ready and not training.

        Waits if nothing runs and no worker is ready yet.
        """
        while loading := [w for w in self._workers if w.awaited == "load"]:
            patience = self._patience_seconds()
            replied = self._replied(loading, patience)
            for worker in replied:
                self._unreported += self._events_of(worker)
            if not replied and patience is not None:
                break
        return sum(worker.free_slots for worker in self._workers)

    def _patience_seconds(self) -> float | None:
        """Return how long to wait for workers that are loading; None means forever."""
        if all(worker.awaited == "load" for worker in self._workers):
            return None
        now = time.monotonic()
        self._first_ready_at = self._first_ready_at or now
        return max(0.0, self._first_ready_at + PATIENCE_SECONDS - now)

    def start(self, config: TrialConfig, state: bytes | None = None) -> None:
        """Give the trial to the worker with the most free slots."""
        max(self._workers, key=lambda worker: worker.free_slots).start(config, state)

    def advance(self) -> list[Event]:
        """Let every worker train, and return the reports that arrived.

        Returns nothing if the only reply is from a worker whose slots are now free.
        """
        for worker in self._workers:
            if worker.trials and worker.awaited is None:
                worker.request("advance")
        busy = [worker for worker in self._workers if worker.awaited]
        events, self._unreported = self._unreported, []
        for worker in self._replied(busy, timeout=None):
            events += self._events_of(worker)
        return events

    def _replied(self, workers: Sequence[WorkerState], timeout: float | None) -> list[WorkerState]:
        ready = self._launcher.ready([worker.channel for worker in workers], timeout)
        return [worker for worker in workers if worker.channel in ready]

    def _events_of(self, worker: WorkerState) -> list[Event]:
        """Return the events in a worker's reply, or those of its death."""
        command, worker.awaited = worker.awaited, None
        try:
            value = worker.receive()
        except EOFError:
            return self._replace(worker)
        if command == "load":
            return []
        self._deaths_in_a_row = 0
        events: list[Event] = [event for event in value if not self._is_repeated(event)]
        worker.trials -= {event.number for event in events if isinstance(event, Finished)}
        return events

    def _is_repeated(self, event: Event) -> bool:
        """Return whether another worker's self-check found the same."""
        if not isinstance(event, Checked):
            return False
        is_repeated = event.check.remarks in self._remarks
        self._remarks.add(event.check.remarks)
        return is_repeated

    def _replace(self, worker: WorkerState) -> list[Event]:
        """Start a worker to replace a dead one; return the lost trials as interrupted."""
        death = worker.channel.death()
        self._deaths_in_a_row += 1
        if self._deaths_in_a_row >= MAX_DEATHS_IN_A_ROW + len(self._workers) - 1:
            raise WorkerError(
                f"{self._deaths_in_a_row} workers died in a row; the last one: {death.reason}"
            )
        notices: list[Event] = []
        if death.was_killed and worker.trials:
            self._choice = self._choice.with_half_passes()
            notices = [Notice(f"{death.reason}; the next one makes passes of half the size")]
        number = self._workers.index(worker)
        fresh = WorkerState(self._launcher.launch(number))
        fresh.request("load", *self._arguments, self._choice)
        self._workers[number] = fresh
        lost = sorted(worker.trials)
        return [*notices, *(Interrupted(number, death.reason) for number in lost)]

    def state(self, number: int) -> bytes | None:
        """Return a trial's state from its worker; None if that died, as `advance` will notice."""
        worker = next(w for w in self._workers if number in w.trials)
        assert worker.awaited is None, "a trial's state is read at its report"
        worker.channel.send("state", (number,))
        try:
            state: bytes | None = worker.receive()
        except EOFError:
            return None
        return state

    def stop(self, number: int) -> TrialResult:
        """Stop a pruned trial in its worker."""
        worker = next(w for w in self._workers if number in w.trials)
        assert worker.awaited is None, "a trial is pruned at its report"
        worker.trials.remove(number)
        worker.channel.send("stop", (number,))
        try:
            result: TrialResult = worker.receive()
        except EOFError:
            if not worker.trials:  # otherwise the next `advance` finds them lost
                self._unreported += self._replace(worker)
            return TrialResult()
        return result

    def close(self) -> None:
        """End all workers, whatever they are doing."""
        self._launcher.close()


class WorkerState:
    """What the parent knows about a worker: its trials, free slots and pending reply."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.trials: set[int] = set()
        self.awaited: Literal["load", "advance"] | None = None  # the command without a reply yet
        self._free_slots = 0  # as of its last reply

    @property
    def free_slots(self) -> int:
        """How many trials may be sent now."""
        return 0 if self.awaited else self._free_slots

    def start(self, config: TrialConfig, state: bytes | None) -> None:
        """Send a trial; there is no reply."""
        assert self.free_slots
        self.trials.add(config.number)
        self._free_slots -= 1
        self.channel.send("start", (config, state))

    def request(self, command: Literal["load", "advance"], *arguments: Any) -> None:
        """Send a command whose reply comes later."""
        self.channel.send(command, arguments)
        self.awaited = command

    def receive(self) -> Any:
        """Return the value of the worker's reply; raises EOFError if it died."""
        reply = self.channel.receive()
        self._free_slots = reply.free_slots
        if reply.status == "input":
            raise InputError(reply.value)
        if reply.status == "error":
            raise WorkerError(reply.value)
        return reply.value
