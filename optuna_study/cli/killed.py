"""Say it when the system kills the command: a small process outlives it and speaks for it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

ENDED = b"ended"
KILLED = (
    "The run was killed (signal 9): by the system for memory, or by hand. Finished trials are "
    "kept: repeat the command; if memory ran out, with fewer --workers, a smaller "
    "training.batch_size or base.dtype = 'bfloat16'."
)
WATCHER = (
    f"import sys\nif sys.stdin.buffer.read() != {ENDED!r}: print(sys.argv[1], file=sys.stderr)"
)


@contextmanager
def said_if_killed() -> Iterator[None]:
    """Print a line if this process is killed inside; nobody else could, with one worker or none.

    The watcher reads from a pipe, which closes without a word when this process is killed.  Its
    session is its own, so that Ctrl-C does not reach it.
    """
    watcher = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", WATCHER, KILLED],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        with suppress(OSError):  # somebody ended the watcher
            watcher.communicate(ENDED)
