"""Memory that stays with a process which asks for the same sizes again and again."""

from __future__ import annotations

import contextlib
import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
LARGEST_INT = 2**31 - 1


def keep_freed_memory() -> None:
    """Let glibc hand freed memory out again instead of giving it back to the system.

    Every training step asks for the same tensors, every fit for the same matrices; up to a third of
    the time went into the page faults of memory that was returned and asked for again.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(M_MMAP_THRESHOLD, LARGEST_INT)
        libc.mallopt(M_TRIM_THRESHOLD, LARGEST_INT)
