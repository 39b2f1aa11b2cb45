"""Saved adapters: the best k trials of a study, in PEFT's own format."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from study.errors import InputError
from study.spec.trust import PEFT_TYPES, checked_adapter_config
from study.store.folders import TRIAL_FOLDER, check_own
from study.trials import AdapterFiles


def adapter_folder(run: Path, name: str) -> Path:
    """Return the folder of an adapter: `trial-00012`, or the name of a baseline."""
    return run / "adapters" / name


def trial_name(number: int) -> str:
    """Return the folder name of a trial's adapter."""
    return f"trial-{number:05d}"


def save_adapter(run: Path, name: str, files: AdapterFiles) -> Path:
    """Write an adapter, whole or not at all."""
    check_own(run / "adapters", "folder")
    folder = adapter_folder(run, name)
    unfinished = folder.with_name(f".{name}.unfinished")
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        (unfinished / files.config_name).write_text(files.config, encoding="utf-8")
        (unfinished / files.weights_name).write_bytes(files.weights)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(unfinished, folder)
    except OSError as error:
        raise InputError(f"{folder}: cannot save the adapter: {error.strerror}") from error
    return folder


def peft_type(folder: Path) -> str:
    """Return which kind of adapter lies in a folder; InputError for an invalid configuration."""
    path = folder / "adapter_config.json"
    kind = checked_adapter_config(path).get("peft_type")
    if not kind:
        raise InputError(f"{path}: peft_type: missing; allowed: {', '.join(PEFT_TYPES)}")
    return str(kind)


def saved_trials(run: Path) -> set[int]:
    """Return the numbers of the trials whose adapters lie here, whole or unfinished."""
    found = (TRIAL_FOLDER.fullmatch(path.name) for path in (run / "adapters").glob("*"))
    return {int(match["number"]) for match in found if match}


def remove_adapters(run: Path, numbers: Iterable[int]) -> None:
    """Delete the adapters of trials that are no longer among the best."""
    check_own(run / "adapters", "folder")
    for folder in map(trial_name, numbers):
        for name in (folder, f".{folder}.unfinished"):
            shutil.rmtree(adapter_folder(run, name), ignore_errors=True)
