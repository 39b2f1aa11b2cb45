"""An engine that takes its time and trains nothing, so that its worker can be killed meanwhile."""

from __future__ import annotations

import time
from typing import Any

from study.engines.engine_choice import EngineChoice
from study.trials import Event, Finished, Progress, TrialConfig, TrialResult

STEPS, SECONDS = 4, 0.1


class PatientEngine:
    """Brings all its trials on by a step at a time."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._steps: dict[int, int] = {}

    @property
    def free_slots(self) -> int:
        return self._slots - len(self._steps)

    def start(self, config: TrialConfig, state: bytes | None = None) -> None:
        self._steps[config.number] = 0

    def advance(self) -> list[Event]:
        time.sleep(SECONDS)
        self._steps = {number: step + 1 for number, step in self._steps.items()}
        events: list[Event] = [Progress(n, step, None) for n, step in self._steps.items()]
        details = {"trainable_parameters": 1.0, "slots": float(self._slots)}
        ended = [number for number, step in self._steps.items() if step == STEPS]
        self._steps = {n: step for n, step in self._steps.items() if n not in ended}
        return events + [Finished(number, TrialResult(details=details)) for number in ended]

    def state(self, number: int) -> bytes | None:
        return None

    def stop(self, number: int) -> TrialResult:
        del self._steps[number]
        return TrialResult()

    def close(self) -> None:
        """Hold nothing."""


def make_patient_engine(spec: Any, base: Any, task: Any, choice: EngineChoice) -> PatientEngine:
    """Make the engine in a worker."""
    assert choice.slots is not None
    return PatientEngine(choice.slots)
