"""Likeness in meaning: the cosine of sentence embeddings, by `sentence-transformers`.

Reimers and Gurevych 2019, "Sentence-BERT".  The encoder is named in the study file; a signature
holds the hash of its weights.  It runs on the CPU, so that a score does not depend on the machine's
accelerator.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from study.bases.safe_weights import check_model, check_module
from study.errors import InputError, refusing
from study.metrics.base import Array, TextOptions, of_examples
from study.store.folders import check_all_regular

THRESHOLD = 0.5
KEY = "evaluation.encoder"
MODULES = ("Transformer", "Pooling", "Dense", "Normalize", "LayerNorm", "Dropout")
"""Of sentence-transformers: others read further files, or hold modules listed elsewhere."""
OPTIONS = {"attn_implementation", "dtype", "torch_dtype", "add_pooling_layer"}
PLAIN_FOLDER = re.compile(r"([A-Za-z0-9][\w.-]*)?", re.ASCII)
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
    with refusing(f"{KEY}: cannot load {name!r}"):
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(
            str(folder),
            device="cpu",
            trust_remote_code=False,
            local_files_only=True,
            model_kwargs={"use_safetensors": True},
        )
    library = version("sentence-transformers")
    called = Path(name).name if os.path.isdir(name) else name
    return model, f"encoder:{called}|sha256:{_digest(folder)}|sentence-transformers:{library}"


def encoder_folder(name: str) -> Path:
    """Return the encoder's folder; from the hub only configuration and safetensors are fetched.

    Raises:
        InputError: it is nowhere to be found, or holds anything else than a sentence encoder.
    """
    folder = Path(name) if os.path.isdir(name) else _from_hub(name)
    check_all_regular(folder)
    if any(folder.rglob("adapter_config.json")):
        raise InputError(f"{KEY}: {name}: holds an adapter_config.json; name a plain encoder")
    listed = folder / "modules.json"
    if not listed.is_file():
        raise InputError(f"{KEY}: {name}: no modules.json; not a sentence-transformers model")
    modules = _read(f"{KEY}: {name}", listed)
    if not isinstance(modules, list) or not all(isinstance(module, dict) for module in modules):
        raise InputError(f"{KEY}: {name}: modules.json must be a list of objects")
    for module in modules:
        _check_module(name, folder, module)
    return folder


def _check_module(name: str, folder: Path, module: Mapping[str, Any]) -> None:
    """Refuse a module that runs code, lies elsewhere, or whose weights are pickled."""
    where, kind, path = f"{KEY}: {name}", str(module.get("type", "")), str(module.get("path", ""))
    if not kind.startswith("sentence_transformers."):
        raise InputError(f"{where}: runs code of its own, {kind!r}")
    if kind.rpartition(".")[2] not in MODULES:
        raise InputError(f"{where}: modules.json: got {kind!r}; allowed: {', '.join(MODULES)}")
    if not PLAIN_FOLDER.fullmatch(path):
        raise InputError(f"{where}: modules.json: a path must be a folder's name, got {path!r}")
    place = folder / path
    if kind.endswith(".Transformer"):
        _check_options(where, place)
        check_model(str(place), where)
    elif place.is_dir():
        check_module(place, where)


def _check_options(where: str, folder: Path) -> None:
    """Refuse options that would choose other weights; the library passes them to transformers."""
    for file in sorted(folder.glob("sentence_*_config.json")):
        found = _read(where, file)
        for key in ("model_args", "model_kwargs", "config_args", "config_kwargs"):
            options = found.get(key) if isinstance(found, dict) else None
            foreign = sorted(set(options) - OPTIONS) if isinstance(options, dict) else []
            if foreign:
                raise InputError(
                    f"{where}: {file.name}: {key}: got {foreign[0]!r}; "
                    f"allowed: {', '.join(sorted(OPTIONS))}"
                )


def _read(where: str, path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{where}: {path.name}: cannot be read: {error}") from None


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download

    from study.bases.hub import check_reachable

    if Path(name).is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise InputError(f"{KEY}: no such folder, got {name!r}")
    check_reachable(name, "model", KEY)
    with refusing(f"{KEY}: cannot fetch {name!r}"):
        return Path(snapshot_download(name, allow_patterns=list(FILES)))


def _digest(folder: Path) -> str:
    """Return a hash of all the weights."""
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*.safetensors")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]
