"""How a process that trains behaves: one thread, no chatter, memory kept."""

from __future__ import annotations

import contextlib
import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
LARGEST_INT = 2**31 - 1


def be_one_quiet_thread() -> None:
    """Use one thread, as every worker does, and keep libraries from drawing progress bars.

    On small models several threads are slower than one, and workers would fight over the cores.
    """
    import torch
    from transformers.utils import logging

    torch.set_num_threads(1)
    _keep_freed_memory()
    logging.set_verbosity_error()
    logging.disable_progress_bar()


def _keep_freed_memory() -> None:
    """Let glibc hand freed memory out again instead of giving it back to the system.

    Every training step asks for the same tensors; a third of a step on small models went into the
    page faults of memory that was returned and asked for again.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(M_MMAP_THRESHOLD, LARGEST_INT)
        libc.mallopt(M_TRIM_THRESHOLD, LARGEST_INT)
