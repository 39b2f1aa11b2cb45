"""An engine that does as a script says, and what a run of it left."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna

from study.store.storage import open_read_only
from study.trials import Finished, Interrupted, TrialConfig, TrialResult

COST_ONLY = {"evaluation.objective": "trainable_parameters"}


def load(out: Path, name: str = "tiny") -> optuna.Study:
    """Open a finished study as anybody would."""
    return optuna.load_study(study_name=name, storage=open_read_only(str(out)))


def table(out: Path) -> list[tuple[Any, ...]]:
    """Return what must be the same however a study was run."""
    return [(t.number, t.state, t.params, t.values) for t in load(out).trials]


class ScriptedEngine:
    """An engine that gives what a script says, in place of training: number -> events."""

    def __init__(self, script: Callable[[TrialConfig], list[Any]]) -> None:
        self.script = script
        self.config: TrialConfig | None = None
        self.stopped: list[int] = []

    @property
    def free_slots(self) -> int:
        return 1 if self.config is None else 0

    def start(self, config: TrialConfig, state: bytes | None = None) -> None:
        self.config = config
        self.events = self.script(config)

    def advance(self) -> list[Any]:
        event = self.events.pop(0)
        if isinstance(event, (Finished, Interrupted)):
            self.config = None
        return [event]

    def state(self, number: int) -> bytes | None:
        return None

    def stop(self, number: int) -> TrialResult:
        self.stopped.append(number)
        self.config = None
        return TrialResult(details={"steps": 2})

    def close(self) -> None:
        """Hold nothing."""


def scored(config: TrialConfig, value: float) -> Finished:
    """Return the end of a trial whose only known number is its cost."""
    return Finished(config.number, TrialResult(details={"trainable_parameters": value}))
