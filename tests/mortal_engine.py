"""An engine that a worker process dies of, once; light, so that the worker starts quickly."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from study.engines.engine_choice import EngineChoice
from study.trials import Event, Finished, TrialConfig, TrialResult

WHEN, MARKER = "MORTAL_ENGINE_DIES_WHEN", "MORTAL_ENGINE_MARKER"


class MortalEngine:
    """Finishes all its trials at once, unless it is the one that dies."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._trials: list[TrialConfig] = []

    @property
    def free_slots(self) -> int:
        return self._slots - len(self._trials)

    def start(self, config: TrialConfig) -> None:
        self._trials.append(config)

    def advance(self) -> list[Event]:
        if len(self._trials) > 1:
            die_once("advancing")
        result = TrialResult(details={"trainable_parameters": 1.0, "slots": self._slots})
        ended, self._trials = self._trials, []
        return [Finished(config.number, result) for config in ended]

    def stop(self, number: int) -> TrialResult:
        raise NotImplementedError

    def close(self) -> None:
        """Hold nothing."""


def make_mortal_engine(spec: Any, base: Any, task: Any, choice: EngineChoice) -> MortalEngine:
    """Make the engine in a worker, which may die of it."""
    die_once("loading")
    assert choice.slots is not None
    return MortalEngine(choice.slots)


def die_once(when: str) -> None:
    """Kill this process if it is the first one that comes here at the time that was chosen."""
    if os.environ[WHEN] == when:
        try:
            Path(os.environ[MARKER]).touch(exist_ok=False)
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)
