"""`method.init_adapter`: what an existing adapter fixes in a study that continues it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from study.errors import InputError, refusing
from study.store.folders import check_regular, sha256

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX, ENDING = "base_model.model.", ".lora_A.weight"
FIXED = ("rank", "alpha", "use_rslora", "target_modules", "init_lora_weights", "pissa_niter")
"""Hyperparameters that the adapter fixes."""
PLAIN = {
    "bias": "none",
    "use_dora": False,
    "modules_to_save": None,
    "trainable_token_indices": None,
    "target_parameters": None,
    "rank_pattern": {},
    "alpha_pattern": {},
    "lora_bias": False,
    "use_qalora": False,
    "use_bdlora": None,
    "layer_replication": None,
    "alora_invocation_tokens": None,
}
"""Fields of PEFT's configuration that an adapter must leave at these values."""


def resolve_init_adapter(document: dict[str, Any], folder: Path, where: str) -> None:
    """Give `[method]` what its adapter fixes, and leave that out of the default search space.

    Raises:
        InputError: the adapter cannot be continued, or the file gives one of these values itself.
    """
    method, key = document.get("method"), f"{where}: method.init_adapter"
    if not isinstance(method, dict) or not isinstance(method.get("init_adapter"), str):
        return
    with refusing(f"{key}: invalid path", OSError, RuntimeError, ValueError):
        path = (folder / Path(method["init_adapter"]).expanduser()).resolve()
    facts = adapter_facts(path, key)
    for name, value in facts.items():
        if method.get(name, value) != value:
            raise InputError(
                f"{where}: method.{name}: the adapter in method.init_adapter fixes it at "
                f"{value!r}, got {method[name]!r}; leave it out"
            )
    method |= {"init_adapter": str(path), **facts}


def without_fixed(parameters: Mapping[str, Any], document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the default space without what an adapter fixes."""
    method = document.get("method")
    if not isinstance(method, dict) or "init_adapter" not in method:
        return dict(parameters)
    return {name: value for name, value in parameters.items() if name not in FIXED}


def adapter_facts(folder: Path, where: str) -> dict[str, Any]:
    """Return the values of `[method]` that a LoRA in PEFT's format fixes, and its weights' hash.

    Raises:
        InputError: it is no LoRA with safetensors weights, or has more than plain LoRA has.
    """
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise InputError(f"{where}: needs a folder with {CONFIG} and {WEIGHTS}, got {folder}")
        check_regular(folder / name)
    path = folder / CONFIG
    with refusing(f"{where}: {path}: invalid", OSError, ValueError, RecursionError):
        config = json.loads(path.read_text(encoding="utf-8"))
        digest = sha256(folder / WEIGHTS)
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        kind = config.get("peft_type") if isinstance(config, dict) else config
        raise InputError(f"{where}: {path}: peft_type must be 'LORA', got {kind!r:.60}")
    for name, plain in PLAIN.items():
        if config.get(name) not in (plain, None, [], {}, False):
            raise InputError(
                f"{where}: {path}: only plain LoRA can be continued, with {name} = {plain!r}, got "
                f"{config[name]!r:.60}"
            )
    rank: Any = config.get("r")
    alpha: Any = config.get("lora_alpha")
    if not _is_positive(rank, int) or not _is_positive(alpha, (int, float)):
        got = f"{rank!r:.60}, {alpha!r:.60}"
        raise InputError(f"{where}: {path}: r and lora_alpha must be positive numbers, got {got}")
    named = config.get("target_modules")
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        named = module_names(folder / WEIGHTS, where)  # "all-linear", or a pattern
    return {
        "rank": rank,
        "alpha": float(alpha),
        "use_rslora": bool(config.get("use_rslora")),
        "target_modules": ",".join(sorted(named)),
        "init_adapter_sha256": digest,
    }


def _is_positive(value: Any, kind: type | tuple[type, ...]) -> bool:
    is_number = isinstance(value, kind) and not isinstance(value, bool)
    return is_number and 0 < value <= sys.float_info.max


def module_names(weights: Path, where: str) -> list[str]:
    """Return the modules that a file of weights adapts, from its header alone."""
    from safetensors import safe_open

    with refusing(f"{where}: {weights}: no safetensors file"), safe_open(weights, "np") as file:
        names = list(file.keys())
    return sorted(
        name.removeprefix(PREFIX).removesuffix(ENDING) for name in names if name.endswith(ENDING)
    )
