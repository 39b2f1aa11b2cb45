"""How to train a study, as the command line says it.  Loads nothing heavy."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

EngineName = Literal["packed", "sequential"]
AS_THE_CLUSTER_HAS_ROOM = 0


@dataclass(frozen=True)
class EngineChoice:
    """Which engine, in how many processes, and how many trials each trains at once.

    The packed engine trains many trials in one pass over the base, the sequential engine one after
    the other.
    """

    name: EngineName = "packed"
    slots: int | None = None  # of the packed engine; None measures what is best
    workers: int = 1  # one thread each; 1 trains in the parent itself
    ray: str | None = None  # the address of a cluster, where even one worker is a process
    machines: int = 1  # that the workers are spread over

    @property
    def workers_per_machine(self) -> int:
        """How many workers share a machine's memory."""
        return math.ceil(self.workers / self.machines)

    def with_half_of(self, running: int) -> EngineChoice:
        """Return the choice for a worker that proved too small for the `running` trials."""
        return replace(self, slots=max(1, running // 2))

    def one_at_a_time(self) -> EngineChoice:
        """Return the choice of one worker that trains one trial at a time, wherever it is."""
        return replace(self, name="sequential", slots=None, workers=1)


PACKED = EngineChoice()
