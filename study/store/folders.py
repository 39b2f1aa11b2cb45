"""Where the project writes: folders that appear whole, files in one step, and nothing by a link.

A run folder may come from anybody, and a link in it would lead what is written there anywhere.  The
folder itself may be a link, which only its user sets.
"""

from __future__ import annotations

import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from study.errors import InputError

RUN_FILES = (".lock", "spec.toml", "report.html", "study.db")
RUN_FOLDERS = ("adapters", "export")
SIDECARS = ("-wal", "-shm", "-journal")
"""What SQLite writes beside a database."""
TRIAL_FOLDER = re.compile(r"\.?trial-(?P<number>\d{5,})(\.unfinished)?", re.ASCII)


@contextmanager
def appearing_whole(folder: Path) -> Iterator[Path]:
    """Yield an unfinished folder beside `folder`, which becomes it once all went well.

    Raises OSError where it cannot be written, or `folder` holds something by then.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
        unfinished = Path(scratch) / "whole"
        unfinished.mkdir()
        yield unfinished
        unfinished.rename(folder)


def write_whole(path: Path, text: str) -> None:
    """Write a file in one step: a reader never meets half of it, and a link there is replaced.

    Raises OSError where it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).chmod(0o666 & ~_umask())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def check_own(path: Path, kind: Literal["file", "folder"]) -> None:
    """Refuse what is in the place of a file or folder of ours; nothing may be there.

    Raises:
        InputError: it is a link, a file with a second name, a pipe, a device or the other kind.
    """
    got = _what_is_at(path)
    if got not in (None, f"a plain {kind}"):
        raise InputError(
            f"{path}: must be a plain {kind} where something is to be written, got {got}; allowed: "
            f"a plain {kind}, or nothing yet (a run folder may be a link itself, nothing in it)"
        )


def check_run_folder(out: Path) -> None:
    """Refuse a run folder in which something that a run writes would lead elsewhere.

    Raises:
        InputError: it holds such a thing; nothing was written.
    """
    for name in RUN_FILES:
        check_own(out / name, "file")
    check_sidecars(out / "study.db")
    for name in RUN_FOLDERS:
        check_own(out / name, "folder")
    for folder in sorted((out / "adapters").glob("*")):
        if TRIAL_FOLDER.fullmatch(folder.name):
            check_own(folder, "folder")
            for inside in sorted(folder.rglob("*")):
                check_own(inside, "folder" if inside.is_dir() else "file")


def check_sidecars(database: Path) -> None:
    """Refuse links and the like in the places where SQLite writes beside a database."""
    for suffix in SIDECARS:
        check_own(database.with_name(database.name + suffix), "file")


def is_plain_file(path: Path) -> bool:
    """Whether there is a file, and it has no other name and is no link."""
    return _what_is_at(path) == "a plain file"


def _what_is_at(path: Path) -> str | None:
    """Say in words what lies at a path; None where nothing does, or where nothing can be seen."""
    try:
        found = path.lstat()
    except OSError:  # what cannot be seen cannot be written either, and the writer says so
        return None
    if stat.S_ISLNK(found.st_mode):
        return f"a link to {os.readlink(path)}"
    if stat.S_ISDIR(found.st_mode):
        return "a plain folder"
    if not stat.S_ISREG(found.st_mode):
        return "a pipe, socket or device"
    return "a plain file" if found.st_nlink == 1 else "a hard link, a file with a second name"


def _umask() -> int:
    """Return what the user wants nobody else to do with new files; asking means setting it."""
    before = os.umask(0o077)
    os.umask(before)
    return before
