"""A pool's workers as Ray actors, anywhere on a cluster.

Ray serialises what goes between its processes with cloudpickle: arguments and answers of this very
run, nothing that was on a disk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, OutOfMemoryError, RayActorError, RayTaskError

from study.engines.base import Engine
from study.engines.engine_choice import EngineChoice
from study.engines.pool.nodes import Brought, brought, make_on_node
from study.engines.pool.pool import Death
from study.engines.pool.ray_cluster import LOOK_SECONDS, Head, Room
from study.engines.pool.worker import Answer, Served
from study.errors import InputError
from study.spec.sections import StudySpec

LOST = (RayActorError, OutOfMemoryError)


class RayLauncher:
    """Places actors that make their engines with `make_engine`, each on a GPU or on its cores."""

    def __init__(self, make_engine: Callable[..., Engine], choice: EngineChoice) -> None:
        self._make_engine = make_engine
        assert choice.ray is not None
        self._head = Head.of(choice.ray)
        resources = Room.of(ray.nodes()).each(choice.workers)
        self._actors = ray.remote(Seat).options(**resources, scheduling_strategy="SPREAD")
        self._launched: list[RayChannel] = []

    def launch(self) -> RayChannel:
        """Ask for an actor, which is placed once there is room."""
        self._head.check()
        channel = RayChannel(self._actors.remote(self._make_engine))
        self._launched.append(channel)
        return channel

    def brought(self, spec: StudySpec, base: str) -> Brought:
        """Return what every node must have, in place of the base's location on this one."""
        return brought(spec, base)

    def ready(self, channels: Sequence[RayChannel], timeout: float | None) -> list[RayChannel]:
        """Return those whose answer, or error, has arrived."""
        answers = [channel.answer for channel in channels]
        found = self._wait(answers, LOOK_SECONDS if timeout is None else timeout)
        while timeout is None and not found:
            found = self._wait(answers, LOOK_SECONDS)
        return [channel for channel in channels if channel.answer in found]

    def _wait(self, answers: list[Any], timeout: float) -> list[Any]:
        """Return all answers that are there as soon as there is one."""
        self._head.check()
        found, _ = ray.wait(answers, timeout=timeout)
        if found:
            found, _ = ray.wait(answers, num_returns=len(answers), timeout=0)
        return list(found)

    def close(self) -> None:
        """End all actors, whatever they are doing."""
        for channel in self._launched:
            channel.end()


class RayChannel:
    """An actor, and the answer that it owes."""

    def __init__(self, actor: Any) -> None:
        self.answer: Any = None
        self._actor = actor
        self._place = actor.place.remote()
        self._error: Exception | None = None

    def send(self, command: str, arguments: tuple[Any, ...]) -> None:
        """Call the actor, which obeys in the order of the calls."""
        reference = self._actor.do.remote(command, arguments)
        if command != "start":
            self.answer = reference

    def receive(self) -> Answer:
        """Wait for the answer; raises EOFError where the actor, or its node, died."""
        try:
            answer: Answer = ray.get(self.answer)
        except LOST as error:
            self._error = error
            raise EOFError from error
        except RayTaskError as error:  # arguments that cannot be read over there
            return Answer("error", str(error))
        return answer

    def death(self) -> Death:
        """Return why Ray lost the actor.

        Raises:
            InputError: it could not even begin, as where a package is missing on its node.
        """
        self.end()
        if getattr(self._error, "actor_init_failed", False):
            reason = str(self._error).strip().splitlines()[-1]
            raise InputError(f"--ray: a worker cannot begin on its node: {reason}")
        node, address = self._where()
        if isinstance(self._error, OutOfMemoryError):
            return Death(f"Ray ended the worker on {address}", was_killed=True)
        if isinstance(self._error, ActorUnavailableError):  # so it is when a node dies at once
            return Death(f"the connection to {address} was lost", was_killed=False)
        if node not in [each["NodeID"] for each in ray.nodes() if each["Alive"]]:
            return Death(f"{address} left the cluster", was_killed=False)
        return Death(f"the worker process on {address} was ended", was_killed=True)

    def _where(self) -> tuple[str, str]:
        try:
            node, address = ray.get(self._place, timeout=0)
        except (*LOST, TimeoutError):
            return "", "a node"
        return node, address

    def end(self) -> None:
        """End the actor if it lives."""
        ray.kill(self._actor)


class Seat:
    """What an actor is: a served engine that knows where it is."""

    def __init__(self, make_engine: Callable[..., Engine]) -> None:
        address = f"node {ray.util.get_node_ip_address()}"
        self._place = (ray.get_runtime_context().get_node_id(), address)
        self._served = Served(partial(make_on_node, make_engine, address))

    def do(self, command: str, arguments: tuple[Any, ...]) -> Answer:
        """Obey a command of the engine's promise."""
        return self._served.do(command, arguments)

    def place(self) -> tuple[str, str]:
        """Return the node's id in the cluster, and its address in words."""
        return self._place
