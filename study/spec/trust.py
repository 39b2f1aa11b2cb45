"""The trust rule: never run or import code that a stored study or an adapter names.

A study file on the command line speaks for the user.  A database, a run folder or an adapter may
come from anybody, so its contents are only data.  List every study-file key that can name code
here; `--trust-study` is the only way to allow such code.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from study.errors import InputError, refusing, visible
from study.kinds.methods import METHODS
from study.kinds.metrics import OWN_FILE
from study.store.folders import check_regular


def _names_files(metrics: Any) -> bool:
    """Say whether a list of metrics has one that is a function of a file."""
    named = metrics if isinstance(metrics, list) else [metrics]
    return any(isinstance(name, str) and OWN_FILE.fullmatch(name) for name in named)


OF_TRAINING: Mapping[str, Callable[[Any], bool]] = {
    "own_task.name": bool,
    "evaluation.metrics": _names_files,
    "evaluation.command.run": bool,
}
"""Keys that name code which is run where models are trained and scored, and nowhere else."""
CODE_KEYS: Mapping[str, Callable[[Any], bool]] = {"base.trust_remote_code": bool, **OF_TRAINING}
"""Study-file keys that can name code -> a function that says whether a value does."""

# ---------------------------------------------------------------- stored studies


def code_named(document: Mapping[str, Any], scores: bool = True) -> dict[str, Any]:
    """Return the keys by which a study file names code: dotted key -> value.

    Without `scores`, those that matter only where models are trained and scored are left out.
    """
    values = {key: _value(document, key) for key in CODE_KEYS if scores or key not in OF_TRAINING}
    return {key: value for key, value in values.items() if CODE_KEYS[key](value)}


def in_words(document: Mapping[str, Any]) -> str:
    """Return the keys that name code as one line, with the model if the code is a model's."""
    code = code_named(document)
    parts = [f"{key} = {json.dumps(value)}" for key, value in code.items()]
    model = _value(document, "base.model")
    of_model = f" for base.model {model!r}" if "base.trust_remote_code" in code else ""
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
    if not kept.get("own_task", {}).get("name"):
        kept.pop("own_task", None)  # its folder and hash say nothing alone
    return kept


def refuse_code(document: Mapping[str, Any], where: str, scores: bool = True) -> None:
    """Raise InputError if a stored study names code; `scores` as in `code_named`."""
    if code := code_named(document, scores):
        named = f" or --task {code['own_task.name']}" if [*code] == ["own_task.name"] else ""
        raise InputError(
            f"{where}: the stored study names code to run: {in_words(document)}; review that "
            f"code, then add --trust-study (in Python: trust_study=True){named}"
        )


def _value(document: Mapping[str, Any], key: str) -> Any:
    value: Any = document
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


# ---------------------------------------------------------------- adapters

LARGEST = 65_536
TASK_TYPES = (
    *("SEQ_CLS", "SEQ_2_SEQ_LM", "CAUSAL_LM"),
    *("TOKEN_CLS", "QUESTION_ANS", "FEATURE_EXTRACTION"),
)


def peft_types() -> list[str]:
    """Return what PEFT calls the methods of METHODS, each once."""
    return [*dict.fromkeys(row.peft_type for row in METHODS.values() if row.peft_type is not None)]


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_names(value: Any) -> bool:
    """Say whether it is a list of names: PEFT takes a single string for a regular expression."""
    return isinstance(value, list) and all(map(_is_text, value))


def _is_rank(value: Any) -> bool:
    return type(value) is int and 1 <= value <= LARGEST


def _is_rows(value: Any) -> bool:
    rows = value.values() if isinstance(value, dict) else [value]
    return all(isinstance(r, list) and all(isinstance(i, int) for i in r) for r in rows)


AUTO_CLASSES = ("AutoModelForMaskedLM", "AutoModel", "AutoModelForCausalLM")


def _loaded_by(auto_class: str) -> dict[str, str]:
    return {"base_model_class": auto_class, "parent_library": "transformers"}


ADAPTER_KEYS: Mapping[str, Callable[[Any], bool]] = {
    "peft_type": lambda value: value in peft_types(),
    "peft_version": _is_text,
    "base_model_name_or_path": _is_text,  # PEFT reads it only without a base: never here
    "revision": _is_text,
    "task_type": lambda value: value in TASK_TYPES,
    "r": _is_rank,
    "bias": _is_text,
    "target_modules": _is_names,
    "target_parameters": _is_names,
    "auto_mapping": lambda value: value in [_loaded_by(name) for name in AUTO_CLASSES],
    "feedforward_modules": _is_names,
    "modules_to_save": _is_names,
    "trainable_token_indices": _is_rows,
    "megatron_core": lambda value: value == "megatron.core",  # PEFT's default, not imported
}
"""Keys that an adapter's configuration may set, beside numbers and empty values.

PEFT imports the module in `megatron_core`, unpickles the caches of `corda_config` and
`lora_ga_config`, and treats the keys of `rank_pattern` as regular expressions.  So PEFT is given
only what this program itself writes.
"""


def checked_adapter_config(path: Path) -> dict[str, Any]:
    """Return an adapter's configuration; InputError if it names code, files or patterns."""
    check_regular(path)
    with refusing(f"{path}: invalid adapter configuration", OSError, ValueError, RecursionError):
        config = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(config, dict):
        raise InputError(f"{path}: invalid adapter configuration, got {str(config)[:60]}")
    for key, value in config.items():
        fits = ADAPTER_KEYS.get(key, _is_plain)
        if not (_is_empty(value) or fits(value)):
            raise InputError(
                f"{path}: {key}: optuna-study never writes this value, "
                f"got {json.dumps(value)[:60]}; refused because it may name code or files"
            )
    return config


def _is_empty(value: Any) -> bool:
    return value is None or value in ("", [], {})


def _is_plain(value: Any) -> bool:
    return isinstance(value, (bool, int, float)) and abs(value) <= LARGEST
