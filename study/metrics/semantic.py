"""Similarity of meaning: the cosine of sentence embeddings, by `sentence-transformers`.

Reimers and Gurevych 2019, "Sentence-BERT".  The study file names the encoder; the signature
contains the hash of its weights.  It runs on the CPU, so that scores do not depend on the machine's
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

from study.bases.safe_configs import refuse_kernels, refuse_named_code
from study.bases.safe_weights import check_model, check_module, reason_in_words
from study.errors import InputError, refusing
from study.kinds.metrics import Array, TextOptions
from study.metrics.means import of_examples
from study.store.folders import check_all_regular

THRESHOLD = 0.5
KEY = "evaluation.encoder"
MODULES = ("Transformer", "Pooling", "Dense", "Normalize", "LayerNorm", "Dropout")
"""Modules of sentence-transformers that read no other files and contain no other modules."""
OF_MODEL = {"attn_implementation", "dtype", "torch_dtype", "add_pooling_layer"}
OF_TOKENIZER = {"padding_side", "model_max_length", "use_fast"}
OPTIONS: Mapping[str, set[str]] = {
    **dict.fromkeys(("model_args", "model_kwargs", "config_args", "config_kwargs"), OF_MODEL),
    **dict.fromkeys(("tokenizer_args", "processor_kwargs"), OF_TOKENIZER),
}
"""Keys of sentence_bert_config.json that are passed on to transformers, and what they may hold."""
PLAIN_KEYS = {
    *("max_seq_length", "do_lower_case", "transformer_task", "modality_config"),
    *("module_output_name", "processing_kwargs", "unpad_inputs"),
    *("query_length", "document_length", "query_expansion"),
}
"""Its other keys, which name no file, model or code."""
METHOD = re.compile(r"forward|get_[a-z]+_features")
"""Of a transformers model, which `modality_config` may have called on a text."""
PLAIN_FOLDER = re.compile(r"([A-Za-z0-9][\w.-]*)?", re.ASCII)
FILES = ("*.json", "*.txt", "*.safetensors", "*.model")  # neither pickles nor code


def cosine(
    outputs: Sequence[str], references: Sequence[str], options: TextOptions
) -> tuple[Array, str]:
    """(N, 2): the cosine of output and reference, 0 for an empty output, and 1."""
    cosines, encoder = _cosines(outputs, references, options)
    return of_examples(cosines), f"cosine|mean:example|empty:0|{encoder}"


def f1(
    outputs: Sequence[str], references: Sequence[str], options: TextOptions
) -> tuple[Array, str]:
    """(N, 3): whether the output is right, is not empty, and has a reference that is not empty.

    An output is right if its cosine with the reference reaches the threshold.  Precision is the
    share of right outputs among those that are not empty, recall among the references:
    F1 = 2·right / (outputs + references).
    """
    cosines, encoder = _cosines(outputs, references, options)
    answered, expected = ([bool(t.strip()) for t in texts] for texts in (outputs, references))
    right = (cosines >= THRESHOLD) & answered & expected
    values = np.array([right, answered, expected], dtype=np.float64).T
    return values.reshape(len(outputs), 3), f"semantic-f1|threshold:{THRESHOLD}|{encoder}"


def f1_scores(summed: Array) -> Array:
    """F1 of sums (..., 3); NaN if all outputs and references are empty."""
    right, claims = summed[..., 0], summed[..., 1] + summed[..., 2]
    nan = np.full(np.shape(right), np.nan)
    return np.asarray(np.divide(2 * right, claims, out=nan, where=claims > 0))


def _cosines(
    outputs: Sequence[str], references: Sequence[str], options: TextOptions
) -> tuple[Array, str]:
    """Return the cosine (N,) of each pair, 0 if one text is empty, and the encoder."""
    if options.encoder is None:
        raise InputError(f"{KEY}: must name a sentence-transformers model, got none")
    model, signature = load_encoder(options.encoder)
    one, other = (_embeddings(model, tuple(texts)) for texts in (outputs, references))
    empty = [not (a.strip() and b.strip()) for a, b in zip(outputs, references, strict=True)]
    return np.where(empty, 0.0, (one * other).sum(axis=1)), signature


@lru_cache(maxsize=8)
def _embeddings(model: Any, texts: tuple[str, ...]) -> Array:
    """Return unit vectors (N, D); a split's references are encoded once for all trials."""
    vectors = model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)
    return np.asarray(vectors, dtype=np.float64).reshape(len(texts), -1)


@lru_cache(maxsize=1)
def load_encoder(name: str) -> tuple[Any, str]:
    """Return an encoder and its signature.

    Raises:
        InputError: it does not exist, or is not a sentence encoder with safetensors.
    """
    folder = encoder_folder(name)
    with refusing(f"{KEY}: cannot load {name!r}", reason=reason_in_words):
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
        InputError: it does not exist, or is not a plain sentence encoder.
    """
    folder = Path(name) if os.path.isdir(name) else _from_hub(name)
    check_all_regular(folder, f"{KEY}: {name}")
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
    """Refuse a module that runs code, is outside the folder, or has pickled weights."""
    where, kind, path = f"{KEY}: {name}", str(module.get("type", "")), str(module.get("path", ""))
    if not kind.startswith("sentence_transformers."):
        raise InputError(f"{where}: runs custom code, {kind!r}; allowed: sentence_transformers")
    if kind.rpartition(".")[2] not in MODULES:
        raise InputError(f"{where}: modules.json: got {kind!r}; allowed: {', '.join(MODULES)}")
    if not PLAIN_FOLDER.fullmatch(path):
        raise InputError(f"{where}: modules.json: a path must be a folder's name, got {path!r}")
    place = folder / path
    if kind.endswith(".Transformer"):
        _check_options(where, place)
        check_model(str(place), where)
        with refusing(f"{where}: cannot load its config.json", reason=reason_in_words):
            refuse_named_code(str(place), where)
    elif place.is_dir():
        check_module(place, where)


def _check_options(where: str, folder: Path) -> None:
    """Refuse options that would choose other files or code; the library passes them on."""
    for file in sorted(folder.glob("sentence_*_config.json")):
        found, told = _read(where, file), f"{where}: {file.name}"
        _check_keys(told, found, PLAIN_KEYS | set(OPTIONS))
        for key, allowed in OPTIONS.items():
            _check_keys(f"{told}: {key}", found.get(key) or {}, allowed)
        refuse_kernels(found, where, file.name)
        _check_methods(f"{told}: modality_config", found.get("modality_config") or {})


def _check_keys(where: str, found: Any, allowed: set[str]) -> None:
    if not isinstance(found, dict):
        raise InputError(f"{where}: must be a JSON object, got {found!r:.80}")
    if foreign := sorted(set(found) - allowed):
        raise InputError(f"{where}: got {foreign[0]!r:.80}; allowed: {', '.join(sorted(allowed))}")


def _check_methods(where: str, found: Any) -> None:
    """Refuse other methods of a model than those that embed: some write or load files."""
    if not isinstance(found, dict) or not all(isinstance(each, dict) for each in found.values()):
        raise InputError(f"{where}: must be a JSON object of objects, got {found!r:.80}")
    for each in found.values():
        if not METHOD.fullmatch(str(each.get("method", "forward"))):
            raise InputError(
                f"{where}: method: got {each['method']!r:.80}; "
                "allowed: forward, get_text_features and the like"
            )


def _read(where: str, path: Path) -> Any:
    if not path.is_file():  # a pipe would be read without end
        raise InputError(f"{where}: {path.name}: must be a file")
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
    """Return a hash of all weights."""
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*.safetensors")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]
