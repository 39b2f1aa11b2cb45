"""Worker processes, each with an engine of its own, behind one parent.

The parent alone asks, tells and writes, so SQLite has one writer.  A worker that dies loses its
trial, which is reported as interrupted, and a new worker takes its place.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from study.engines.base import Engine
from study.engines.choice import PACKED, EngineChoice
from study.errors import InputError
from study.spec import StudySpec
from study.tasks.base import Task
from study.trials import Event, Finished, Interrupted, Notice, TrialConfig, TrialResult

_SPAWN = multiprocessing.get_context("spawn")
MAX_DEATHS_IN_A_ROW = 5


class WorkerError(RuntimeError):
    """A worker raised; the message holds its traceback."""


class PoolEngine:
    """W workers with the slots of their own engines.

    `make_engine` is called in each worker with what `load` gets, which becomes known only after
    the workers have started: they import torch while the parent still builds the base.
    """

    def __init__(self, make_engine: Callable[..., Engine], workers: int) -> None:
        self._make_engine = make_engine
        self._arguments: tuple[StudySpec, str, Task | None] | None = None
        self._choice = PACKED
        self._workers = [_Worker(make_engine) for _ in range(workers)]
        self._deaths = 0

    def load(self, spec: StudySpec, base: str, task: Task | None, choice: EngineChoice) -> None:
        """Let every worker make its engine."""
        self._arguments, self._choice = (spec, base, task), choice
        for worker in self._workers:
            worker.send("load", (*self._arguments, choice))

    @property
    def free_slots(self) -> int:
        """The free slots of the workers that are not in the middle of their training."""
        return sum(self._free_slots_of(place) for place in range(len(self._workers)))

    def _free_slots_of(self, place: int) -> int:
        """Return a worker's free slots; one that died of making its engine is replaced first."""
        while True:
            try:
                return self._workers[place].free_slots
            except EOFError:
                self._replace(self._workers[place])

    def start(self, config: TrialConfig) -> None:
        """Give the trial to the worker with the most room."""
        max(self._workers, key=lambda worker: worker.free_slots).start(config)

    def advance(self) -> list[Event]:
        """Let every worker train, and return the reports of those that have some."""
        busy = [worker for worker in self._workers if worker.trials]
        for worker in busy:
            if not worker.is_advancing:
                worker.send("advance", ())
                worker.is_advancing = True
        ready = wait([worker.connection for worker in busy])
        return [e for w in busy if w.connection in ready for e in self._events_of(w)]

    def _events_of(self, worker: _Worker) -> list[Event]:
        worker.is_advancing = False
        try:
            events: list[Event] = worker.receive()
        except EOFError:
            return self._replace(worker)
        self._deaths = 0
        worker.trials -= {event.number for event in events if isinstance(event, Finished)}
        return events

    def _replace(self, worker: _Worker) -> list[Event]:
        """Report the dead worker's trials, and start another worker in its place."""
        reason = worker.cause_of_death()
        self._deaths += 1
        if self._deaths >= MAX_DEATHS_IN_A_ROW:
            raise WorkerError(f"{self._deaths} workers died in a row, the last one: {reason}")
        notices: list[Event] = []
        if worker.was_killed and len(worker.trials) > 1:
            self._choice = self._choice.halved(len(worker.trials))
            notices = [
                Notice(
                    f"{reason}, perhaps for want of memory: the next one packs "
                    f"{self._choice.slots} trials"
                )
            ]
        fresh = _Worker(self._make_engine)
        assert self._arguments is not None
        fresh.send("load", (*self._arguments, self._choice))
        self._workers[self._workers.index(worker)] = fresh
        return [*notices, *(Interrupted(number, reason) for number in sorted(worker.trials))]

    def stop(self, number: int) -> TrialResult:
        """Stop a pruned trial in its worker."""
        worker = next(w for w in self._workers if number in w.trials)
        assert not worker.is_advancing, "a trial is pruned at its report"
        worker.send("stop", (number,))
        try:
            result: TrialResult = worker.receive()
        except EOFError:  # the next `advance` finds its other trials lost
            result = TrialResult()
        worker.trials.remove(number)
        return result

    def close(self) -> None:
        """End all workers, whatever they are doing."""
        for worker in self._workers:
            worker.process.terminate()
        for worker in self._workers:
            worker.process.join(timeout=5)
            worker.process.kill()
            worker.process.join()
            worker.connection.close()


class _Worker:
    """A process at the other end of a pipe."""

    def __init__(self, make_engine: Callable[..., Engine]) -> None:
        self.connection, theirs = _SPAWN.Pipe()
        self.process: SpawnProcess = _SPAWN.Process(
            target=_serve, args=(theirs, make_engine), daemon=True
        )
        self.process.start()
        theirs.close()
        self.trials: set[int] = set()
        self.free: int | None = None  # slots; known once the engine is made
        self.is_advancing = False

    @property
    def free_slots(self) -> int:
        """How many trials may be sent now; waits for an engine that is being made."""
        if self.is_advancing:
            return 0
        if self.free is None:
            self.receive()
        assert self.free is not None
        return self.free

    def start(self, config: TrialConfig) -> None:
        assert self.free
        self.trials.add(config.number)
        self.free -= 1
        self.send("start", (config,))

    def send(self, command: str, arguments: tuple[Any, ...]) -> None:
        try:
            self.connection.send((command, arguments))
        except (BrokenPipeError, ConnectionResetError):
            return  # the next receive finds the end of the pipe

    def receive(self) -> Any:
        """Return the worker's answer; EOFError where it died."""
        try:
            status, answer, self.free = self.connection.recv()
        except ConnectionResetError as error:
            raise EOFError from error
        if status == "input":
            raise InputError(answer)
        if status == "error":
            raise WorkerError(answer)
        return answer

    @property
    def was_killed(self) -> bool:
        """Say whether the system ended it, as it does when memory runs out."""
        return self.process.exitcode == -signal.SIGKILL

    def cause_of_death(self) -> str:
        self.process.join(timeout=5)
        code = self.process.exitcode
        if code is not None and code < 0:
            return f"the worker process was ended by {signal.Signals(-code).name}"
        return f"the worker process exited with status {code}"


def _serve(connection: Connection, make_engine: Callable[..., Engine]) -> None:
    """Answer the parent's commands until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signal.signal(signal.SIGTERM, _leave)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    try:
        _answer(connection, make_engine)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the parent is gone
    except InputError as error:
        connection.send(("input", error.problems, 0))
    except Exception:
        connection.send(("error", traceback.format_exc(), 0))


def _end_with_the_parent() -> None:
    """End at once when the parent was killed: the pipe is looked at only between reports."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _leave(number: int, frame: object) -> None:
    """Exit in order, so that locks are released."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(0)


def _answer(connection: Connection, make_engine: Callable[..., Engine]) -> None:
    from study.engines.process import be_one_quiet_thread

    be_one_quiet_thread()
    engine: Engine | None = None
    while True:
        command, arguments = connection.recv()
        if command == "load":
            engine, answer = make_engine(*arguments), None
        else:
            assert engine is not None
            answer = getattr(engine, command)(*arguments)
        if command != "start":
            connection.send(("ok", answer, engine.free_slots))
