"""What the loss of a large vocabulary costs: from all logits, and a few rows at a time.

Both sides compute the cross-entropy of hidden states (n, D) under a frozen layer W (V, D) and the
gradient of the states, turn by turn, in one thread of a process each.  Prints how far the peak of
resident memory is over W and the states, seconds of CPU, the ratios of the medians, and how far the
results are apart.

    python benchmarks/loss_memory.py --vocabulary 262144 --width 640 --positions 2048
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own abbreviation

from study.engines.memory import PeakMemory
from study.engines.process_settings import be_one_quiet_thread
from study.tasks.vocabulary.linear_loss import LinearHead, linear_loss

MIB = 2**20
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def naive(hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    """All logits at once, by PyTorch's own functions."""
    return F.cross_entropy(F.linear(hidden, weight), labels, reduction="none")


def chunked(hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    """As the tasks do it."""
    return linear_loss(LinearHead(weight), hidden, labels, torch.zeros_like(labels))


SIDES: dict[str, Loss] = {"all logits": naive, "in chunks": chunked}


def measured(name: str, V: int, D: int, n: int) -> tuple[float, float, Tensor, Tensor]:
    """Return MiB over what is in use, seconds of CPU, losses (n,) and their gradient (n, D)."""
    be_one_quiet_thread()
    torch.manual_seed(0)
    weight = torch.randn(V, D).mul_(0.05)
    hidden, labels = torch.randn(n, D).requires_grad_(), torch.randint(V, (n,))
    memory = PeakMemory()
    before, started = memory.peak_bytes(), time.process_time()
    losses = SIDES[name](hidden, weight, labels)
    (gradient,) = torch.autograd.grad(losses.sum(), hidden)
    seconds = time.process_time() - started
    return (memory.peak_bytes() - before) / MIB, seconds, losses.detach(), gradient


def main() -> None:
    """Compare both sides, every time in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vocabulary", type=int, default=262_144)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--positions", type=int, default=2_048)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    shape = (options.vocabulary, options.width, options.positions)
    found: dict[str, list[tuple[float, float, Tensor, Tensor]]] = {name: [] for name in SIDES}
    for _ in range(options.rounds):
        for name, of_side in found.items():
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                of_side.append(pool.apply(measured, (name, *shape)))
    medians = {n: [statistics.median(run[i] for run in found[n]) for i in (0, 1)] for n in SIDES}
    for name, (mebibytes, seconds) in medians.items():
        print(f"{name}: {mebibytes:,.0f} MiB, {seconds:.3g} s of CPU")
    memory, seconds = (a / b for a, b in zip(*medians.values(), strict=True))
    one, other = (of_side[0] for of_side in found.values())
    losses, gradients = (float((one[i] - other[i]).abs().max()) for i in (2, 3))
    print(
        f"ratios: {memory:.1f} in memory, {seconds:.2f} in time; losses differ by at most "
        f"{losses:.1e}, gradients by {gradients:.1e}"
    )


if __name__ == "__main__":
    main()
