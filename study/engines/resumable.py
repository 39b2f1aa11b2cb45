"""An engine whose one training survives its process: its state is saved at every report.

The state is the trained weights, the optimizer's moments, the step, and the place in the data.  A
training that goes on from it takes the very steps that it would have taken.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from study.engines.sequential import SequentialEngine
from study.errors import InputError, refusing, writing
from study.store.folders import check_own
from study.trials import Event, Progress, TrialConfig, TrialResult

WEIGHT = "weight."
FACTS = "training"


class ResumableEngine:
    """The sequential engine, with a file that holds the state of its training.

    `identity` tells trainings apart: a state goes on only with the settings and data it began with.
    """

    def __init__(self, engine: SequentialEngine, file: Path, identity: str) -> None:
        self._engine = engine
        self._file = file
        self._identity = identity

    @property
    def free_slots(self) -> int:
        """One, or none while a training is in it."""
        return self._engine.free_slots

    def start(self, config: TrialConfig) -> None:
        """Begin a training, or go on with the saved one.

        Raises:
            InputError: the file is the state of another training, or damaged.
        """
        self._engine.start(config)
        if self._file.exists():
            self._load()

    def advance(self) -> Sequence[Event]:
        """Train up to the next report, and save the state at it."""
        events = self._engine.advance()
        running = self._engine.running
        reports = any(isinstance(event, Progress) for event in events)
        if reports and running is not None and running[0].is_due:
            self._save()
        return events

    def stop(self, number: int) -> TrialResult:
        """End the training as it stands."""
        return self._engine.stop(number)

    def close(self) -> None:
        """Restore the layers of the base."""
        self._engine.close()

    def _save(self) -> None:
        assert self._engine.running is not None
        training, adapter = self._engine.running
        plain, tensors = training.state()
        for index, weight in enumerate(adapter.weights):
            tensors[f"{WEIGHT}{index}"] = weight.detach()
        whole = {name: tensor.cpu().clone().contiguous() for name, tensor in tensors.items()}
        facts = json.dumps({"identity": self._identity, **plain})
        unfinished = self._file.with_suffix(".unfinished")
        with writing(self._file, "state of the training"):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            check_own(unfinished, "file")
            save_file(whole, unfinished, metadata={FACTS: facts})
            os.replace(unfinished, self._file)

    def _load(self) -> None:
        assert self._engine.running is not None
        check_own(self._file, "file")
        training, adapter = self._engine.running
        with refusing(f"{self._file}: not the state of a training; remove it to begin again"):
            plain, tensors = _read(self._file)
        if plain["identity"] != self._identity:
            raise InputError(
                f"{self._file}: is the state of a training with other settings or data; remove it "
                "to begin again, or choose another --out"
            )
        with torch.no_grad():
            for index, weight in enumerate(adapter.weights):
                weight.copy_(tensors[f"{WEIGHT}{index}"])
        training.go_on_from(plain, tensors)


def _read(file: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    with safe_open(file, framework="pt") as stored:
        plain: dict[str, Any] = json.loads(stored.metadata()[FACTS])
        return plain, {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
