"""How near a packed training step comes to what its matrix products alone would take, and the rest.

Counts the floating-point operations of the matrix products of some steps (attention's included),
divides by this machine's matrix rate, the best of several shapes measured in turn with the steps,
and compares with the time that the same steps take.  Aim: 60 %.  Then says where the time goes.
One thread, as a worker has it.

    python benchmarks/packed_roofline.py --slots 16
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any
from unittest.mock import patch

import torch
from packed_trials import filled, petroleum
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from study.bases.load import BaseModel
from study.engines.packed import linear, packed_engine
from study.engines.packed.bank import AdapterBank
from study.engines.packed.packed_engine import PackedEngine
from study.engines.packed.updates import SlotOptimizers
from study.engines.trial_state import Training
from study.spec.sections import StudySpec
from study.tasks import losses

aten = torch.ops.aten
COUNTED_AS = {  # what PyTorch's counter does not know -> of what it has the same operations
    aten.baddbmm_: aten.baddbmm,
    aten._scaled_dot_product_flash_attention_for_cpu: aten._scaled_dot_product_flash_attention,
    aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        aten._scaled_dot_product_flash_attention_backward
    ),
}
SHAPES = ((1024, 1024, 1024), (512, 512, 512), (2048, 256, 64), (2048, 64, 256), (2048, 64, 64))
WARM_UP_STEPS = 2


def main() -> None:
    """Print the share of the matrix rate for every number of slots, and the last one's profile."""
    options = _options()
    spec, base = petroleum(options.batch_size)
    print("| slots | Mflop a trial's step | Gflop/s possible | ms possible | ms taken | share |")
    print("|---|---|---|---|---|---|")
    for slots in options.slots:
        with _filled(spec, base, slots) as engine:
            operations = [_counted(engine, options.steps) for _ in range(options.rounds)]
        with _filled(spec, base, slots) as engine:
            rounds = [_Round(*_timed(engine, options.steps), count) for count in operations]
            _print_share(rounds, slots, options.steps)
            table = _profiled(engine, options.steps) if slots == options.slots[-1] else {}
    _print_profile(table, options.slots[-1] * options.steps)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slots", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--steps", type=int, default=10, help="a round")
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


@contextmanager
def _filled(spec: StudySpec, base: BaseModel, slots: int) -> Iterator[PackedEngine]:
    """Yield an engine with trials that are a few steps old; the same ones every time."""
    engine = filled(spec, base, slots)
    _train(engine, WARM_UP_STEPS)
    yield engine
    engine.close()


def _train(engine: PackedEngine, steps: int) -> None:
    for _ in range(steps):
        engine.train_one_step()


# ---------------------------------------------------------------- operations and seconds


@dataclass(frozen=True)
class _Round:
    """Some steps, and what the machine could do just before."""

    rate: float  # floating-point operations a second of a matrix product
    seconds: float
    operations: int

    @property
    def share(self) -> float:
        """What the matrix products alone would take at that rate, over what the steps took."""
        return self.operations / self.rate / self.seconds


def _counted(engine: PackedEngine, steps: int) -> int:
    counter = FlopCounterMode(display=False)
    counter.flop_registry.update({op: flop_registry[same] for op, same in COUNTED_AS.items()})
    with counter:
        _train(engine, steps)
    return int(counter.get_total_flops())


def _timed(engine: PackedEngine, steps: int) -> tuple[float, float]:
    """Return the machine's rate and the steps' seconds."""
    rate = max(_rate_of(*shape) for shape in SHAPES)
    return rate, _seconds(lambda: _train(engine, steps))


def _rate_of(n: int, k: int, m: int) -> float:
    left, right, product = torch.rand(n, k), torch.rand(k, m), torch.empty(n, m)
    repeats = 1 + 10**9 // (n * k * m)
    seconds = _seconds(lambda: [torch.mm(left, right, out=product) for _ in range(repeats)])
    return 2 * n * k * m * repeats / seconds


def _seconds(do: Callable[[], Any]) -> float:
    started = time.perf_counter()
    do()
    return time.perf_counter() - started


def _print_share(rounds: Sequence[_Round], slots: int, steps: int) -> None:
    million = statistics.median(r.operations for r in rounds) / slots / steps / 1e6
    rate = statistics.median(r.rate for r in rounds)
    taken = statistics.median(r.seconds for r in rounds) / slots / steps
    share = statistics.median(r.share for r in rounds)
    print(
        f"| {slots} | {million:.0f} | {rate / 1e9:.0f} | {million * 1e9 / rate:.2f} "
        f"| {taken * 1e3:.2f} | {share:.0%} |",
        flush=True,
    )


# ---------------------------------------------------------------- where the rest goes

OPERATIONS = {
    "matrix products": ("mm", "addmm", "bmm", "baddbmm_"),
    "attention": (
        "_scaled_dot_product_flash_attention_for_cpu",
        "_scaled_dot_product_flash_attention_for_cpu_backward",
    ),
    "normalisation": ("native_layer_norm", "native_layer_norm_backward"),
}
PARTS = (  # what is counted whole, whatever it calls
    ("dropout masks", linear, "dropped"),
    ("dropout masks", linear, "dropped_and_added"),
    ("optimizer and clipping", SlotOptimizers, "make"),
    ("optimizer and clipping", AdapterBank, "average_and_clip"),
    ("loss, with its products", losses, "linear_loss"),
    ("batches", Training, "next_groups"),
    ("batches", packed_engine, "stacked"),
)
STEP = "Python between operations"


def _profiled(engine: PackedEngine, steps: int) -> Counter[str]:
    """Return the microseconds by category."""
    with ExitStack() as stack:
        for category, owner, name in PARTS:
            original = getattr(owner, name)
            stack.enter_context(patch.object(owner, name, _recorded(original, category)))
        profiler = stack.enter_context(profile(activities=[ProfilerActivity.CPU]))
        with record_function(STEP):
            _train(engine, steps)
    table: Counter[str] = Counter()
    for event in profiler.events():
        table[_category(event)] += event.self_cpu_time_total
    return table


def _recorded(function: Callable[..., Any], category: str) -> Callable[..., Any]:
    @wraps(function)
    def recorded(*args: Any, **kwargs: Any) -> Any:
        with record_function(category):
            return function(*args, **kwargs)

    return recorded


def _category(event: FunctionEvent) -> str:
    """Return the part that an event was called from, or else what its operation's name says."""
    above: FunctionEvent | None = event
    names = {STEP, *(category for category, _, _ in PARTS)}
    while above is not None and above.name not in names:
        above = above.cpu_parent
    if above is not None and (above.name != STEP or event is above):
        return above.name
    operation = event.name.removeprefix("aten::")
    found = (category for category, names in OPERATIONS.items() if operation in names)
    return next(found, "other operations" if event.name.startswith("aten::") else STEP)


def _print_profile(table: Counter[str], trial_steps: int) -> None:
    total = sum(table.values())
    print("\n| part | ms a trial's step | share |\n|---|---|---|")
    for name, microseconds in table.most_common():
        print(f"| {name} | {microseconds / trial_steps / 1e3:.3f} | {microseconds / total:.0%} |")


if __name__ == "__main__":
    main()
