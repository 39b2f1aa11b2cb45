"""Python files of the user, which hold a metric or a task: hashed, and imported once."""

from __future__ import annotations

import importlib.util
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

from study.errors import InputError, reason_of, refusing
from study.store.folders import check_regular, sha256

FAILURES = (Exception, SystemExit)  # what the user's code may raise; it must not end the study


def sha256_of(path: Path, key: str, before: str | None = None) -> str:
    """Return a file's digest; an InputError begins with `key`, which names the file.

    Raises:
        InputError: the file cannot be read, or its digest differs from `before`, the study's.
    """
    with refusing(f"{key}: {path}: cannot read the file", OSError, ValueError):
        check_regular(path, f"{key}: {path}")
        digest = sha256(path)
    if before not in (None, digest):
        raise InputError(
            f"{key}: {path}: its content changed since the study began; restore it, or run the "
            "study file again, which says whether the study can go on"
        )
    return digest


@lru_cache(maxsize=64)
def imported_file(path: Path, digest: str, key: str) -> Any:
    """Import a file once for each of its contents; it may import its neighbours.

    Raises:
        InputError: it cannot be imported.
    """
    found = importlib.util.spec_from_file_location(f"own_file_{digest[:12]}", path)
    assert found is not None
    assert found.loader is not None
    folder = str(path.parent)
    if folder not in sys.path:
        sys.path.append(folder)  # last, so that none of its files hides a package
    module = importlib.util.module_from_spec(found)
    sys.modules[module.__name__] = module  # where dataclasses look for it
    try:
        found.loader.exec_module(module)
    except FAILURES as error:
        del sys.modules[module.__name__]
        raise InputError(f"{key}: {path}: cannot import the file: {raised(error)}") from None
    return module


def raised(error: BaseException) -> str:
    """Return what the user's code raised, in one line."""
    reason = reason_of(error) if isinstance(error, Exception) else str(error)
    return f"{type(error).__name__}: {reason}"
