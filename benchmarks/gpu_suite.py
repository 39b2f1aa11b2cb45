"""Packed trials on one GPU against sequential PEFT, in one table: time, memory and matrix rate.

Models of Llama-3.2-1B's and NLLB-200-distilled-600M's architecture with random weights in bfloat16,
rank 16 on all linear layers, dropout 0.1, AdamW.  Every row trains K trials with batches of so many
rows of so many tokens (NLLB reads as many as it predicts):

- ratio: packed tokens per second over those of the sequential engine, which trains with PEFT;
- counted: states, and activations counted without data as benchmarks/packed_fake.py does;
- measured: the peak above the weights of the base;
- share: of the rate of a large matrix product, counting only the frozen matrices' products.

    bash benchmarks/gpu_suite.sh
    python benchmarks/gpu_suite.py --rehearse      # the same code at tiny sizes, on the CPU
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # nothing is installed on a bare machine

from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    M2M100Config,
    M2M100ForConditionalGeneration,
)

from benchmarks.packed_fake import counted
from study.bases.load import BaseModel
from study.engines.build import packed_over
from study.engines.engine_choice import EngineChoice
from study.engines.memory import PeakMemory, release_memory
from study.engines.packed.packed_engine import PackedEngine
from study.engines.pass_size import memory_beside_base
from study.engines.passes import TokenBudget
from study.engines.sequential import SequentialEngine
from study.hardware import device_kind
from study.peft_methods.layers import linear_shape
from study.spec.files import load_spec
from study.spec.sections import StudySpec
from study.tasks.base import Batch
from study.tasks.losses import language_model_loss
from study.trials import TrialConfig, search_config

METHOD = {"rank": 16, "alpha": 32.0, "dropout": 0.1, "target_modules": "all-linear"}
GB = 1e9


@dataclass(frozen=True)
class Sizes:
    """What is measured."""

    llama: dict[str, int]
    nllb: dict[str, int]
    shapes: Sequence[tuple[int, int]]  # rows and tokens of a trial's batch
    slots: Sequence[int]
    matrix: int  # the side of the product whose rate counts
    steps: int


WHOLE = Sizes(
    {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "vocab_size": 128256},
    {"d_model": 1024, "ffn": 4096, "layers": 12, "heads": 16, "vocab_size": 256206},
    [(4, 32), (4, 256), (16, 256)],
    [1, 8, 32],
    8192,
    3,
)
TINY = Sizes(
    {"hidden_size": 256, "intermediate_size": 64, "num_hidden_layers": 1, "vocab_size": 64},
    {"d_model": 16, "ffn": 32, "layers": 1, "heads": 2, "vocab_size": 64},
    [(2, 8), (3, 16)],
    [1, 2],
    64,
    1,
)


def llama(size: dict[str, int]) -> Any:
    """Return a Llama with random weights."""
    config = LlamaConfig(**size, num_attention_heads=32, num_key_value_heads=8)
    return LlamaForCausalLM(config)


def nllb(size: dict[str, int]) -> Any:
    """Return an NLLB with random weights."""
    sides = {
        f"{side}_{name}": size[key]
        for side in ("encoder", "decoder")
        for name, key in (("layers", "layers"), ("attention_heads", "heads"), ("ffn_dim", "ffn"))
    }
    none = ("dropout", "attention_dropout", "encoder_layerdrop", "decoder_layerdrop")
    config = M2M100Config(
        vocab_size=size["vocab_size"], d_model=size["d_model"], **sides, **dict.fromkeys(none, 0.0)
    )
    return M2M100ForConditionalGeneration(config)


MODELS = {"llama-1b": (llama, "AutoModelForCausalLM"), "nllb-600m": (nllb, "AutoModelForSeq2SeqLM")}


@dataclass(frozen=True)
class RandomRows:
    """A task of random tokens, all rows of one length."""

    count: int
    tokens: int
    vocabulary: int
    is_decoder: bool

    def examples(self, split: str) -> Sequence[int]:
        """Return the seeds of the rows."""
        return range(self.count)

    def length(self, example: int) -> int:
        """Return the tokens of a row."""
        return self.tokens

    def collate(
        self, examples: Sequence[int], config: TrialConfig, generator: torch.Generator
    ) -> Batch:
        """Return rows; a decoder predicts two fifths of the tokens that it reads."""
        drawn = torch.Generator().manual_seed(1 + examples[0])
        ids = torch.randint(4, self.vocabulary, (len(examples), self.tokens), generator=drawn)
        labels = ids.clone()
        if self.is_decoder:
            labels[:, : self.tokens - round(0.4 * self.tokens)] = -100
        return Batch({"input_ids": ids}, labels)

    def loss(self, model: Any, batch: Batch) -> torch.Tensor:
        """Return (B, 2)."""
        inputs = {"input_ids": batch.inputs["input_ids"], "use_cache": False}
        if not self.is_decoder:
            inputs["decoder_input_ids"] = batch.labels
        return language_model_loss(model, inputs, batch.labels)


# ---------------------------------------------------------------- one side


def seconds_of(step: Callable[[], None], steps: int) -> float:
    """Return the seconds of a step: the median of some, after one that warms up."""
    found = []
    for _ in range(steps + 1):
        synchronize()
        started = time.perf_counter()
        step()
        synchronize()
        found.append(time.perf_counter() - started)
    return statistics.median(found[1:])


def synchronize() -> None:
    """Wait for a GPU."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def matrix_rate(side: int, dtype: torch.dtype) -> float:
    """Return the floating-point operations per second of a square product."""
    a, b = (torch.randn(side, side, dtype=dtype, device=device_kind()) for _ in range(2))
    return 2.0 * side**3 / seconds_of(lambda: torch.mm(a, b), 10)


