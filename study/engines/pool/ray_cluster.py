"""A Ray cluster: reached, measured and left.  Ray is imported only where one is asked for."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from study.engines.engine_choice import AS_THE_CLUSTER_HAS_ROOM, EngineChoice
from study.errors import InputError, refusing
from study.store.provenance import available_cores

ALLOWED = "allowed: local, auto, HOST:PORT, ray://HOST:PORT"
ANSWER_SECONDS = 5.0
LOOK_SECONDS, GRACE_SECONDS = 5.0, 30.0  # how often the head is looked for, and waited for
CORES_A_WORKER = 2
QUIET = {"RAY_USAGE_STATS_ENABLED": "0"}


@contextmanager
def connected(address: str) -> Iterator[Room]:
    """Connect to a cluster, or start one here for `local`, and yield the room that it has.

    At the end the connection is closed, by which the workers end, and what was started here too.

    Raises:
        InputError: Ray is not installed, or is another version there, or nothing answers.
    """
    ray = _ray()
    options: dict[str, Any] = {"address": _found(address)}
    scratch = None
    if address == "local":
        scratch = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # sockets' names must be short
        options |= {"num_cpus": available_cores(), "include_dashboard": False}
        options |= {"_temp_dir": scratch}
    try:
        with _own_signals():
            _connect(ray, address, options)
        yield Room.of(ray.nodes())
    finally:
        ray.shutdown()
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)


def _ray() -> Any:
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray._private.worker as driver
    except ImportError:
        raise InputError('--ray: needs the extra: pip install "optuna-study[ray]"') from None
    driver._worker_logs_enabled = False  # else Ray writes of every death on standard output
    return ray


def _connect(ray: Any, address: str, options: dict[str, Any]) -> None:
    try:
        ray.init(**options, log_to_driver=False, logging_level="ERROR")
    except (Exception, SystemExit) as error:  # Ray leaves by the latter where a node is not found
        ray.shutdown()
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"--ray: cannot join the cluster at {address}: {reason}") from error


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep our SIGTERM handler: Ray sets its own."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if before is not signal.getsignal(signal.SIGTERM):
            signal.signal(signal.SIGTERM, before)


# ---------------------------------------------------------------- the address


def _found(address: str) -> str:
    """Return an address where a cluster answers: Ray itself would try for minutes."""
    if address == "local":
        return address
    found = _running_here() if address == "auto" else address
    parts = re.fullmatch(r"(ray://)?([\w.-]+|\[[\w:]+\]):(\d{1,5})", found)
    if parts is None:
        raise InputError(f"--ray: got {address!r}; {ALLOWED}")
    _check_answers(parts[2].strip("[]"), int(parts[3]))
    return (
        address  # `auto` as it is: by it Ray takes this machine's own token, by others it does not
    )


def _running_here() -> str:
    from ray._private.services import canonicalize_bootstrap_address

    try:
        return str(canonicalize_bootstrap_address("auto"))
    except (ConnectionError, ValueError):
        raise InputError(
            "--ray: auto finds no cluster that runs on this machine; start one by "
            "`ray start --head`, or name its address"
        ) from None


def _check_answers(host: str, port: int) -> None:
    with refusing(f"--ray: nothing answers at {host}:{port}", OSError):
        socket.create_connection((host, port), ANSWER_SECONDS).close()
    if os.environ.get("RAY_USE_TLS") in (None, "0"):
        _check_is_ray(host, port)


def _check_is_ray(host: str, port: int) -> None:
    import grpc

    with grpc.insecure_channel(f"{host}:{port}") as channel:
        try:
            grpc.channel_ready_future(channel).result(ANSWER_SECONDS)
        except grpc.FutureTimeoutError:
            raise InputError(f"--ray: what answers at {host}:{port} is no Ray cluster") from None


# ---------------------------------------------------------------- the head


@dataclass
class Head:
    """Where a cluster keeps its books: Ray kills a process that has missed it for a minute."""

    host: str
    port: int
    seen_at: float = 0.0

    @classmethod
    def of(cls, address: str) -> Head:
        """Return the head of the cluster that was reached by an address."""
        import ray

        is_client = address.startswith("ray://")
        here = address[6:] if is_client else ray.get_runtime_context().gcs_address
        host, _, port = here.rpartition(":")
        return cls(host.strip("[]"), int(port))

    def check(self) -> None:
        """Look for the head now and then; where it is missing wait for it a little.

        Raises:
            InputError: it does not come back.
        """
        started = time.monotonic()
        if started - self.seen_at < LOOK_SECONDS:
            return
        while not self._answers():
            if time.monotonic() - started > GRACE_SECONDS:
                raise InputError(
                    f"--ray: the head of the cluster at {self.host}:{self.port} is gone; trials "
                    "that were told are kept, the same command continues"
                )
            time.sleep(1)
        self.seen_at = time.monotonic()

    def _answers(self) -> bool:
        try:
            socket.create_connection((self.host, self.port), 1.0).close()
        except OSError:
            return False
        return True


# ---------------------------------------------------------------- the room


@dataclass(frozen=True)
class Room:
    """What the nodes of a cluster have: workers are placed one a GPU, or one every two cores.

    Where there is any GPU, only GPUs train: trials on another kind of device would not compare.
    """

    cores: tuple[int, ...]  # one a node
    gpus: tuple[int, ...]

    @classmethod
    def of(cls, nodes: list[dict[str, Any]]) -> Room:
        """Return the room of the nodes that are alive, as `ray.nodes()` tells them."""
        alive = [node["Resources"] for node in nodes if node["Alive"]]
        cores, gpus = (tuple(int(n.get(kind, 0)) for n in alive) for kind in ("CPU", "GPU"))
        return cls(cores, gpus)

    def counted(self, choice: EngineChoice) -> EngineChoice:
        """Return the choice with as many workers as were asked for, or else as fit.

        Raises:
            InputError: no node has room for a worker, and no number was asked for.
        """
        if choice.workers != AS_THE_CLUSTER_HAS_ROOM:
            hosting = sum(map(bool, self._places(choice.workers)))
            return replace(choice, machines=max(1, min(hosting, choice.workers)))
        if not self.most(1):
            raise InputError("--ray: no node of the cluster has a GPU or a core; give --workers")
        return self.counted(replace(choice, workers=self.most(CORES_A_WORKER) or self.most(1)))

    def most(self, cores: int) -> int:
        """Return how many workers fit that take a GPU, or so many cores, each."""
        return sum(self.gpus) or sum(here // cores for here in self.cores)

    def each(self, workers: int) -> dict[str, int]:
        """Return what Ray is to give each of so many workers."""
        if any(self.gpus):
            return {"num_gpus": 1, "num_cpus": 1}
        return {"num_cpus": CORES_A_WORKER if workers <= self.most(CORES_A_WORKER) else 1}

    def _places(self, workers: int) -> list[int]:
        """Return how many of so many workers fit on each node."""
        cores = self.each(workers)["num_cpus"]
        return list(self.gpus) if any(self.gpus) else [here // cores for here in self.cores]

    def described(self, choice: EngineChoice) -> str:
        """Return in a line what the cluster has and what it is to train with."""
        each = self.each(choice.workers)
        share = "a GPU" if "num_gpus" in each else _counted(each["num_cpus"], "core")
        has = [_counted(len(self.cores), "node"), _counted(sum(self.cores), "core")]
        has += [_counted(sum(self.gpus), "GPU")] * any(self.gpus)
        waiting = choice.workers - sum(self._places(choice.workers))
        wait = f", of which {waiting} must wait for room" if waiting > 0 else ""
        return f"ray: {', '.join(has)}: {_counted(choice.workers, 'worker')} of {share} each{wait}"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"
