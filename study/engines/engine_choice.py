"""How to train a study: the engine, workers and slots.  Imports nothing heavy."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

EngineName = Literal["packed", "sequential"]
AS_MANY_AS_FIT = 0  # workers
CPU = "cpu"  # among devices


@dataclass(frozen=True)
class EngineChoice:
    """The engine, its number of processes, and the trials that each trains at once.

    The packed engine trains many trials in one pass over the base, the sequential engine one after
    the other.
    """

    name: EngineName = "packed"
    slots: int | None = None  # of the packed engine; None: measure the best number
    workers: int = 1  # one thread each; 1 trains in the parent; 0: as many as fit
    ray: str | None = None  # a cluster's address; there even one worker is a process
    machines: int = 1  # that share the workers
    devices: tuple[str, ...] = ()  # GPUs that share the workers, or "cpu"; none: all GPUs
    share_of_pass: float = 1.0  # of the tokens of a pass; less once the system killed a worker

    @property
    def workers_per_machine(self) -> int:
        """The number of workers that share a machine's memory."""
        return math.ceil(self.workers / self.machines)

    @property
    def workers_per_device(self) -> int:
        """The number of workers that share a GPU's memory."""
        return math.ceil(self.workers_per_machine / max(1, len(self.devices)))

    def with_half_passes(self) -> EngineChoice:
        """Return the choice for a worker that the system killed, most likely for memory."""
        return replace(self, share_of_pass=self.share_of_pass / 2)

    def one_at_a_time(self) -> EngineChoice:
        """Return the choice of one worker that trains one trial at a time."""
        return replace(self, name="sequential", slots=None, workers=1)


PACKED = EngineChoice()
