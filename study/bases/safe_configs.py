"""What a model's configuration may not name: other weights, kernels, code, endless layers.

transformers passes each part of a configuration on to the model that it describes, so every rule
holds at any depth.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from study.errors import InputError

OTHER_FILES = ("transformers_weights", "configuration_files")
"""Keys that make transformers load weights, or a configuration, which nobody has looked at."""
BUILT_IN = (None, "eager", "sdpa", "grouped_mm", "batched_mm")
"""Implementations of layers that transformers and torch have; it looks on the hub for others."""
IMPLEMENTATION = ("_implementation", "_implementation_internal")
PARTS, MOST_PARTS = re.compile(r".*(layers?|experts)"), 10_000
"""Keys that say how many parts a model has, and the most that are built."""
NO_KERNEL = "cache_implementation"  # of generation: its names are all transformers' own


def refuse_named_code(
    location: str, where: str, revision: str | None = None, *, trusted: bool = False
) -> None:
    """Raise InputError, which begins with `where`, if a model names kernels or other weights.

    It looks at what transformers makes of the files, just before it loads them.  Kernels are
    allowed where the study file allows the model's code.
    """
    from transformers import PreTrainedConfig

    config, _ = PreTrainedConfig.get_config_dict(location, revision=revision or "main")
    refuse_other_files(config, where)
    if not trusted:
        refuse_kernels(config, where)


def refuse_other_files(config: Any, where: str) -> None:
    """Raise InputError where a configuration leads to other weights or another configuration."""
    for key, value in _entries(config):
        if key in OTHER_FILES and value is not None:
            raise InputError(
                f"{where}: config.json: {key}: got {value!r:.80}; allowed: no such key, the "
                "configuration is config.json, and the weights are in model.safetensors or in "
                "what model.safetensors.index.json names"
            )


def refuse_kernels(config: Any, where: str, file: str = "config.json") -> None:
    """Raise InputError where a configuration takes the code of its layers from elsewhere."""
    for key, value in _entries(config):
        if not key.endswith(IMPLEMENTATION) or key == NO_KERNEL:
            continue
        for name in _leaves(value):
            if name not in BUILT_IN:
                allowed = ", ".join(str(each) for each in BUILT_IN if each)
                raise InputError(
                    f"{where}: {file}: {key}: names the kernel {name!r:.80}, which may be code "
                    f"from the hub; allowed: {allowed}, or no such key"
                )


def refuse_endless(config: Any, where: str) -> None:
    """Raise InputError where a configuration names more parts than any model has.

    Each is built before the weights are looked at: a million layers take minutes and gigabytes.
    """
    for key, value in _entries(config):
        if PARTS.fullmatch(key) and isinstance(value, int) and value > MOST_PARTS:
            raise InputError(
                f"{where}: config.json: {key}: must be at most {MOST_PARTS:,}, got {value!s:.20}"
            )


def refuse_own_code(config: Any, where: str) -> None:
    """Raise InputError where a configuration maps classes to code that comes with the model."""
    for key, value in _entries(config):
        if key == "auto_map" and value:
            raise InputError(
                f"{where}: config.json: auto_map: got {value!r:.80}; allowed: no such key, "
                "because it names code to import"
            )


def _entries(config: Any) -> Iterator[tuple[str, Any]]:
    """Yield every key and value of a configuration, at any depth."""
    waiting = [config]
    while waiting:  # no recursion: a file may be nested as deeply as JSON allows
        value = waiting.pop()
        if isinstance(value, Mapping):
            yield from ((str(key), each) for key, each in value.items())
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def _leaves(value: Any) -> Iterator[Any]:
    """Yield the values that are no dictionaries or lists, at any depth."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping | list):
            waiting.extend(value.values() if isinstance(value, Mapping) else value)
        else:
            yield value
