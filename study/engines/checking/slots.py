"""The slots whose passes the self-check compares: their methods and rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from study.bases.load import BaseModel
from study.engines.checking.independence import LONGEST
from study.peft_methods.targets import targeted_modules
from study.spec.hyperparameters import MethodSpec
from study.spec.sections import StudySpec
from study.tasks.base import Batch, Example, Task
from study.trials import TrialConfig, search_config

LOOKED_AT = 64  # training examples
SEED = 0  # with which `load_base` draws a new head


@dataclass(frozen=True)
class Slot:
    """Some rows of a pack and their adapter; without a method, rows of the untrained base."""

    number: int
    config: TrialConfig
    batch: Batch
    start: int  # its first row

    @property
    def rows(self) -> slice:
        """Its rows in the pack."""
        return slice(self.start, self.start + len(self.batch.labels))


def method_of(slot: Slot) -> MethodSpec:
    """Return the method of a slot that has an adapter."""
    assert slot.config.method is not None, "rows of the untrained base"
    return slot.config.method


def chosen_methods(
    spec: StudySpec, base: BaseModel, methods: Sequence[MethodSpec]
) -> list[MethodSpec]:
    """Return LoRAs that adapt every module that trials adapt, of different ranks and targets.

    PiSSA and OLoRA differ from LoRA only in the weights that they begin with.
    """
    if not methods:
        return []
    named = dict.fromkeys(method.target_modules for method in methods)
    modules = {name: set(targeted_modules(base, name)) for name in named}
    by_size = sorted(named, key=lambda name: len(modules[name]), reverse=True)
    chosen: list[str] = []
    covered: set[str] = set()
    for name in by_size:
        if modules[name] - covered:
            chosen.append(name)
            covered |= modules[name]
    if len(chosen) == 1:
        chosen.append(by_size[-1])
    ranks = sorted({method.rank for method in methods})
    dropout = max(spec.values_of("dropout"))
    return [
        MethodSpec(
            rank=ranks[-1 if number % 2 == 0 else 0],
            alpha=float(ranks[-1]),
            dropout=dropout if number % 2 == 0 else 0.0,
            target_modules=name,
        )
        for number, name in enumerate(chosen)
    ]


def slots_of(
    spec: StudySpec, task: Task, device: torch.device, methods: Sequence[MethodSpec]
) -> list[Slot]:
    """Return a slot for every method and one for the untrained base, with two or three rows each.

    They have two short training examples and a longer one, and no slot has its neighbour's.
    """
    few = _few_examples(task)
    config = replace(search_config(spec, 0, {}, 0).evaluated, seed=SEED)
    slots: list[Slot] = []
    for number, method in enumerate([*methods, None]):
        chosen = [few[(number + i) % len(few)] for i in range(2 + number % 2)]
        chosen.sort(key=task.length)
        its = replace(config, number=number, method=method)
        batch = task.collate(chosen, its, torch.Generator().manual_seed(number)).to(device)
        start = slots[-1].rows.stop if slots else 0
        slots.append(Slot(number, its, batch, start))
    return slots


def _few_examples(task: Task) -> list[Example]:
    by_length = sorted(task.examples("train")[:LOOKED_AT], key=task.length)
    different = list({task.length(example): example for example in by_length}.values())
    if len(different) < 2:
        return by_length[:3]
    long = [example for example in different[2:] if task.length(example) <= LONGEST]
    return [*different[:2], *(long[-1:] or different[2:3])]
