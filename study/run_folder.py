"""The folder that a run writes into, and its lock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from study.errors import InputError
from study.store.folders import check_run_folder


@contextmanager
def run_folder(out: Path, *, exclusive: bool) -> Iterator[None]:
    """Create the run folder; with `exclusive`, lock it against other runs.

    Raises:
        InputError: the folder is in use, holds links, or cannot be created or written.
    """
    check_run_folder(out)
    lock = FileLock(out / ".lock")
    try:
        out.mkdir(parents=True, exist_ok=True)
        if exclusive:
            lock.acquire(timeout=0)
    except Timeout:
        raise InputError(
            f"{out}: another `optuna-study run` is working in this folder; "
            "wait for it, or use another --out"
        ) from None
    except OSError as error:
        raise InputError(f"{out}: cannot use the run folder: {error.strerror}") from None
    try:
        yield
    finally:
        lock.release()
