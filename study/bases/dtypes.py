"""What `base.dtype = "auto"` means on this machine.

A study decides once: its database holds the dtype, and a resumed run keeps it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from typing import Any

import psutil

from study.spec.sections import StudySpec

SMALL = 100_000_000
"""Parameters up to which a step is bound by overhead, so that float32 costs nothing on a CPU."""
CLEARLY = 1.2  # bfloat16 must be this much faster, or noise would decide
SHARE_OF_MEMORY = 0.7
WIDTH = 1024  # of the matrices that are multiplied
SECONDS = 0.25  # per dtype and round; two rounds of two dtypes take a second


def with_dtype(
    spec: StudySpec, model: Any, workers: int, remark: Callable[[str], None] = lambda line: None
) -> StudySpec:
    """Return the study with a dtype in place of `auto`, and say why it was chosen.

    Args:
        spec: The study.
        model: Its base, or a skeleton of it.
        workers: How many processes of this machine will each hold the base.
        remark: Takes the reason, unless there was no choice to make.
    """
    if spec.base.dtype != "auto":
        return spec
    import torch

    own = str(getattr(model.config, "dtype", None) or "float32").removeprefix("torch.")
    if torch.cuda.is_available():
        dtype = "bfloat16" if own == "float16" else own  # float16 overflows in training
        reason = f"the checkpoint's is {own}"
    else:
        count = sum(weight.numel() for weight in model.parameters())
        dtype, reason = _on_a_cpu(count, workers)
    dtype = dtype if dtype in ("float32", "bfloat16", "float64") else "float32"
    if reason:
        remark(f"base: computes in {dtype}: {reason}; base.dtype sets another")
    base = spec.base.model_copy(update={"dtype": dtype})
    return spec.model_copy(update={"base": base})


def _on_a_cpu(count: int, workers: int) -> tuple[str, str]:
    """Return the dtype for a base of `count` parameters, and why; no reason for a small one."""
    if count <= SMALL:
        return "float32", ""
    free = psutil.virtual_memory().available * SHARE_OF_MEMORY
    if workers * count * 4 > free:
        return "bfloat16", f"{workers} in float32 need about {workers * count * 4 / 2**30:.0f} GB"
    speed = speeds()
    ratio = speed["bfloat16"] / speed["float32"]
    if ratio > CLEARLY:
        return "bfloat16", f"{ratio:.1f} times as fast as float32 on this processor"
    return "float32", f"bfloat16 is {ratio:.1f} times as fast on this processor"


@cache
def speeds() -> dict[str, float]:
    """Return how many products of matrices one thread computes per second, by dtype."""
    import torch

    best = {"float32": 0.0, "bfloat16": 0.0}
    for _ in range(2):
        for name in best:
            matrix = torch.ones(WIDTH, WIDTH, dtype=getattr(torch, name))
            started, products = time.perf_counter(), 0
            while time.perf_counter() - started < SECONDS:
                matrix @ matrix
                products += 1
            best[name] = max(best[name], products / (time.perf_counter() - started))
    return best
