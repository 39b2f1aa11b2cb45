"""Swap adapters on a loaded base: PEFT holds several and switches between them.

A swap loads nothing: the base's weights stay where they are.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from study.bases.load import BaseModel, load_base, locate_base
from study.data.corpora import corpus_of
from study.engines.process_settings import be_one_quiet_thread
from study.errors import InputError
from study.finished.export import attached, check_is_ours
from study.spec.sections import StudySpec
from study.store.saved_adapters import adapter_folder, peft_type, saved_trials, trial_name

REPEATS = 50


@dataclass(frozen=True)
class Swaps:
    """Milliseconds on one thread: loading base and first adapter, loading another, a swap."""

    folders: tuple[Path, ...]
    loading: float
    further: float
    swap: float


def time_study_swaps(run: Path, spec: StudySpec) -> Swaps:
    """Measure how long it takes to swap a study's saved adapters.

    Raises:
        InputError: there are fewer than two saved adapters of one kind, or the base cannot be
            loaded.
    """
    folders = saved_of_one_kind(run)
    if len(folders) < 2:
        raise InputError(
            f"{run}: swapping needs two saved adapters of one kind, got {len(folders)}"
        )
    be_one_quiet_thread()
    location, labels = locate_base(spec), corpus_of(spec).labels
    return time_swaps(lambda: load_base(location, spec.base, spec.task, labels), folders)


def time_swaps(load: Callable[[], BaseModel], folders: Sequence[Path]) -> Swaps:
    """Return the times for two or more adapters on the base that `load` returns."""
    first, *rest = folders
    loading, base = _milliseconds(load)
    attaching, model = _milliseconds(lambda: attached(base.model, first))
    further = [_milliseconds(partial(attached, model, f)) for f in rest]
    names = [folders[i % len(folders)].name for i in range(REPEATS)]
    swaps = [_milliseconds(partial(model.set_adapter, n, inference_mode=True)) for n in names]
    return Swaps(
        tuple(folders),
        loading + attaching,
        statistics.median(taken for taken, _ in further),
        statistics.median(taken for taken, _ in swaps),
    )


def saved_of_one_kind(run: Path) -> list[Path]:
    """Return the folders of the saved adapters of the first's kind, which one model can hold.

    Fully trained models are not adapters.  Raises InputError for links and pickles.
    """
    saved = [adapter_folder(run, trial_name(number)) for number in sorted(saved_trials(run))]
    kinds = {f: peft_type(f) for f in saved if (f / "adapter_config.json").is_file()}
    for folder in kinds:
        check_is_ours(run, folder)
    return [folder for folder, kind in kinds.items() if kind == next(iter(kinds.values()))]


def _milliseconds(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    result = work()
    return 1000 * (time.perf_counter() - started), result
