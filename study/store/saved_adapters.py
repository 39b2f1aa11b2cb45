"""Saved adapters of a study's best k trials and baselines, in PEFT's format."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from sqlalchemy import Engine

from study.errors import InputError, writing
from study.spec.sections import StudySpec
from study.spec.trust import checked_adapter_config, peft_types
from study.store import run_queries
from study.store.folders import TRIAL_FOLDER, check_own
from study.trials import AdapterFiles


def adapter_folder(run: Path, name: str) -> Path:
    """Return the folder of an adapter: `trial-00012`, or the name of a baseline."""
    return run / "adapters" / name


def trial_name(number: int) -> str:
    """Return the folder name of a trial's adapter."""
    return f"trial-{number:05d}"


def folder_name(who: int | str) -> str:
    """Return the folder name of the adapter of a trial by its number, or of a baseline."""
    return trial_name(who) if isinstance(who, int) else who


def save_adapter(run: Path, name: str, files: AdapterFiles) -> Path:
    """Write an adapter, completely or not at all."""
    check_own(run / "adapters", "folder")
    folder = adapter_folder(run, name)
    unfinished = folder.with_name(f".{name}.unfinished")
    with writing(folder, "adapter"):
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        (unfinished / files.config_name).write_text(files.config, encoding="utf-8")
        (unfinished / files.weights_name).write_bytes(files.weights)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(unfinished, folder)
    return folder


def peft_type(folder: Path) -> str:
    """Return the kind of adapter in a folder; raise InputError for an invalid configuration."""
    path = folder / "adapter_config.json"
    kind = checked_adapter_config(path).get("peft_type")
    if not kind:
        raise InputError(f"{path}: peft_type: missing; allowed: {', '.join(peft_types())}")
    return str(kind)


def saved_trials(run: Path) -> set[int]:
    """Return the numbers of the trials with adapters in the folder, complete or unfinished."""
    matches = (TRIAL_FOLDER.fullmatch(path.name) for path in (run / "adapters").glob("*"))
    return {int(match["number"]) for match in matches if match}


def remove_adapters(run: Path, numbers: Iterable[int]) -> None:
    """Delete the adapters of trials that are no longer among the best."""
    check_own(run / "adapters", "folder")
    for folder in map(trial_name, numbers):
        for name in (folder, f".{folder}.unfinished"):
            shutil.rmtree(adapter_folder(run, name), ignore_errors=True)


class KeptAdapters:
    """The saved adapters of one study in one run folder."""

    def __init__(self, database: Engine, study_id: int, spec: StudySpec, out: Path) -> None:
        self._database = database
        self._study_id = study_id
        self._out = out
        self._count = spec.search.keep_adapters
        self._maximize = spec.evaluation.directions[0] == "maximize"
        self._worst_kept: float | None = None  # among the best k, as soon as there are k

    def save(self, number: int, value: float, adapter: AdapterFiles | None) -> bool:
        """Save a trial's adapter if it will be among the best k; return whether it will."""
        if adapter is None or not self._is_better(value):
            return False
        best = self._best()
        if len(best) == self._count:
            self._worst_kept = best[-1][1]
        if not self._is_better(value):
            return False
        save_adapter(self._out, trial_name(number), adapter)
        return True

    def remove_the_rest(self) -> None:
        """Delete the adapters of told trials that are not among the best.

        Trials that are not told yet keep theirs: another run may be about to tell them.
        """
        saved = saved_trials(self._out)
        told = run_queries.finished_among(self._database, self._study_id, saved)
        remove_adapters(self._out, told - {number for number, _ in self._best()})

    def _is_better(self, value: float) -> bool:
        worst = self._worst_kept
        return worst is None or (value > worst if self._maximize else value < worst)

    def _best(self) -> list[tuple[int, float]]:
        """Return the numbers and values of the best k trials so far, best first."""
        rows = run_queries.best(
            self._database, self._study_id, self._count, maximize=self._maximize
        )
        return [(number, value) for _, number, value in rows]
