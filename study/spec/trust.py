"""The trust rule: what a stored study or an adapter names is neither run nor imported.

A study file that is given to a command is the user's own word.  A database, a run folder or an
adapter may come from anybody: what they say counts as data.  Every key of a study file that names
code is listed here, whatever is added later; `--trust-study` is the one way to allow them.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from study.errors import InputError, refusing, visible
from study.store.folders import check_regular

CODE_KEYS: Mapping[str, Callable[[Any], bool]] = {"base.trust_remote_code": bool}
"""Keys of a study file that can name code -> whether a value does."""

# ---------------------------------------------------------------- stored studies


def code_named(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a study file names to be run or imported: dotted key -> value."""
    values = {key: _value(document, key) for key in CODE_KEYS}
    return {key: value for key, value in values.items() if CODE_KEYS[key](value)}


def in_words(document: Mapping[str, Any]) -> str:
    """Return what `code_named` found as a line, and the model where it is a model's code."""
    found = code_named(document)
    parts = [f"{key} = {json.dumps(value)}" for key, value in found.items()]
    model = _value(document, "base.model")
    of_model = f" for base.model {model!r}" if "base.trust_remote_code" in found else ""
    return visible(", ".join(parts) + of_model)


def without_code(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a study file without the keys that name code."""
    kept = copy.deepcopy(dict(document))
    for key in code_named(document):
        *sections, last = key.split(".")
        table = kept
        for section in sections:
            table = table[section]
        del table[last]
    return kept


def refuse_code(document: Mapping[str, Any], where: str) -> None:
    """Raise InputError where a stored study names code that nobody has allowed."""
    if code_named(document):
        raise InputError(
            f"{where}: the stored study names code to run: {in_words(document)}; review that "
            "code, then add --trust-study (in Python: trust_study=True)"
        )


def _value(document: Mapping[str, Any], key: str) -> Any:
    found: Any = document
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


# ---------------------------------------------------------------- adapters

LARGEST = 65_536
PEFT_TYPES = ("LORA", "IA3", "PREFIX_TUNING")


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_names(value: Any) -> bool:
    """Names, one by one: a single text would be a regular expression."""
    return isinstance(value, list) and all(map(_is_text, value))


def _is_rows(value: Any) -> bool:
    rows = value.values() if isinstance(value, dict) else [value]
    return all(isinstance(r, list) and all(isinstance(i, int) for i in r) for r in rows)


ADAPTER_KEYS: Mapping[str, Callable[[Any], bool]] = {
    "peft_type": lambda value: value in PEFT_TYPES,
    "peft_version": _is_text,
    "base_model_name_or_path": _is_text,  # PEFT reads it only where no base is given: never here
    "revision": _is_text,
    "task_type": _is_text,
    "bias": _is_text,
    "target_modules": _is_names,
    "feedforward_modules": _is_names,
    "modules_to_save": _is_names,
    "trainable_token_indices": _is_rows,
    "megatron_core": lambda value: value == "megatron.core",  # PEFT's default, not imported
}
"""What an adapter's configuration may hold beside numbers and what is empty.

PEFT imports what `megatron_core` names, unpickles the caches of `corda_config` and
`lora_ga_config`, and takes the keys of `rank_pattern` for regular expressions.  So it gets to see
what this program writes, and nothing else.
"""


def checked_adapter_config(path: Path) -> dict[str, Any]:
    """Return an adapter's configuration; InputError where it names code, files or patterns."""
    check_regular(path)
    with refusing(f"{path}: invalid adapter configuration", OSError, ValueError, RecursionError):
        config = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(config, dict):
        raise InputError(f"{path}: invalid adapter configuration, got {str(config)[:60]}")
    for key, value in config.items():
        fits = ADAPTER_KEYS.get(key, _is_plain)
        if not (_is_empty(value) or fits(value)):
            raise InputError(
                f"{path}: {key}: not what optuna-study writes for an adapter, "
                f"got {json.dumps(value)[:60]}; PEFT is not given what may name code or files"
            )
    return config


def _is_empty(value: Any) -> bool:
    return value is None or value in ("", [], {})


def _is_plain(value: Any) -> bool:
    return isinstance(value, (bool, int, float)) and abs(value) <= LARGEST
