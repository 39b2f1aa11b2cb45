"""Likeness in meaning: the cosine of sentence embeddings, by `sentence-transformers`.

Reimers and Gurevych 2019, "Sentence-BERT".  The encoder is named in the study file; a signature
holds the hash of its weights.  It runs on the CPU, so that a score does not depend on the machine's
accelerator.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from study.errors import InputError
from study.metrics.base import Array, TextOptions, of_examples

THRESHOLD = 0.5
KEY = "evaluation.encoder"
MODULES = ("Transformer", "Pooling", "Normalize", "Dense")
"""Others, such as Router and WordEmbeddings, import what their own configuration names."""
FILES = ("*.json", "*.txt", "*.safetensors", "*.model")  # neither pickles nor code


def cosine(
    outputs: Sequence[str], references: Sequence[str], options: TextOptions
) -> tuple[Array, str]:
    """(N, 2): the cosine of output and reference, 0 for an empty output, and 1."""
    found, encoder = _cosines(outputs, references, options)
    return of_examples(found), f"cosine|mean:example|empty:0|{encoder}"


def f1(
    outputs: Sequence[str], references: Sequence[str], options: TextOptions
) -> tuple[Array, str]:
    """(N, 3): whether the pair matches, whether something was said, and was to be said.

    An output says something unless it is empty, and what it says is right where its cosine with
    the reference reaches the threshold.  Precision is the share of outputs that are right, recall
    the share of references that were met: F1 = 2·right / (said + wanted).
    """
    found, encoder = _cosines(outputs, references, options)
    said, wanted = ([bool(text.strip()) for text in texts] for texts in (outputs, references))
    values = np.array([(found >= THRESHOLD) & said & wanted, said, wanted], dtype=np.float64).T
    return values.reshape(len(outputs), 3), f"semantic-f1|threshold:{THRESHOLD}|{encoder}"


def f1_scores(summed: Array) -> Array:
    """F1 of sums (..., 3); NaN where nothing was said and nothing wanted."""
    right, claims = summed[..., 0], summed[..., 1] + summed[..., 2]
    nan = np.full(np.shape(right), np.nan)
    return np.asarray(np.divide(2 * right, claims, out=nan, where=claims > 0))


def _cosines(
    outputs: Sequence[str], references: Sequence[str], options: TextOptions
) -> tuple[Array, str]:
    """Return the cosine (N,) of each pair, 0 where one of the two is empty, and the encoder."""
    if options.encoder is None:
        raise InputError(f"{KEY}: none is named; give a sentence-transformers model")
    model, signature = load_encoder(options.encoder)
    one, other = (_embeddings(model, tuple(texts)) for texts in (outputs, references))
    empty = [not (a.strip() and b.strip()) for a, b in zip(outputs, references, strict=True)]
    return np.where(empty, 0.0, (one * other).sum(axis=1)), signature


@lru_cache(maxsize=8)
def _embeddings(model: Any, texts: tuple[str, ...]) -> Array:
    """Return unit vectors (N, D); a split's references are encoded once for all trials."""
    found = model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)
    return np.asarray(found, dtype=np.float64).reshape(len(texts), -1)


@lru_cache(maxsize=1)
def load_encoder(name: str) -> tuple[Any, str]:
    """Return an encoder and its signature.

    Raises:
        InputError: it is nowhere to be found, or no sentence encoder with safetensors.
    """
    folder = encoder_folder(name)
    try:
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(
            str(folder),
            device="cpu",
            trust_remote_code=False,
            local_files_only=True,
            model_kwargs={"use_safetensors": True},
        )
    except Exception as error:  # the library raises many kinds, all meaning: cannot be loaded
        message = " ".join(str(error).split())[:300]
        raise InputError(f"{KEY}: cannot load {name!r}: {message}") from error
    library = version("sentence-transformers")
    called = Path(name).name if os.path.isdir(name) else name
    return model, f"encoder:{called}|sha256:{_digest(folder)}|sentence-transformers:{library}"


def encoder_folder(name: str) -> Path:
    """Return the encoder's folder; from the hub only configuration and safetensors are fetched.

    Raises:
        InputError: it is nowhere to be found, or holds anything else than a sentence encoder.
    """
    folder = Path(name) if os.path.isdir(name) else _from_hub(name)
    if any(folder.rglob("adapter_config.json")):
        raise InputError(f"{KEY}: {name}: holds an adapter_config.json; name a plain encoder")
    listed = folder / "modules.json"
    if not listed.is_file():
        raise InputError(f"{KEY}: {name}: no modules.json; not a sentence-transformers model")
    for module in json.loads(listed.read_text(encoding="utf-8")):
        kind = str(module.get("type", ""))
        if not kind.startswith("sentence_transformers.") or kind.split(".")[-1] not in MODULES:
            raise InputError(f"{KEY}: {name}: runs code of its own, {module.get('type')!r}")
        _check_pickles(name, folder / str(module.get("path", "")))
    return folder


def _check_pickles(name: str, folder: Path) -> None:
    """Refuse a module whose weights are pickled only."""
    pickled = sorted(file.name for file in folder.glob("*.bin"))
    if pickled and not any(folder.glob("*.safetensors")):
        raise InputError(
            f"{KEY}: {name}: no *.safetensors file beside {', '.join(pickled)}; pickled weights "
            "are not loaded, save the model anew with sentence-transformers"
        )


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download

    from study.bases.hub import check_reachable

    if Path(name).is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise InputError(f"{KEY}: no such folder, got {name!r}")
    check_reachable(name, "model", KEY)
    try:
        return Path(snapshot_download(name, allow_patterns=list(FILES)))
    except Exception as error:  # the hub's own kinds, and the HTTP library's
        message = " ".join(str(error).split())[:200]
        raise InputError(f"{KEY}: cannot fetch {name!r}: {message}") from None


def _digest(folder: Path) -> str:
    """Return a hash of all the weights."""
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*.safetensors")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]
