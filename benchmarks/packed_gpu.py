"""Packed training against sequential PEFT on a GPU, at the size of NLLB-200-distilled-600M.

The architecture has random weights in bfloat16, adapters are float32 (r 8 or 16 on all attention),
texts are the embedded ones.  For every batch size and K the engines train alternately, and the
table has the median milliseconds of a trial's step.  Aim: 8 times at batch 4.

    python benchmarks/packed_gpu.py --batch-sizes 1 4 16 --slots 1 2 4 8 16 32

Without a GPU it says so and ends; --rehearse runs it small on the CPU.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from typing import Any

import torch
from packed_trials import filled, petroleum, trial
from transformers import M2M100Config, M2M100ForConditionalGeneration

from study.bases.load import BaseModel
from study.data.readers import load_corpus
from study.engines.base import Engine
from study.engines.sequential import SequentialEngine
from study.spec.sections import StudySpec
from study.tasks import make_task
from study.trials import Event, Finished, Progress, TrialConfig

NLLB_600M = {"d_model": 1024, "layers": 12, "heads": 16, "ffn": 4096, "vocab_size": 256206}
SMALL = {"d_model": 64, "layers": 1, "heads": 4, "ffn": 128, "vocab_size": 4000}
KEYS = {
    "training.report_every": 20,
    "evaluation.objective": "loss",
    "evaluation.report_examples": 1,
}


def main() -> None:
    """Print a table, or that there is no GPU."""
    options = _options()
    if not torch.cuda.is_available() and not options.rehearse:
        print("no GPU here: nothing measured")
        return
    torch.manual_seed(0)
    _, embedded = petroleum(1)
    base = BaseModel(_model(SMALL if options.rehearse else NLLB_600M), embedded.tokenizer, "random")
    print(f"{_device()}, torch {torch.__version__}\n")
    print("| batch | K | sequential ms | packed ms | ratio |\n|---|---|---|---|---|")
    for batch_size in options.batch_sizes:
        for slots in options.slots:
            _print_row(base, batch_size, slots, options.rounds)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--slots", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rehearse", action="store_true")
    return parser.parse_args()


def _device() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU, rehearsal"


def _model(size: dict[str, int]) -> Any:
    sides = {
        f"{side}_{name}": size[key]
        for side in ("encoder", "decoder")
        for name, key in (("layers", "layers"), ("attention_heads", "heads"), ("ffn_dim", "ffn"))
    }
    none = ("dropout", "attention_dropout", "encoder_layerdrop", "decoder_layerdrop")
    config = M2M100Config(
        vocab_size=size["vocab_size"],
        d_model=size["d_model"],
        scale_embedding=True,
        **sides,
        **dict.fromkeys(none, 0.0),
    )
    model = M2M100ForConditionalGeneration(config).eval().requires_grad_(False)
    return model.to("cuda" if torch.cuda.is_available() else "cpu", torch.bfloat16)


def _print_row(base: BaseModel, batch_size: int, slots: int, rounds: int) -> None:
    spec, _ = petroleum(batch_size, **KEYS)
    times = {name: [] for name in ("sequential", "packed")}
    for _ in range(rounds + 1):  # the first warms up
        times["sequential"].append(_sequential_ms(spec, base))
        times["packed"].append(_packed_ms(spec, base, slots))
    sequential, packed = (statistics.median(found[1:]) for found in times.values())
    row = f"{batch_size} | {slots} | {sequential:.1f} | {packed:.2f} | {sequential / packed:.2f}"
    print(f"| {row} |", flush=True)


def _sequential_ms(spec: StudySpec, base: BaseModel) -> float:
    engine = SequentialEngine(spec, base, make_task(spec, base, load_corpus(spec.data)))
    engine.start(trial(spec, 0))
    return _ms_a_step(engine, [trial(spec, 0)])


def _packed_ms(spec: StudySpec, base: BaseModel, slots: int) -> float:
    return _ms_a_step(filled(spec, base, slots), [trial(spec, n) for n in range(slots)])


def _ms_a_step(engine: Engine, configs: Sequence[TrialConfig]) -> float:
    """Train what the engine holds up to the first report; returns a trial's share of a step."""
    while not _is_reported(engine.advance()):
        pass
    details = [engine.stop(config.number).details for config in configs]
    engine.close()
    return 1e3 * sum(d["train_seconds"] for d in details) / sum(d["steps"] for d in details)


def _is_reported(events: Sequence[Event]) -> bool:
    for event in events:
        if isinstance(event, Finished):
            raise SystemExit(f"trial {event.number} failed {event.result.failure}")
    return any(isinstance(event, Progress) and event.value is not None for event in events)


if __name__ == "__main__":
    main()
