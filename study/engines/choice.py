"""How a study is trained, as the command line says it; loads nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

EngineName = Literal["packed", "sequential"]


@dataclass(frozen=True)
class EngineChoice:
    """Which engine, in how many processes, and how many trials each trains at once.

    The packed engine trains many trials in one pass over the base, the sequential one by one.
    """

    name: EngineName = "packed"
    slots: int | None = None  # of the packed engine; None measures what is best
    workers: int = 1  # one thread each; 1 trains in the parent itself

    def halved(self, running: int) -> EngineChoice:
        """Return half the slots of a worker that proved too small for the `running` trials."""
        return replace(self, slots=max(1, running // 2))


PACKED = EngineChoice()
