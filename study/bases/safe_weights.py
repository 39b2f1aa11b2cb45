"""Check that weights are plain safetensors files before a library loads them.

If transformers, PEFT and sentence-transformers do not find a safetensors file of the expected name,
they load pickles.  They also load whatever an index names, and an adapter beside a model.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from study.bases.safe_configs import refuse_endless, refuse_other_files
from study.errors import InputError
from study.store.folders import check_all_regular

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
PLAIN_NAME = re.compile(r"[A-Za-z0-9_][\w.-]*\.safetensors", re.ASCII)
SUFFIXES = {".safetensors", ".bin", ".pt", ".pth", ".pkl", ".ckpt"}
MOST_INDEX_BYTES = 2**26  # a model of a trillion parameters needs a tenth of it
MOST_NAMED = 5
ADVICE = re.compile(r"trust_remote_code|use_safetensors|allow_all_kernels|trusted source")
"""Of libraries, to load a pickle or run code all the same."""


def check_model(location: str, where: str, revision: str | None = None) -> None:
    """Refuse a model, in a folder or on the hub, if anything else would be loaded.

    Args:
        location: A folder, or a name that the hub knows.
        where: The beginning of the error message.
        revision: The revision of a model on the hub.

    Raises:
        InputError: its weights are not its own plain safetensors files.
    """
    is_folder = os.path.isdir(location)
    if is_folder:
        check_all_regular(Path(location), where)
    find: Callable[[str], Path | None] = (
        partial(_in_folder, Path(location), where)
        if is_folder
        else partial(_on_hub, location, revision or "main")
    )
    if find(ADAPTER_CONFIG) is not None:
        raise InputError(
            f"{where}: holds an adapter, {ADAPTER_CONFIG}, that would be loaded over the model; "
            "merge it into the weights, or remove it from the folder"
        )
    config = _read(find("config.json"), where)
    refuse_endless(config, where)
    refuse_other_files(config, where)
    index = find(INDEX)
    shards = [] if index is None else shards_of(index, where)
    if is_folder and find(WEIGHTS) is None:
        for name in shards:
            if find(name) is None:
                raise InputError(f"{where}: {INDEX} names {name}, which does not exist")
        if not shards:
            raise _missing(Path(location), WEIGHTS, where)


def check_adapter(folder: Path) -> None:
    """Refuse an adapter's folder if PEFT would load anything but safetensors from it.

    Raises:
        InputError: the weights do not have the name that PEFT looks for.
    """
    check_all_regular(folder, str(folder))
    if _in_folder(folder, str(folder), ADAPTER_WEIGHTS) is None:
        raise _missing(folder, ADAPTER_WEIGHTS, str(folder))


def check_module(folder: Path, where: str) -> None:
    """Refuse pickled weights of a sentence-transformers module; it may have no weights.

    Raises:
        InputError: it has weights, but no safetensors file of the expected name.
    """
    if _in_folder(folder, where, WEIGHTS) is None and _weight_files(folder):
        raise _missing(folder, WEIGHTS, where)


def reason_in_words(error: Exception) -> str:
    """Return a library's error on one line, without its advice to be less careful."""
    message = " ".join(str(error).split())
    if "cannot be loaded with `safetensors`" in message:
        return "it has no *.safetensors file; pickled weights are not loaded"
    if "weights_only" in message:
        return "it has pickled weights, which are not loaded"
    if isinstance(error, KeyError):
        return f"in its files, {message:.80} is missing or not known"
    if "ignore_mismatched_sizes" in message:
        return "its weights have other shapes than its config.json says"
    sentences = re.split(r"(?<=[.!?;]) ", message)
    kept = " ".join(sentence for sentence in sentences if not ADVICE.search(sentence))
    return kept[:300] or "it needs code or weights that are not loaded"


def holds_weights(folder: Path) -> bool:
    """Return whether a folder holds a model's weights, in one file or in several."""
    return any((folder / name).is_file() for name in (WEIGHTS, INDEX))


def shards_of(index: Path, where: str) -> list[str]:
    """Return the files that an index names.

    Raises:
        InputError: it is not an index, or names anything but safetensors files beside it.
    """
    content = _read(index, where)
    weights = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not weights:
        raise InputError(f"{where}: {INDEX}: must be a JSON object with a weight_map")
    for name in weights.values():
        if not isinstance(name, str) or not PLAIN_NAME.fullmatch(name):
            raise InputError(
                f"{where}: {INDEX}: a file of weights must be named like "
                f"model-00001-of-00002.safetensors and lie beside the index, got {name!r:.80}; "
                "pickled weights are not loaded"
            )
    return sorted(set(weights.values()))


def _missing(folder: Path, wanted: str, where: str) -> InputError:
    got = _weight_files(folder)
    what = wanted if any(name.endswith(".safetensors") for name in got) else "*.safetensors file"
    shown = f", got {', '.join(got[:MOST_NAMED])}" if got else ""
    return InputError(
        f"{where}: no {what}{shown}; pickled weights are not loaded, "
        "convert them with save_pretrained(safe_serialization=True)"
    )


def _weight_files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix in SUFFIXES)


def _read(path: Path | None, where: str) -> Any:
    """Return a file's JSON; None if it has none, or if the library will report the error.

    Raises:
        InputError: an index is larger than any model's could be.
    """
    if path is None:
        return None
    if path.stat().st_size > MOST_INDEX_BYTES:
        raise InputError(f"{where}: {path.name}: larger than {MOST_INDEX_BYTES:,} bytes")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def _in_folder(folder: Path, where: str, name: str) -> Path | None:
    """Return the path of a file in a folder; None if nothing has that name.

    Raises:
        InputError: it is not a file, or a link that leads out of the folder.
    """
    path = folder / name
    if not os.path.lexists(path):
        return None
    real, home = Path(os.path.realpath(path)), Path(os.path.realpath(folder))
    snapshots = (parent for parent in home.parents if parent.name == "snapshots")
    # the Hugging Face cache links its snapshots to files in `blobs`
    blobs = [snapshot.parent / "blobs" for snapshot in snapshots]
    if not path.is_file() or not (home in real.parents or real.parent in blobs):
        raise InputError(
            f"{where}: {name}: must be a file in the folder, got a link that leads out of it, "
            "a pipe or a folder"
        )
    return path


def _on_hub(location: str, revision: str, name: str) -> Path | None:
    """Return the local copy of a file on the hub; None if the hub has none."""
    from transformers.utils import cached_file

    path = cached_file(
        location,
        name,
        revision=revision,
        _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return None if path is None else Path(path)
