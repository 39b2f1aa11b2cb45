"""The corpus of a study: which reader its task needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from study.data.readers import Corpus, load_corpus, load_instructions
from study.data.sentence_pairs import load_sentence_pairs
from study.spec.sections import DataSpec, StudySpec

READERS: Mapping[str, Callable[[DataSpec], Corpus[Any]]] = {
    "translation": load_corpus,
    "causal_translation": load_corpus,
    "classification": load_sentence_pairs,
    "masked_diffusion": load_instructions,
}


def corpus_of(spec: StudySpec) -> Corpus[Any]:
    """Read what the study file's `[data]` names; InputError with one line a problem."""
    return READERS[spec.task](spec.data)