@contextmanager
def packed(
    spec: StudySpec, base: BaseModel, task: Any, configs: Sequence[TrialConfig]
) -> Iterator[tuple[PackedEngine, TokenBudget]]:
    """Yield an engine that trains all trials at once, in passes as large as memory allows."""
    methods = [config.method for config in configs if config.method is not None]
    budget = TokenBudget()
    free = memory_beside_base(base, EngineChoice())
    with closing(packed_over(spec, base, task, methods, len(configs), budget, free)) as engine:
        for config in configs:
            engine.start(config)
        yield engine, budget


def sequential_seconds(
    spec: StudySpec, base: BaseModel, task: Any, config: TrialConfig, steps: int
) -> float:
    """Return the seconds of one trial's step with PEFT."""
    with closing(SequentialEngine(spec, base, task)) as engine:
        engine.start(config)
        assert engine.running is not None
        training, adapter = engine.running
        return seconds_of(
            lambda: engine._train_one_step(training, adapter, training.next_groups()), steps
        )


# ---------------------------------------------------------------- the table


def frozen_operations(base: BaseModel) -> float:
    """Return the operations per token of the frozen matrices: forward, and the gradient of x."""
    linears = [m for m in base.model.modules() if type(m) is torch.nn.Linear]
    return sum(4.0 * out * read for out, read in map(linear_shape, linears))


def counted_bytes(name: str, depth: int, tokens: int, in_pass: int) -> float:
    """Return the bytes of the activations of a pass: counted for a block, times the depth."""
    one, two = (counted(name, layers, 2, 1, tokens).bytes_per_token for layers in (1, 2))
    read = 2 if name == "nllb-600m" else 1  # a token there is a position of both sides
    return (two - one) * depth * in_pass / read


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rehearse", action="store_true", help="tiny sizes")
    options = parser.parse_args()
    if not torch.cuda.is_available() and not options.rehearse:
        raise SystemExit("no GPU here: nothing measured; --rehearse runs tiny sizes")
    sizes = TINY if options.rehearse else WHOLE
    dtype = torch.bfloat16 if torch.cuda.is_available() else torch.float32
    rate = matrix_rate(sizes.matrix, dtype)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU, a rehearsal"
    print(f"{device}, torch {torch.__version__}, {rate / 1e12:.3g} Tflop/s\n")
    print(
        "| model | rows × tokens | K | tokens/pass | sequential tok/s | packed tok/s | ratio "
        "| counted GB | measured GB | share |\n" + "|---" * 10 + "|",
        flush=True,
    )
    for name, (make, loader) in MODELS.items():
        size = sizes.llama if name == "llama-1b" else sizes.nllb
        with torch.device(device_kind()):
            torch.manual_seed(0)
            model = make(size).to(dtype).eval().requires_grad_(False)
        base = BaseModel(model, None, "random", loader=loader)
        for rows, tokens in sizes.shapes:
            _print_rows(name, base, rows, tokens, sizes, rate)
        del model, base
        release_memory()


def _print_rows(
    name: str, base: BaseModel, rows: int, tokens: int, sizes: Sizes, rate: float
) -> None:
    is_decoder = name == "llama-1b"
    task: Any = RandomRows(16 * rows, tokens, base.model.config.vocab_size, is_decoder)
    keys = {"training.batch_size": rows, "training.steps": 1000, "training.report_every": 1000}
    spec = load_spec("petroleum", keys)
    configs = [search_config(spec, n, METHOD, n) for n in range(max(sizes.slots))]
    per_trial = rows * tokens  # positions
    alone = per_trial / sequential_seconds(spec, base, task, configs[0], sizes.steps)
    depth = sizes.llama["num_hidden_layers"] if is_decoder else sizes.nllb["layers"]
    for K in sizes.slots:
        with packed(spec, base, task, configs[:K]) as (engine, budget):
            release_memory()
            memory = PeakMemory()
            before = memory.peak_bytes() - _states(engine)
            together = K * per_trial / seconds_of(engine.train_one_step, sizes.steps)
            measured = memory.peak_bytes() - before
            in_pass = min(budget.training, K * per_trial * (1 if is_decoder else 2))
            said = f"{in_pass:,}" + (", recomputed" if budget.recomputes else "")
            states = _states(engine)
        count = states + counted_bytes(name, depth, tokens, in_pass)
        share = together * frozen_operations(base) / rate
        print(
            f"| {name} | {rows} × {tokens} | {K} | {said} | {alone:,.0f} | {together:,.0f} "
            f"| {together / alone:.2f} | {count / GB:.2f} | {measured / GB:.2f} | {share:.0%} |",
            flush=True,
        )


def _states(engine: PackedEngine) -> int:
    """Return the bytes of weights, gradients and moments."""
    matrices = (engine._bank.weights, engine._bank.grads, *engine._optimizers.moments)
    return sum(matrix.nbytes for matrix in matrices)


if __name__ == "__main__":
    main()
