"""Inputs as vectors: TF-IDF reduced by a singular value decomposition, or a named encoder.

A template writes the same words into all its inputs, so clusters of whole inputs would mostly
repeat the templates, by which records are sampled already.  TF-IDF therefore counts only the words
that an input does not share with its template.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from study.data.curation.instruction_records import Record
from study.errors import InputError, refusing
from study.hardware import device_kind

Vectors = NDArray[np.float32]
"""Shape (N, D)."""
CountCallback = Callable[[int, int], None]
"""Called with the number done and the total."""
DIMENSIONS = 100
"""The usual number for latent semantic analysis."""
WORDS = 50_000
TOKEN = re.compile(r"\w+|[^\w\s]")
"""A word or a single punctuation mark, so that every text has at least one."""
COMMON = 0.5
"""Words in more than this share of a template's inputs belong to the template."""


class Embed(Protocol):
    """Returns a unit vector for each record's input, shape (N, D), and reports its progress."""

    def __call__(self, records: Sequence[Record], seed: int, progress: CountCallback) -> Vectors:
        """Embed the inputs; all randomness comes from the seed."""
        ...


def tfidf(records: Sequence[Record], seed: int, progress: CountCallback) -> Vectors:
    """Embed inputs without their templates' words: TF-IDF, then latent semantic analysis."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.preprocessing import normalize

    matrix = word_weights(contents(records))[0]
    progress(1, 2)
    if min(matrix.shape) > DIMENSIONS:
        reduction = TruncatedSVD(DIMENSIONS, random_state=seed % 2**32)
        vectors = normalize(reduction.fit_transform(matrix))
    else:
        vectors = matrix.toarray()
    progress(2, 2)
    return np.asarray(vectors, dtype=np.float32)


def word_weights(texts: Sequence[str]) -> tuple[Any, Sequence[str]]:
    """Return the TF-IDF of texts with spaced words, sparse (N, V), and its V words.

    Rows have length 1.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(
        token_pattern=r"\S+", sublinear_tf=True, max_features=WORDS, dtype=np.float32
    )
    matrix = vectorizer.fit_transform(texts)
    return matrix, list(vectorizer.get_feature_names_out())


def contents(records: Sequence[Record]) -> list[str]:
    """Return each input's words without its template's, case-folded and separated by spaces.

    An input that has no other words keeps all of them.
    """
    inputs = [TOKEN.findall(record.source.casefold()) for record in records]
    by_template: dict[str, list[list[str]]] = defaultdict(list)
    for record, words in zip(records, inputs, strict=True):
        by_template[record.template].append(words)
    common = {name: _common(members) for name, members in by_template.items()}
    return [
        " ".join([word for word in words if word not in common[record.template]] or words)
        for record, words in zip(records, inputs, strict=True)
    ]


def _common(inputs: Sequence[Sequence[str]]) -> set[str]:
    counts = Counter(word for words in inputs for word in set(words))
    return {word for word, count in counts.items() if count > COMMON * len(inputs)}


class Encoder:
    """A sentence encoder of transformers: the mean of the last layer over a text's tokens.

    This is sentence-transformers' default pooling (Reimers and Gurevych 2019).  Weights are read
    from safetensors only, and custom code does not run.
    """

    BATCH_SIZE, MAX_TOKENS = 64, 512

    def __init__(self, location: str) -> None:
        """Load it from a folder or the hub.

        Raises:
            InputError: it does not exist, or transformers cannot load it.
        """
        self._model, self._tokenizer = _loaded(location)
        positions = getattr(self._model.config, "max_position_embeddings", self.MAX_TOKENS)
        self._max_tokens = min(self._tokenizer.model_max_length, positions, self.MAX_TOKENS)

    def __call__(self, records: Sequence[Record], seed: int, progress: CountCallback) -> Vectors:
        """Embed inputs of similar length together; the seed is not used."""
        import torch

        texts = [record.source for record in records]
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        vectors: list[Any] = [None] * len(texts)
        with torch.inference_mode():
            for start in range(0, len(order), self.BATCH_SIZE):
                rows = order[start : start + self.BATCH_SIZE]
                for i, vector in zip(rows, self._means([texts[i] for i in rows]), strict=True):
                    vectors[i] = vector
                progress(start + len(rows), len(order))
        return np.stack(vectors).astype(np.float32)

    def _means(self, texts: list[str]) -> NDArray[np.float32]:
        """Return (B, D): the states (B, T, D) averaged over each text's tokens."""
        from torch.nn.functional import normalize

        batch = self._tokenizer(
            texts, padding=True, truncation=True, max_length=self._max_tokens, return_tensors="pt"
        ).to(self._model.device)
        states = self._model(**batch).last_hidden_state
        mask = batch["attention_mask"].unsqueeze(-1).to(states.dtype)
        means = (states * mask).sum(1) / mask.sum(1).clamp(min=1)
        vectors: NDArray[np.float32] = normalize(means, dim=-1).float().cpu().numpy()
        return vectors


def _loaded(location: str) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModel, AutoTokenizer

    from study.bases.load import located
    from study.bases.safe_configs import refuse_named_code
    from study.bases.safe_weights import check_model, reason_in_words
    from study.engines.process_settings import be_one_quiet_thread

    located(location, None, "--encoder")
    be_one_quiet_thread()
    with refusing(f"--encoder: cannot load {location!r}", reason=reason_in_words):
        check_model(location, f"--encoder: {location}")
        refuse_named_code(location, f"--encoder: {location}")
        tokenizer = AutoTokenizer.from_pretrained(location, trust_remote_code=False)
        model, loading = AutoModel.from_pretrained(
            location,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    lost = sorted(name for name in loading["missing_keys"] if "pooler" not in name)
    if lost or model.config.is_encoder_decoder:
        got = f"has no weights for {lost[0]}" if lost else "is an encoder with a decoder"
        raise InputError(f"--encoder: {location!r} {got}; allowed: a sentence encoder")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    return model.eval().to(device_kind()), tokenizer
