"""An engine that a worker process dies of, once; light, so that the worker starts quickly."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.engines.engine_choice import EngineChoice
from study.trials import Event, Finished, TrialConfig, TrialResult


@dataclass(frozen=True)
class Deadly:
    """Makes engines in workers; the first process that comes to the moment dies of it."""

    when: str  # "loading" or "advancing"
    marker: Path  # a file that says that one has died

    def __call__(self, spec: Any, base: Any, task: Any, choice: EngineChoice) -> MortalEngine:
        self.kill_once("loading")
        assert choice.slots is not None
        return MortalEngine(choice.slots, self)

    def kill_once(self, when: str) -> None:
        """Kill this process if this is the moment and none has died of it."""
        if self.when == when:
            try:
                self.marker.touch(exist_ok=False)
            except FileExistsError:
                return
            os.kill(os.getpid(), signal.SIGKILL)


class MortalEngine:
    """Finishes all its trials at once, unless it is the one that dies."""

    def __init__(self, slots: int, deadly: Deadly) -> None:
        self._slots = slots
        self._deadly = deadly
        self._trials: list[TrialConfig] = []

    @property
    def free_slots(self) -> int:
        return self._slots - len(self._trials)

    def start(self, config: TrialConfig, state: bytes | None = None) -> None:
        self._trials.append(config)

    def advance(self) -> list[Event]:
        if len(self._trials) > 1:
            self._deadly.kill_once("advancing")
        result = TrialResult(details={"trainable_parameters": 1.0, "slots": self._slots})
        ended, self._trials = self._trials, []
        return [Finished(config.number, result) for config in ended]

    def state(self, number: int) -> bytes | None:
        return None

    def stop(self, number: int) -> TrialResult:
        raise NotImplementedError

    def close(self) -> None:
        """Hold nothing."""
