"""Peak memory of one training."""

from __future__ import annotations

import contextlib
import gc
import resource
from pathlib import Path

import torch

from study.freed_memory import trim

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


class PeakMemory:
    """Measures the accelerator's peak from its creation on, or on the CPU the process's."""

    def __init__(self) -> None:
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        else:
            _reset_high_water_mark()

    def peak_bytes(self) -> int:
        """Return the largest amount of memory in use so far."""
        if torch.cuda.is_available():
            return int(torch.cuda.max_memory_allocated())
        return _high_water_mark()


def _reset_high_water_mark() -> None:
    with contextlib.suppress(
        OSError
    ):  # only Linux can reset it; elsewhere it covers the whole process
        _CLEAR.write_text("5")


def _high_water_mark() -> int:
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    kibibytes = next(line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(kibibytes) * 1024


NO_MEMORY = ("DefaultCPUAllocator: can't allocate memory", "DefaultCPUAllocator: not enough memory")
NO_MEMORY_ON_GPU = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an allocation failed, on the CPU or on an accelerator.

    PyTorch has no class of its own for the CPU's allocator and for other libraries on the GPU.
    """
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    words = (*NO_MEMORY, *NO_MEMORY_ON_GPU)
    return isinstance(error, RuntimeError) and any(word in str(error) for word in words)


def release_memory() -> None:
    """Give back what is free: to the GPU, or to the system, which then shows what is in use."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    trim()
