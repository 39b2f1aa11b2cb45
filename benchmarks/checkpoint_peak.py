"""The peak of a process that trains packed trials over a checkpoint, above its loaded base.

Everything that a run does is in it: the self-check, the measured passes, three training steps of
all slots and the evaluation.  Each part is measured alone, from what the process holds after it
loaded the base.  One thread, in a process of its own.

    python benchmarks/checkpoint_peak.py /models/gemma-3-270m --slots 8 --batch-size 4 --tokens 64
    python benchmarks/checkpoint_peak.py /models/minilm --task classification --slots 7
    python benchmarks/checkpoint_peak.py /models/gemma-3-270m --bits 4
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
from dataclasses import replace
from pathlib import Path

from checkpoint_study import checkpoint_study

from study.data.corpora import corpus_of
from study.engines.build import engine_over, working_base
from study.engines.engine_choice import EngineChoice
from study.engines.memory import PeakMemory, release_memory
from study.engines.mixed import MixedEngine
from study.engines.pass_size import base_bytes, largest_trial
from study.engines.process_settings import be_one_quiet_thread
from study.tasks import make_task

MB = 1e6
STEPS = 3


def main() -> None:
    """Print a row for every part of a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base", help="folder of the checkpoint")
    parser.add_argument("--task", choices=["sft", "classification"], default="sft")
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--bits", type=int, choices=[4, 8], help="of a quantised base")
    options = parser.parse_args()
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        pool.apply(_measure, (options,))


def _measure(options: argparse.Namespace) -> None:
    be_one_quiet_thread()
    with tempfile.TemporaryDirectory() as folder:
        spec = checkpoint_study(
            Path(folder),
            options.base,
            options.task,
            options.tokens,
            options.batch_size,
            steps=STEPS,
            dtype=options.dtype,
            bits=options.bits,
        )
        corpus = corpus_of(spec)
    base = working_base(spec, options.base, corpus.labels)
    task = make_task(spec, base, corpus)
    longest = max(task.length(example) for example in task.examples("train"))
    for weight in base.model.parameters():
        weight.float().sum()  # reads what is only mapped from the file as yet
    release_memory()
    loaded = PeakMemory().peak_bytes()
    print(f"base: {base_bytes(base.model) / MB:,.0f} MB of weights, {loaded / MB:,.0f} MB in use")
    print(f"rows of at most {longest} tokens\n| part | peak above the loaded base |\n|---|---|")

    def row(part: str, memory: PeakMemory) -> int:
        above = memory.peak_bytes() - loaded
        print(f"| {part} | {above / MB:,.0f} MB |", flush=True)
        return above

    memory = PeakMemory()
    engine = engine_over(spec, base, task, EngineChoice(slots=options.slots))
    peaks = [row("self-check and measured passes", memory)]
    assert isinstance(engine, MixedEngine)
    packed = engine._packed
    config = largest_trial(spec)
    for number in range(options.slots):
        engine.start(replace(config, number=number, seed=number))
    release_memory()
    memory = PeakMemory()
    for _ in range(STEPS):
        packed.train_one_step()
    tokens = packed._budget.training
    peaks.append(row(f"{STEPS} steps in passes of {tokens:,} tokens", memory))
    memory = PeakMemory()
    ended = engine.advance()
    peaks.append(row(f"evaluation of {options.slots} trials", memory))
    assert len([event for event in ended if hasattr(event, "result")]) == options.slots
    print(f"| **largest** | **{max(peaks) / MB:,.0f} MB** |")


if __name__ == "__main__":
    main()
