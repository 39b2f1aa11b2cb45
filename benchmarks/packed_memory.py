"""What K packed trials keep in memory: one base, K adapters with their optimizers, activations.

Counts the bytes of the base's weights, of the adapters with gradient and two moments each, and of
what autograd keeps between forward and backward, and holds their sum against the peak of resident
memory over that of the process without a model.  Every K has a process of its own.  The base is
NLLB's architecture at a size where it counts (random weights), the data are the embedded ones.

    python benchmarks/packed_memory.py --slots 1 4 16
    python benchmarks/packed_memory.py --slots 8 --study my-study.toml

With a study it measures its own base and data instead: the peak above the loaded base, in passes of
the tokens that the engine allows itself.
"""

from __future__ import annotations

import argparse
import multiprocessing
from dataclasses import dataclass, replace
from typing import Any

import torch
from packed_trials import filled
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from study.bases.building import Miniature
from study.bases.load import BaseModel, load_base, locate_base
from study.bases.translator import TranslatorRecipe
from study.data.corpora import corpus_of
from study.engines.build import packed_over, working_base
from study.engines.engine_choice import EngineChoice
from study.engines.memory import PeakMemory
from study.engines.packed.packed_engine import PackedEngine
from study.engines.pass_size import largest_trial, memory_beside_base
from study.engines.passes import TokenBudget
from study.engines.process_settings import be_one_quiet_thread
from study.peft_methods.targets import targeted_modules
from study.spec.files import load_spec
from study.spec.sections import StudySpec
from study.tasks import make_task

MIB = 2**20
ARCHITECTURE = TranslatorRecipe(width=512, layers=4, heads=8, ffn=2048)
STEPS = 3
COPIES = 4  # a weight, its gradient and AdamW's two moments
FLOAT_BYTES = 4


def main() -> None:
    """Print a row for every K."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slots", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--study")
    options = parser.parse_args()
    if options.study:
        print("| K | tokens per pass | peak above the base |\n|---|---|---|")
        for slots in options.slots:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                print(pool.apply(_of_study, (options.study, slots)), flush=True)
        return
    print("| K | base | adapters and optimizers | activations | counted | measured | ratio |")
    print("|---|---|---|---|---|---|---|")
    for slots in options.slots:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            print(pool.apply(_measure, (slots, options.batch_size)).row, flush=True)


@dataclass(frozen=True)
class _Memory:
    """Bytes of K trials."""

    slots: int
    base: int
    adapters: int
    activations: int
    measured: int

    @property
    def row(self) -> str:
        counted = self.base + self.adapters + self.activations
        parts = (self.base, self.adapters, self.activations, counted, self.measured)
        cells = " | ".join(f"{part / MIB:.0f} MiB" for part in parts)
        return f"| {self.slots} | {cells} | {self.measured / counted:.2f} |"


def _measure(slots: int, batch_size: int) -> _Memory:
    be_one_quiet_thread()
    spec = load_spec("petroleum", {"training.batch_size": batch_size})
    tokenizer = load_base(locate_base(spec), spec.base).tokenizer
    before = PeakMemory().peak_bytes()
    base = _base(tokenizer)
    engine = filled(spec, base, slots)
    memory = PeakMemory()
    _train(engine)
    measured = memory.peak_bytes() - before
    engine.close()
    weights = sum(map(_bytes, base.model.parameters()))
    adapters = slots * _of_one_trial(spec, base)
    activations = _activations(filled(spec, base, slots), base)  # of the same steps once more
    return _Memory(slots, weights, adapters, activations, measured)


def _of_study(study: str, slots: int) -> str:
    be_one_quiet_thread()
    spec = load_spec(study)
    base = working_base(spec, locate_base(spec))
    task = make_task(spec, base, corpus_of(spec))
    free = memory_beside_base(base, EngineChoice())
    memory = PeakMemory()
    loaded = memory.peak_bytes()
    config = largest_trial(spec)
    assert config.method is not None
    budget = TokenBudget()
    engine = packed_over(spec, base, task, [config.method], slots, budget, free)
    for number in range(slots):
        engine.start(replace(config, number=number, seed=number))
    memory = PeakMemory()
    _train(engine)
    peak = memory.peak_bytes() - loaded
    return f"| {slots} | {budget.training} | {peak / MIB:.0f} MiB |"


def _train(engine: PackedEngine) -> None:
    for _ in range(STEPS):
        engine.train_one_step()


def _base(tokenizer: Any) -> BaseModel:
    torch.manual_seed(0)
    model = Miniature(ARCHITECTURE, ()).new_model(tokenizer).eval().requires_grad_(False)
    return BaseModel(model, tokenizer, "random")


def _of_one_trial(spec: StudySpec, base: BaseModel) -> int:
    """Return the bytes of a slot: as wide as the largest rank."""
    layers = targeted_modules(base, "attention").values()
    weights = max(spec.values_of("rank")) * sum(n.in_features + n.out_features for n in layers)
    return COPIES * weights * FLOAT_BYTES


def _activations(engine: PackedEngine, base: BaseModel) -> int:
    """Return the bytes that autograd keeps at the end of the largest forward pass.

    The base's weights, which it keeps as well, are counted elsewhere.
    """
    known = {p.untyped_storage().data_ptr() for p in base.model.parameters()}
    kept: dict[int, int] = {}  # storage -> bytes, in the present forward pass
    peaks = [0]

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    def unpack(tensor: Tensor) -> Tensor:
        peaks.append(sum(kept.values()))
        kept.clear()
        return tensor

    with saved_tensors_hooks(pack, unpack):
        _train(engine)
    return max(peaks)


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


if __name__ == "__main__":
    main()
