"""Read the corpus of a study as its task needs it."""

from __future__ import annotations

from typing import Any

from study.data.readers import Corpus
from study.kinds.table_names import imported
from study.spec.sections import StudySpec


def corpus_of(spec: StudySpec) -> Corpus[Any]:
    """Read what the study file's `[data]` names; InputError with one line per problem."""
    corpus: Corpus[Any] = imported(spec.task_kind.reader)(spec.data)
    if spec.task_kind.prepare:
        corpus = imported(spec.task_kind.prepare)(spec, corpus)
    return corpus
