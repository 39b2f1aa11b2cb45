"""Texts as vectors: TF-IDF reduced by a singular value decomposition, or an encoder by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from study.data.curation.content import contents
from study.data.curation.records import Record
from study.errors import InputError

Vectors = NDArray[np.float32]
"""Shape (N, D)."""
Progress = Callable[[int, int], None]
"""Called with what is done and the total."""
DIMENSIONS = 100
"""What latent semantic analysis is usually reduced to."""
WORDS = 50_000


class Embed(Protocol):
    """Returns a vector of length 1 for each record's input, shape (N, D); says how far it is."""

    def __call__(self, records: Sequence[Record], seed: int, progress: Progress) -> Vectors:
        """Embed the inputs; whatever is drawn comes from the seed."""
        ...


def tfidf(records: Sequence[Record], seed: int, progress: Progress) -> Vectors:
    """Embed inputs by their own words: TF-IDF, then latent semantic analysis."""
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
    """Return the TF-IDF of texts whose words are spaced: sparse, (N, V), and its V words.

    Rows have length 1.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(
        token_pattern=r"\S+", sublinear_tf=True, max_features=WORDS, dtype=np.float32
    )
    matrix = vectorizer.fit_transform(texts)
    return matrix, list(vectorizer.get_feature_names_out())


class Encoder:
    """A sentence encoder of transformers: the mean of the last layer over a text's tokens.

    As sentence-transformers' default pooling (Reimers and Gurevych 2019).  Weights are read from
    safetensors only, and no code that comes with them is run.
    """

    BATCH_SIZE, MAX_TOKENS = 64, 512

    def __init__(self, location: str) -> None:
        """Load it from a folder or the hub.

        Raises:
            InputError: there is none, or transformers cannot load it.
        """
        self._model, self._tokenizer = _loaded(location)
        positions = getattr(self._model.config, "max_position_embeddings", self.MAX_TOKENS)
        self._max_tokens = min(self._tokenizer.model_max_length, positions, self.MAX_TOKENS)

    def __call__(self, records: Sequence[Record], seed: int, progress: Progress) -> Vectors:
        """Embed inputs, those of like length together; nothing is drawn from the seed."""
        import torch

        texts = [record.source for record in records]
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        found: list[Any] = [None] * len(texts)
        with torch.inference_mode():
            for start in range(0, len(order), self.BATCH_SIZE):
                rows = order[start : start + self.BATCH_SIZE]
                for i, vector in zip(rows, self._means([texts[i] for i in rows]), strict=True):
                    found[i] = vector
                progress(start + len(rows), len(order))
        return np.stack(found).astype(np.float32)

    def _means(self, texts: list[str]) -> NDArray[np.float32]:
        """Return (B, D): the states (B, T, D) averaged over each text's own tokens."""
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
    from study.bases.remote_code import refuse_named_code
    from study.engines.process_settings import be_one_quiet_thread
    from study.spec.sections import BaseModelSpec

    located(location, None, "--encoder")
    be_one_quiet_thread()
    try:
        refuse_named_code(location, BaseModelSpec())
        tokenizer = AutoTokenizer.from_pretrained(location, trust_remote_code=False)
        model, found = AutoModel.from_pretrained(
            location,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except Exception as error:  # transformers raises many kinds, all meaning: cannot be loaded
        message = " ".join(str(error).split())[:300]
        raise InputError(f"--encoder: cannot load {location!r}: {message}") from error
    lost = sorted(name for name in found["missing_keys"] if "pooler" not in name)
    if lost or model.config.is_encoder_decoder:
        got = f"has no weights for {lost[0]}" if lost else "is an encoder with a decoder"
        raise InputError(f"--encoder: {location!r} {got}; allowed: a sentence encoder")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    return model.eval().to("cuda" if torch.cuda.is_available() else "cpu"), tokenizer
