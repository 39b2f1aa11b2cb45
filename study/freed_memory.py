"""Keep freed memory in a process that allocates the same sizes again and again."""

from __future__ import annotations

import contextlib
import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
LARGEST_INT = 2**31 - 1
LARGE = 8 * 2**20
"""Bytes from which memory goes back all the same: kept, blocks of ever other sizes split it up."""


def keep_freed_memory() -> None:
    """Let glibc reuse freed blocks, but for the largest, instead of returning them to the system.

    Every training step allocates the same tensors, every fit the same matrices.  Returning the
    memory each time cost up to a third of the run time in page faults.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(M_MMAP_THRESHOLD, LARGE)
        libc.mallopt(M_TRIM_THRESHOLD, LARGEST_INT)


def trim() -> None:
    """Return freed memory to the system once."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
