"""Driving engines by hand, as the runner does, and comparing what their trials gave."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load

from study.bases.load import BaseModel, load_base
from study.data.corpora import corpus_of
from study.engines.base import Engine
from study.engines.build import engine_over, working_base
from study.engines.engine_choice import EngineChoice
from study.engines.packed.bank import AdapterBank
from study.engines.packed.packed_engine import PackedEngine
from study.engines.passes import TokenBudget
from study.engines.sequential import SequentialEngine
from study.spec.sections import StudySpec
from study.store.saved_adapters import save_adapter
from study.tasks import make_task
from study.tasks.base import Task
from study.trials import (
    AdapterFiles,
    Checked,
    Finished,
    Notice,
    Passes,
    Progress,
    TrialConfig,
    TrialResult,
    search_config,
)

Curve = list[tuple[int, float | None]]


def train_all(
    engine: Engine,
    configs: Sequence[TrialConfig],
    notices: list[str] | None = None,
    running: int = 0,
) -> tuple[dict[int, TrialResult], dict[int, Curve]]:
    """Run configurations through an engine as the runner does; results and reports by number.

    Notices go to the list that is given; so many trials may be `running` in it already.
    """
    waiting = list(configs)
    results: dict[int, TrialResult] = {}
    reports: dict[int, Curve] = defaultdict(list)
    while waiting or running:
        while waiting and engine.free_slots:
            engine.start(waiting.pop(0))
            running += 1
        for event in engine.advance():
            if isinstance(event, Notice):
                (notices if notices is not None else []).append(event.text)
            elif isinstance(event, Passes):
                continue
            elif isinstance(event, Checked):
                (notices if notices is not None else []).extend(event.check.remarks)
            elif isinstance(event, Progress):
                reports[event.number] += [(event.step, event.value)] * (event.value is not None)
            else:
                assert isinstance(event, Finished), event
                results[event.number] = event.result
                running -= 1
    return results, reports


def train_in_pieces(engine: Engine, configs: Sequence[TrialConfig]) -> dict[int, TrialResult]:
    """Put every trial aside at each of its reports, and let it go on after the others."""
    waiting: list[tuple[TrialConfig, bytes | None]] = [(config, None) for config in configs]
    by_number = {config.number: config for config in configs}
    results: dict[int, TrialResult] = {}
    while len(results) < len(configs):
        while waiting and engine.free_slots:
            engine.start(*waiting.pop(0))
        events = engine.advance()
        ended = {event.number: event.result for event in events if isinstance(event, Finished)}
        results |= ended
        for event in events:
            if isinstance(event, Progress) and event.is_report and event.number not in ended:
                state = engine.state(event.number)
                assert state is not None
                assert engine.stop(event.number).details["steps"] == event.step
                waiting.append((by_number[event.number], state))
    return results


@dataclass(frozen=True)
class Bench:
    """One base and one task that engines take turns with."""

    spec: StudySpec
    base: BaseModel
    task: Task

    def alone(self, config: TrialConfig) -> TrialResult:
        """Train a trial in the sequential engine."""
        with closing(SequentialEngine(self.spec, self.base, self.task)) as engine:
            return train_all(engine, [config])[0][config.number]

    def engine(self, choice: EngineChoice) -> Engine:
        """Return the engine of a choice; close it before another is made."""
        return engine_over(self.spec, self.base, self.task, choice)

    def packed(
        self,
        configs: Sequence[TrialConfig],
        slots: int | None = None,
        budget: TokenBudget | None = None,
        reads_late: bool | None = None,
    ) -> PackedEngine:
        """Return a packed engine with room for these trials; close it before another is made."""
        methods = [config.method for config in configs if config.method is not None]
        slots = slots or len(configs)
        return PackedEngine(self.spec, self.base, self.task, methods, slots, budget, reads_late)

    def together(
        self, configs: Sequence[TrialConfig], reads_late: bool | None = None
    ) -> dict[int, TrialResult]:
        """Train trials in one pack."""
        with closing(self.packed(configs, reads_late=reads_late)) as engine:
            return train_all(engine, configs)[0]


def bench_of(spec: StudySpec) -> Bench:
    """Load a study's base and task."""
    corpus = corpus_of(spec)
    base = working_base(spec, spec.base.model, corpus.labels)
    return Bench(spec, base, make_task(spec, base, corpus))


def skeleton_of(spec: StudySpec) -> BaseModel:
    """Return a study's base without weights."""
    labels = corpus_of(spec).labels
    return load_base(spec.base.model, spec.base, spec.task, labels, skeleton=True)


def losses_with_peft(bench: Bench, files: AdapterFiles | None, folder: Path) -> list[float]:
    """Return the dev losses of an adapter that PEFT loads over the base as it is on disk."""
    from peft import PeftModel

    assert files is not None
    saved = save_adapter(folder, "trial-00000", files)
    base = working_base(bench.spec, bench.spec.base.model, corpus_of(bench.spec).labels)
    model = PeftModel.from_pretrained(base.model, saved).eval().get_base_model()
    return dev_losses(bench, model)


@torch.no_grad()
def dev_losses(bench: Bench, model: Any) -> list[float]:
    """Return a model's loss of every dev example."""
    config = search_config(bench.spec, 0, {}, 0)
    examples = bench.task.examples("dev")
    batch = bench.task.collate(examples, replace(config, distillation=None), torch.Generator())
    return [float(loss) for loss in bench.task.loss(model, batch)[:, 0]]


def move_away(bank: AdapterBank, slot: int, spread: float) -> None:
    """Move B of a slot away from where it begins, so that the adapter does something."""
    generator = torch.Generator().manual_seed(slot)
    for layer in bank._lora.values():
        if slot in layer.adapters:
            B = layer.weights.B[slot, :, : layer.adapters[slot].rank]
            B += spread * torch.randn(B.shape, generator=generator, dtype=B.dtype)


def assert_same_tensors(found: AdapterFiles | None, wanted: AdapterFiles | None) -> None:
    """Compare two adapters as PEFT would load them: elements against their matrix's largest."""
    assert found is not None
    assert wanted is not None
    tensors = load(found.weights)
    assert json.loads(found.config) == json.loads(wanted.config)
    assert tensors.keys() == load(wanted.weights).keys()
    for name, tensor in load(wanted.weights).items():
        atol = 1e-9 * float(tensor.abs().max())
        np.testing.assert_allclose(tensors[name], tensor, rtol=1e-9, atol=atol)


def assert_same_result(found: TrialResult, wanted: TrialResult) -> None:
    """Compare two trials: weights, outputs and every statistic."""
    assert found.failure is None
    assert found.splits.keys() == wanted.splits.keys()
    assert_same_tensors(found.adapter, wanted.adapter)
    for split, result in wanted.splits.items():
        assert found.splits[split].outputs == result.outputs
        for metric, statistics in result.statistics.items():
            values = found.splits[split].statistics[metric].values
            np.testing.assert_allclose(values, statistics.values, rtol=1e-9)
