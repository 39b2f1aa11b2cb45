"""Join a Ray cluster, measure its capacity and leave it.  Ray is imported only when used."""

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

from study.engines.engine_choice import AS_MANY_AS_FIT, EngineChoice
from study.errors import InputError, refusing
from study.hardware import available_cores

ALLOWED = "allowed: local, auto, HOST:PORT, ray://HOST:PORT"
ANSWER_SECONDS = 5.0
CHECK_SECONDS, GRACE_SECONDS = 5.0, 30.0  # between checks of the head; to wait for its return
CORES_PER_WORKER = 2
RAY_ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0"}


@contextmanager
def connected(address: str) -> Iterator[Room]:
    """Join a cluster, or start one here for `local`, and yield its capacity.

    Closing the connection at the end stops the workers, and a cluster that was started here.

    Raises:
        InputError: Ray is not installed, the cluster runs another version, or nothing answers.
    """
    ray = _ray()
    options: dict[str, Any] = {"address": _checked(address)}
    scratch = None
    if address == "local":
        scratch = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # socket paths must be short
        options |= {"num_cpus": available_cores(), "include_dashboard": False}
        options |= {"_temp_dir": scratch}
    try:
        with _our_signals():
            _connect(ray, address, options)
        yield Room.of(ray.nodes())
    finally:
        ray.shutdown()
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)


def _ray() -> Any:
    for name, value in RAY_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray._private.worker as driver
    except ImportError:
        raise InputError('--ray: needs the extra: pip install "optuna-study[ray]"') from None
    driver._worker_logs_enabled = False  # otherwise Ray prints every death to standard output
    return ray


def _connect(ray: Any, address: str, options: dict[str, Any]) -> None:
    try:
        ray.init(**options, log_to_driver=False, logging_level="ERROR")
    except (Exception, SystemExit) as error:  # Ray raises SystemExit if a node is not found
        ray.shutdown()
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"--ray: cannot join the cluster at {address}: {reason}") from error


@contextmanager
def _our_signals() -> Iterator[None]:
    """Keep our SIGTERM handler: Ray sets its own."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if before is not signal.getsignal(signal.SIGTERM):
            signal.signal(signal.SIGTERM, before)


# ---------------------------------------------------------------- the address


def _checked(address: str) -> str:
    """Return the address if a cluster answers; Ray itself would retry for minutes."""
    if address == "local":
        return address
    resolved = _running_here() if address == "auto" else address
    parts = re.fullmatch(r"(ray://)?([\w.-]+|\[[\w:]+\]):(\d{1,5})", resolved)
    if parts is None:
        raise InputError(f"--ray: got {address!r}; {ALLOWED}")
    _check_answers(parts[2].strip("[]"), int(parts[3]))
    return address  # `auto` stays unresolved, so that Ray uses this machine's token


def _running_here() -> str:
    from ray._private.services import canonicalize_bootstrap_address

    try:
        return str(canonicalize_bootstrap_address("auto"))
    except (ConnectionError, ValueError):
        raise InputError(
            "--ray: auto: no cluster is running on this machine; start one with "
            "`ray start --head`, or give an address"
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
            raise InputError(f"--ray: {host}:{port} answers, but is not a Ray cluster") from None


# ---------------------------------------------------------------- the head


@dataclass
class Head:
    """The head node, without which Ray kills this process after a minute."""

    host: str
    port: int
    seen_at: float = 0.0

    @classmethod
    def of(cls, address: str) -> Head:
        """Return the head of the cluster that was joined at this address."""
        import ray

        is_client = address.startswith("ray://")
        here = address[6:] if is_client else ray.get_runtime_context().gcs_address
        host, _, port = here.rpartition(":")
        return cls(host.strip("[]"), int(port))

    def check(self) -> None:
        """Check from time to time that the head answers; if not, wait a while for its return.

        Raises:
            InputError: it does not return.
        """
        started = time.monotonic()
        if started - self.seen_at < CHECK_SECONDS:
            return
        while not self._answers():
            if time.monotonic() - started > GRACE_SECONDS:
                raise InputError(
                    f"--ray: the head of the cluster at {self.host}:{self.port} no longer answers; "
                    "finished trials are kept; run the same command to continue"
                )
            time.sleep(1)
        self.seen_at = time.monotonic()

    def _answers(self) -> bool:
        try:
            socket.create_connection((self.host, self.port), 1.0).close()
        except OSError:
            return False
        return True


# ---------------------------------------------------------------- capacity


@dataclass(frozen=True)
class Room:
    """The cores and GPUs of a cluster.  A worker gets one GPU or two cores.

    If there are GPUs, only they train: trials on different kinds of device cannot be compared.
    """

    cores: tuple[int, ...]  # per node
    gpus: tuple[int, ...]

    @classmethod
    def of(cls, nodes: list[dict[str, Any]]) -> Room:
        """Return the capacity of the live nodes in a list from `ray.nodes()`."""
        alive = [node["Resources"] for node in nodes if node["Alive"]]
        cores, gpus = (tuple(int(n.get(kind, 0)) for n in alive) for kind in ("CPU", "GPU"))
        return cls(cores, gpus)

    def counted(self, choice: EngineChoice) -> EngineChoice:
        """Return the choice with the given number of workers, or as many as fit.

        Raises:
            InputError: no number was given and no node can hold a worker.
        """
        if choice.workers != AS_MANY_AS_FIT:
            hosting = sum(map(bool, self._places(choice.workers)))
            return replace(choice, machines=max(1, min(hosting, choice.workers)))
        if not self.most(1):
            raise InputError("--ray: no node of the cluster has a GPU or a core; give --workers")
        return self.counted(replace(choice, workers=self.most(CORES_PER_WORKER) or self.most(1)))

    def most(self, cores: int) -> int:
        """Return how many workers fit if each takes a GPU or `cores` cores."""
        return sum(self.gpus) or sum(here // cores for here in self.cores)

    def per_worker(self, workers: int) -> dict[str, int]:
        """Return the resources for each of the workers."""
        if any(self.gpus):
            return {"num_gpus": 1, "num_cpus": 1}
        return {"num_cpus": CORES_PER_WORKER if workers <= self.most(CORES_PER_WORKER) else 1}

    def _places(self, workers: int) -> list[int]:
        """Return how many of the workers fit on each node."""
        cores = self.per_worker(workers)["num_cpus"]
        return list(self.gpus) if any(self.gpus) else [here // cores for here in self.cores]

    def described(self, choice: EngineChoice) -> str:
        """Return one line about what the cluster has and what the run uses."""
        resources = self.per_worker(choice.workers)
        cores = resources["num_cpus"]
        share = "a GPU" if "num_gpus" in resources else _counted(cores, "core")
        has = [_counted(len(self.cores), "node"), _counted(sum(self.cores), "core")]
        has += [_counted(sum(self.gpus), "GPU")] * any(self.gpus)
        waiting = choice.workers - sum(self._places(choice.workers))
        wait = f"; {waiting} of them must wait for resources" if waiting > 0 else ""
        return f"ray: {', '.join(has)}: {_counted(choice.workers, 'worker')} of {share} each{wait}"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"
