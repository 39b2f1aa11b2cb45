"""An engine whose one training survives its process: its state is saved at every report.

A training that goes on from its state takes the very steps that it would have taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from study.engines.base import Engine
from study.errors import InputError, refusing
from study.store.folders import check_own
from study.store.saved_states import SavedState, read_state, write_state
from study.trials import Event, Finished, Progress, TrialConfig, TrialResult


class ResumableEngine:
    """An engine of one training, with a file that holds its state.

    `identity` tells trainings apart: a state goes on only with the settings and data it began with.
    """

    def __init__(self, engine: Engine, file: Path, identity: str) -> None:
        self._engine = engine
        self._file = file
        self._identity = identity

    @property
    def free_slots(self) -> int:
        """One, or none while a training is in it."""
        return self._engine.free_slots

    def start(self, config: TrialConfig, state: bytes | None = None) -> None:
        """Begin a training, or go on with the saved one.

        Raises:
            InputError: the file is the state of another training, or damaged.
        """
        self._engine.start(config, self._load() if self._file.exists() else state)

    def advance(self) -> Sequence[Event]:
        """Train up to the next report, and save the state at it."""
        events = self._engine.advance()
        if not any(isinstance(event, Finished) for event in events):
            for event in events:
                if isinstance(event, Progress) and event.is_report:
                    self._save(event.number)
        return events

    def state(self, number: int) -> bytes | None:
        """Return the state of the training."""
        return self._engine.state(number)

    def stop(self, number: int) -> TrialResult:
        """End the training as it stands."""
        return self._engine.stop(number)

    def close(self) -> None:
        """Restore the layers of the base."""
        self._engine.close()

    def _save(self, number: int) -> None:
        state = self._engine.state(number)
        if state is not None:
            check_own(self._file, "file")
            write_state(self._file, SavedState(state, self._identity, {}))

    def _load(self) -> bytes:
        check_own(self._file, "file")
        with refusing(f"{self._file}: not the state of a training; remove it to begin again"):
            saved = read_state(self._file)
        if saved.identity != self._identity:
            raise InputError(
                f"{self._file}: is the state of a training with other settings or data; remove it "
                "to begin again, or choose another --out"
            )
        return saved.state
