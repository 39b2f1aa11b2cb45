"""The cache of trained miniatures: folders that are complete or absent, each built once."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from study.errors import reason_of, refusing
from study.store.folders import appearing_whole, check_own, sha256

MANIFEST = "base.json"
LIBRARIES = ("torch", "transformers", "tokenizers")
"""The libraries that compute the weights, define the model and learn the vocabulary."""


def default_cache() -> Path:
    """Return the cache's folder: $OPTUNA_STUDY_CACHE, or else ~/.cache/optuna-study."""
    named = os.environ.get("OPTUNA_STUDY_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "optuna-study"


def cached(name: str, build: Callable[[Path], None], cache: Path | None = None) -> Path:
    """Return the folder `name` of the cache; `build` writes it on first use.

    If two processes need it at the same time, one builds it; a damaged folder is rebuilt.
    """
    cache = cache or default_cache()
    folder = cache / name
    lock = FileLock(f"{folder}.lock")
    with _writing(cache):
        cache.mkdir(parents=True, exist_ok=True)
        check_own(folder, "folder")
        check_own(Path(lock.lock_file), "file")
        lock.acquire()
    try:
        if not is_intact(folder):
            shutil.rmtree(folder, ignore_errors=True)
            build(folder)
    finally:
        lock.release()
    return folder


def _writing(cache: Path) -> AbstractContextManager[None]:
    """Name the cache where it cannot be written, whatever else the command was to write."""

    def reason(error: Exception) -> str:
        return f"{reason_of(error)}; set OPTUNA_STUDY_CACHE to a folder that can be written"

    return refusing(f"{cache}: cannot write the cache of base models", OSError, reason=reason)


@contextmanager
def whole_folder(folder: Path, facts: Mapping[str, Any]) -> Iterator[Path]:
    """Yield an unfinished folder, which becomes `folder`, with a manifest, when all is written.

    Raises FileExistsError if `folder` exists.
    """
    if folder.exists():
        raise FileExistsError(f"{folder}: exists already; name a new folder")
    with appearing_whole(folder) as unfinished:
        yield unfinished
        files = {path.name: sha256(path) for path in sorted(unfinished.iterdir())}
        manifest = {**facts, "versions": library_versions(), "files": files}
        (unfinished / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def is_intact(folder: Path) -> bool:
    """Return whether `folder` is byte for byte as `whole_folder` left it."""
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        return all(sha256(folder / name) == digest for name, digest in files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def library_versions() -> dict[str, str]:
    """Return the exact versions of the libraries that build a miniature."""
    return {name: importlib.metadata.version(name) for name in LIBRARIES}
