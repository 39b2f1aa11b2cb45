"""Safe writing: folders appear complete, files in one step, and nothing is written through a link.

A run folder may come from somebody else, and a link in it could redirect what is written.  The
folder itself may be a link, since only its user sets that.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from study.errors import InputError, writing

SPLIT = "split.tsv"
RUN_FILES = (".lock", "spec.toml", SPLIT, "report.html", "report-error.log", "study.db")
RUN_FOLDERS = ("adapters", "export", "trained", "paused")
SIDECARS = ("-wal", "-shm", "-journal")
"""Suffixes of the files that SQLite writes beside a database."""
URL_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
"""The first part of a URL that was taken for a path: `Path` makes one slash of two."""
TRIAL_FOLDER = re.compile(r"\.?trial-(?P<number>\d{5}|[1-9]\d{5,8})(\.unfinished)?", re.ASCII)
"""As `trial_name` writes it: another spelling of a number is not that trial's folder."""


def check_no_url(path: Path) -> None:
    """Refuse the URL of a storage where a file or folder is to be written.

    Its password would become part of the path.

    Raises:
        InputError: the path begins with a scheme, such as `postgresql:`.
    """
    if URL_SCHEME.fullmatch(next(iter(path.parts), "")):
        raise InputError(
            f"{path}: must be a file or folder, got a URL; a storage's URL is for --storage"
        )


@contextmanager
def appearing_whole(folder: Path) -> Iterator[Path]:
    """Yield an unfinished folder beside `folder`, and rename it to `folder` if nothing fails.

    Raises OSError if it cannot be written or if `folder` is not empty in the end.
    """
    check_no_url(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
        unfinished = Path(scratch) / "whole"
        unfinished.mkdir()
        yield unfinished
        unfinished.rename(folder)


def write_whole(path: Path, content: str | bytes, what: str = "") -> None:
    """Write a file in one step: readers never see half of it, and a link there is replaced.

    Raises:
        InputError: it cannot be written; `what` describes the file.
    """
    check_no_url(path)
    with writing(path, what):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
            Path(name).chmod(0o666 & ~_umask())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def check_own(path: Path, kind: Literal["file", "folder"]) -> None:
    """Refuse anything but a plain file or folder at a path to write; it may be missing.

    Raises:
        InputError: it is a link, a hard link, a pipe, a device, or the other kind.
    """
    got = _what_is_at(path)
    if got not in (None, f"a plain {kind}"):
        raise InputError(
            f"{path}: must be a plain {kind}, since the run writes there, got {got}; allowed: a "
            f"plain {kind}, or nothing yet (a run folder may be a link, but contain none)"
        )


def check_run_folder(out: Path) -> None:
    """Refuse a run folder in which a run would write through a link.

    Raises:
        InputError: it holds a link, a pipe or the like, or is no folder; nothing was written.
    """
    check_no_url(out)
    if os.path.lexists(out) and not os.path.isdir(out):
        got = _what_is_at(out)
        if os.path.islink(out):
            got = f"{got}, which is no folder" if os.path.exists(out) else f"{got}, which is broken"
        raise InputError(
            f"{out}: must be a folder, got {got}; allowed: a run folder, a link to one, or nothing"
        )
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
    """Refuse links and the like where SQLite writes beside a database."""
    for suffix in SIDECARS:
        check_own(database.with_name(database.name + suffix), "file")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content, however large it is."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_regular(path: Path, where: str = "") -> None:
    """Refuse a pipe, a socket or a device where a file is to be read: it may never end.

    A link to a file and a file with a second name are as good as a file.

    Raises:
        InputError: it is one of these; what is missing, or a folder, the reader refuses itself.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # ValueError: a NUL in the path
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise InputError(f"{where or path}: must be a file, got a pipe, socket or device")


def check_all_regular(folder: Path, where: str) -> None:
    """Refuse a folder that a library reads whole, a model's, if it holds pipes or the like.

    Raises:
        InputError: one of its files, or of the folders right in it, is a pipe, socket or device.
    """
    for path in sorted((*folder.glob("*"), *folder.glob("*/*"))):
        check_regular(path, f"{where}: {path.relative_to(folder)}")


def is_plain_file(path: Path) -> bool:
    """Whether a path is a file, and neither a link nor a hard link."""
    return _what_is_at(path) == "a plain file"


def _what_is_at(path: Path) -> str | None:
    """Describe what is at a path; None if there is nothing, or if it cannot be seen."""
    try:
        status = path.lstat()
    except OSError:  # what cannot be seen cannot be written: the writer will report it
        return None
    if stat.S_ISLNK(status.st_mode):
        return f"a link to {os.readlink(path)}"
    if stat.S_ISDIR(status.st_mode):
        return "a plain folder"
    if not stat.S_ISREG(status.st_mode):
        return "a pipe, socket or device"
    return "a plain file" if status.st_nlink == 1 else "a hard link, a file with a second name"


def _umask() -> int:
    """Return the permissions denied for new files, which can only be read by setting them."""
    before = os.umask(0o077)
    os.umask(before)
    return before
