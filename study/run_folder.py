"""The folder that a run writes into, and its lock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from study.errors import InputError, reason_of
from study.store.folders import check_run_folder
from study.store.storage import DATABASE_NAME

MADE_AT_ONCE = (*(f"{DATABASE_NAME}{end}" for end in ("", "-wal", "-shm")), ".lock")
"""The files that a run makes before it begins, that is before it writes spec.toml."""


@contextmanager
def run_folder(out: Path, *, exclusive: bool) -> Iterator[None]:
    """Create the run folder; with `exclusive`, lock it against other runs.

    If the run is refused before it began, nothing of a new folder stays.

    Raises:
        InputError: the folder is in use, holds links, or cannot be created or written.
    """
    check_run_folder(out)
    is_new = not out.exists() or not any(out.iterdir())
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
        raise InputError(f"{out}: cannot use the run folder: {reason_of(error)}") from None
    try:
        yield
    except InputError:
        if is_new and not (out / "spec.toml").exists():
            for name in MADE_AT_ONCE if exclusive else ():
                (out / name).unlink(missing_ok=True)
            with suppress(OSError):  # another run may already work in it
                out.rmdir()
        raise
    finally:
        lock.release()
