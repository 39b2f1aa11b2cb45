"""The states of trainings in progress, in the run folder: a killed run costs the latest steps only.

A state is written at every report and removed when its training ends.  It is named after the unit
of the budget, so that a retry finds it, and it goes on only with the settings and the data that it
began with.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from study.spec.base_and_data import SPLITS
from study.spec.sections import StudySpec
from study.store.folders import check_own, is_plain_file, write_whole
from study.store.provenance import DRAWS
from study.store.safetensors_notes import notes_of, with_notes
from study.trials import TrialConfig

FOLDER = "paused"
IDENTITY, NOTES = "identity", "notes"
WITHOUT_EFFECT: Any = {
    "name": True,
    "search": True,
    "data": set(SPLITS),
    "evaluation": {"batch_size", "metric_folder"},
    "own_task": {"folder", "name"},
}
"""What may change in a study file while a training is put aside: contents are compared."""


@dataclass(frozen=True)
class SavedState:
    """What an engine needs to go on, and what was noted beside it."""

    state: bytes = field(repr=False)
    identity: str
    notes: Mapping[str, Any]


class SavedStates:
    """The states of one run folder."""

    def __init__(self, run: Path) -> None:
        self._folder = run / FOLDER

    def save(self, name: str, saved: SavedState) -> None:
        """Write a training's state in place of its last one."""
        check_own(self._folder, "folder")
        write_state(self._file(name), saved)

    def has(self, name: str) -> bool:
        """Return whether there is a state of this name, whatever it is worth."""
        return self._file(name).exists()

    def find(self, name: str, identity: str) -> SavedState | None:
        """Return a training's state; None if there is none of these settings that can be read."""
        with suppress(ValueError, KeyError, OSError):
            saved = read_state(self._file(name))
            return saved if saved.identity == identity else None
        return None

    def remove(self, name: str) -> None:
        """Remove the state of a training that has ended, and the folder with the last one."""
        if is_plain_file(self._file(name)):
            self._file(name).unlink(missing_ok=True)
        with suppress(OSError):  # others are there, or nothing ever was
            self._folder.rmdir()

    def remove_all(self) -> None:
        """Remove all states, once nothing is left to train."""
        for file in sorted(self._folder.glob("*.safetensors")):
            self.remove(file.stem)

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.safetensors"


def state_name(config: TrialConfig, claim: int) -> str:
    """Return the name of a training's state: that of its baseline, or its unit of the budget."""
    return config.name or f"unit-{claim:05d}"


def write_state(file: Path, saved: SavedState) -> None:
    """Write a state in one step.

    Raises:
        InputError: it cannot be written.
    """
    notes = {IDENTITY: saved.identity, NOTES: dict(saved.notes)}
    write_whole(file, with_notes(saved.state, notes), "state of the training")


def read_state(file: Path) -> SavedState:
    """Read a state, and nothing through a link.

    Raises:
        ValueError, KeyError or OSError: it is not there, or damaged.
    """
    if not is_plain_file(file):
        raise FileNotFoundError(file)
    state = file.read_bytes()
    notes = notes_of(state)
    return SavedState(state, str(notes[IDENTITY]), dict(notes[NOTES]))


def identity_of(spec: StudySpec, hashes: Mapping[str, str], config: TrialConfig) -> str:
    """Return what the steps and reports of a study's training depend on, as a hash."""
    parts = {
        "values": config.values,
        "seed": config.seed,
        "data": dict(hashes),
        "study": spec.model_dump(mode="json", exclude=WITHOUT_EFFECT),
        "draws": DRAWS,
    }
    written = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(written.encode()).hexdigest()
