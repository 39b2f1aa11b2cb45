"""A pool's workers as Ray actors, anywhere on a cluster.

Ray's processes exchange commands and replies of this run, serialised with cloudpickle; nothing is
read from a disk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, OutOfMemoryError, RayActorError, RayTaskError

from study.engines.base import Engine
from study.engines.engine_choice import EngineChoice
from study.engines.pool.nodes import NodeRequirements, make_on_node, node_requirements
from study.engines.pool.pool import Death
from study.engines.pool.ray_cluster import CHECK_SECONDS, Head, Room
from study.engines.pool.worker import Reply, Worker
from study.errors import InputError
from study.spec.sections import StudySpec

LOST = (RayActorError, OutOfMemoryError)


class RayLauncher:
    """Places actors that build their engines with `make_engine`, each on a GPU or on its cores."""

    def __init__(self, make_engine: Callable[..., Engine], choice: EngineChoice) -> None:
        self._make_engine = make_engine
        assert choice.ray is not None
        self._head = Head.of(choice.ray)
        resources = Room.of(ray.nodes()).per_worker(choice.workers)
        self._actors = ray.remote(WorkerActor).options(**resources, scheduling_strategy="SPREAD")
        self._launched: list[RayChannel] = []

    def launch(self, number: int) -> RayChannel:
        """Request an actor, which Ray places when resources are free."""
        self._head.check()
        channel = RayChannel(self._actors.remote(self._make_engine))
        self._launched.append(channel)
        return channel

    def base_for_workers(self, spec: StudySpec, base: str) -> NodeRequirements:
        """Return what every node must have, instead of the base's location on this machine."""
        return node_requirements(spec, base)

    def ready(self, channels: Sequence[RayChannel], timeout: float | None) -> list[RayChannel]:
        """Return the channels whose reply or error has arrived."""
        replies = [channel.reply for channel in channels]
        arrived = self._wait(replies, CHECK_SECONDS if timeout is None else timeout)
        while timeout is None and not arrived:
            arrived = self._wait(replies, CHECK_SECONDS)
        return [channel for channel in channels if channel.reply in arrived]

    def _wait(self, replies: list[Any], timeout: float) -> list[Any]:
        """Wait for the first reply; return all that have arrived by then."""
        self._head.check()
        arrived, _ = ray.wait(replies, timeout=timeout)
        if arrived:
            arrived, _ = ray.wait(replies, num_returns=len(replies), timeout=0)
        return list(arrived)

    def close(self) -> None:
        """End all actors, whatever they are doing."""
        for channel in self._launched:
            channel.end()


class RayChannel:
    """An actor and its pending reply."""

    def __init__(self, actor: Any) -> None:
        self.reply: Any = None
        self._actor = actor
        self._place = actor.place.remote()
        self._error: Exception | None = None

    def send(self, command: str, arguments: tuple[Any, ...]) -> None:
        """Call the actor, which handles calls in order."""
        reference = self._actor.do.remote(command, arguments)
        if command != "start":
            self.reply = reference

    def receive(self) -> Reply:
        """Wait for the reply.

        Raises:
            EOFError: the actor or its node died.
        """
        try:
            reply: Reply = ray.get(self.reply)
        except LOST as error:
            self._error = error
            raise EOFError from error
        except RayTaskError as error:  # the node cannot read the arguments
            return Reply("error", str(error))
        return reply

    def death(self) -> Death:
        """Return why Ray lost the actor.

        Raises:
            InputError: it could not start, for example because its node lacks a package.
        """
        self.end()
        if getattr(self._error, "actor_init_failed", False):
            reason = str(self._error).strip().splitlines()[-1]
            raise InputError(f"--ray: a worker cannot start on its node: {reason}")
        node, address = self._where()
        if isinstance(self._error, OutOfMemoryError):
            return Death(f"Ray ended the worker on {address}, perhaps for memory", was_killed=True)
        if isinstance(self._error, ActorUnavailableError):  # if a node dies suddenly
            return Death(f"the connection to {address} was lost", was_killed=False)
        if node not in [entry["NodeID"] for entry in ray.nodes() if entry["Alive"]]:
            return Death(f"{address} left the cluster", was_killed=False)
        return Death(f"the worker on {address} was killed, for memory or by hand", was_killed=True)

    def _where(self) -> tuple[str, str]:
        try:
            node, address = ray.get(self._place, timeout=0)
        except (*LOST, TimeoutError):
            return "", "a node"
        return node, address

    def end(self) -> None:
        """End the actor if it is alive."""
        ray.kill(self._actor)


class WorkerActor:
    """A worker that knows which node it runs on."""

    def __init__(self, make_engine: Callable[..., Engine]) -> None:
        address = f"node {ray.util.get_node_ip_address()}"
        self._place = (ray.get_runtime_context().get_node_id(), address)
        self._worker = Worker(partial(make_on_node, make_engine, address))

    def do(self, command: str, arguments: tuple[Any, ...]) -> Reply:
        """Carry out a command."""
        return self._worker.do(command, arguments)

    def place(self) -> tuple[str, str]:
        """Return the node's id in the cluster, and its address for messages."""
        return self._place
