"""A pool's workers as processes on this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from tqdm import tqdm

from study.engines.base import Engine
from study.engines.pool.devices import device_of, environment
from study.engines.pool.pool import Death
from study.engines.pool.worker import Reply, Worker
from study.signals import EndsWith, call
from study.spec.sections import StudySpec

KILLED = (
    "a worker was killed (signal 9): by the system for memory, or by hand; if memory ran out, use "
    "fewer --workers, a smaller training.batch_size or base.dtype = 'bfloat16'"
)
_SPAWN = multiprocessing.get_context("spawn")


class ProcessLauncher:
    """Starts processes that build their engines with `make_engine`."""

    def __init__(self, make_engine: Callable[..., Engine], devices: Sequence[str] = ()) -> None:
        self._make_engine = make_engine
        self._devices = devices
        self._launched: list[ProcessChannel] = []

    def launch(self, number: int) -> ProcessChannel:
        """Start a process, which sees one GPU if there are any."""
        with environment(device_of(number, self._devices)):
            channel = ProcessChannel(self._make_engine)
        self._launched.append(channel)
        return channel

    def base_for_workers(self, spec: StudySpec, base: str) -> str:
        """Return the base's location, which is the same for every process on this machine."""
        return base

    def ready(
        self, channels: Sequence[ProcessChannel], timeout: float | None
    ) -> list[ProcessChannel]:
        """Return the channels whose pipe holds a reply or has closed."""
        ready = wait([channel.connection for channel in channels], timeout)
        return [channel for channel in channels if channel.connection in ready]

    def close(self) -> None:
        """End all processes, whatever they are doing."""
        for channel in self._launched:
            channel.process.terminate()
        for channel in self._launched:
            channel.end()


class ProcessChannel:
    """A pipe, and the process at its other end."""

    def __init__(self, make_engine: Callable[..., Engine]) -> None:
        self.connection, theirs = _SPAWN.Pipe()
        is_child = _SPAWN.get_start_method() == "spawn"
        first = EndsWith(os.getpid()) if is_child else None
        self.process: SpawnProcess = _SPAWN.Process(
            target=call, args=(first, _serve, theirs, make_engine), daemon=True
        )
        self.process.start()
        theirs.close()

    def send(self, command: str, arguments: tuple[Any, ...]) -> None:
        """Write the command into the pipe.  If that is closed, `receive` will notice."""
        try:
            self.connection.send((command, arguments))
        except (BrokenPipeError, ConnectionResetError):
            return

    def receive(self) -> Reply:
        """Read the reply.

        Raises:
            EOFError: the process died.
        """
        try:
            reply: Reply = self.connection.recv()
        except ConnectionResetError as error:
            raise EOFError from error
        return reply

    def death(self) -> Death:
        """Return how the process ended."""
        self.process.join(timeout=5)
        code = self.process.exitcode
        if code is not None and code < 0:
            if code == -signal.SIGKILL:
                return Death(KILLED, was_killed=True)
            name = signal.Signals(-code).name
            return Death(f"the worker process was ended by {name}", was_killed=False)
        return Death(f"the worker process exited with status {code}", was_killed=False)

    def end(self) -> None:
        """End the process, whatever it is doing."""
        if self.connection.closed:
            return
        self.process.terminate()
        self.process.join(timeout=2)
        self.process.kill()
        self.process.join()
        self.connection.close()


def _serve(connection: Connection, make_engine: Callable[..., Engine]) -> None:
    """Carry out the parent's commands until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    signal.signal(signal.SIGTERM, _leave)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    # tqdm's own lock is a semaphore, which a killed process leaves behind with a warning
    tqdm.set_lock(threading.RLock())
    worker = Worker(make_engine)
    try:
        while True:
            command, arguments = connection.recv()
            reply = worker.do(command, arguments)
            if command != "start":
                connection.send(reply)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the parent is gone


def _end_with_the_parent() -> None:
    """End when the parent is killed, also where `end_with` does nothing.

    The pipe is read only between reports.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _leave(number: int, frame: object) -> None:
    """Exit normally, so that locks are released."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(0)
