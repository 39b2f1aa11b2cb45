"""Saved adapters: the best k trials of a study, in PEFT's own format."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from study.errors import refusing, writing
from study.trials import AdapterFiles

TRIAL_FOLDER = r"\.?trial-(?P<number>\d{5,})(\.unfinished)?"


def adapter_folder(run: Path, name: str) -> Path:
    """Return the folder of an adapter: `trial-00012`, or the name of a baseline."""
    return run / "adapters" / name


def trial_name(number: int) -> str:
    """Return the folder name of a trial's adapter."""
    return f"trial-{number:05d}"


def save_adapter(run: Path, name: str, files: AdapterFiles) -> Path:
    """Write an adapter, whole or not at all."""
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
    """Return which kind of adapter lies in a folder; InputError if its configuration is invalid."""
    path = folder / "adapter_config.json"
    invalid = f"{path}: invalid adapter configuration"
    with refusing(invalid, OSError, ValueError, LookupError, TypeError):
        return str(json.loads(path.read_text(encoding="utf-8"))["peft_type"])


def saved_trials(run: Path) -> set[int]:
    """Return the numbers of the trials whose adapters lie here, whole or unfinished."""
    found = (re.fullmatch(TRIAL_FOLDER, path.name) for path in (run / "adapters").glob("*"))
    return {int(match["number"]) for match in found if match}


def remove_adapters(run: Path, numbers: Iterable[int]) -> None:
    """Delete the adapters of trials that are no longer among the best."""
    for folder in map(trial_name, numbers):
        for name in (folder, f".{folder}.unfinished"):
            shutil.rmtree(adapter_folder(run, name), ignore_errors=True)
