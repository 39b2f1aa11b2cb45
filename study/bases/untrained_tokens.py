"""Tokens whose embedding nobody trained: an adapter cannot tell them from one another.

A base model's vocabulary holds the special tokens of its chat models, and many in reserve.  Their
rows were never trained and are nearly the same, so a model that should end an answer with one of
them ends it with any.  Gemma 3's pretrained models are such: thousands of rows resemble that of
`<end_of_turn>`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

HEAD = ("lm_head.weight", "embed_out.weight", "output.weight")
EMBEDDING = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight")
ALIKE = 0.9  # cosine of two rows; those of trained tokens are below 0.85 in Gemma 3
MANY_ALIKE = 20
CHUNK = 16384  # rows


def looks_untrained(location: str, token: int) -> bool:
    """Return whether many other tokens have nearly the same row in a model's output layer.

    It reads that layer alone, from safetensors in a folder or in the hub's cache; False where there
    is none to read.
    """
    from safetensors import SafetensorError, safe_open

    names: dict[str, Path] = {}
    for file in _weights(location):
        try:
            with safe_open(file, "pt") as weights:
                names |= dict.fromkeys(weights.keys(), file)
        except (OSError, SafetensorError):
            return False
    for ending in (*HEAD, *EMBEDDING):
        for name, file in names.items():
            if name.endswith(ending):
                with safe_open(file, "pt") as weights:
                    return _alike(weights.get_slice(name), token) >= MANY_ALIKE
    return False


def _weights(location: str) -> list[Path]:
    """Return the weights in a folder, or of a hub's model those that are cached."""
    folder = Path(location)
    if not folder.is_dir():
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(location, "config.json")
        if not isinstance(cached, str):
            return []
        folder = Path(cached).parent
    return [file for file in sorted(folder.glob("*.safetensors")) if file.is_file()]


def _alike(rows: Any, token: int) -> int:
    """Return how many rows have nearly the direction of a token's."""
    count, shape = 0, rows.get_shape()
    if len(shape) != 2 or token >= shape[0]:
        return 0
    own = torch.nn.functional.normalize(rows[token : token + 1].float(), dim=1)
    for first in range(0, shape[0], CHUNK):
        part = torch.nn.functional.normalize(rows[first : first + CHUNK].float(), dim=1)
        count += int((part @ own.T > ALIKE).sum())
    return count - 1
