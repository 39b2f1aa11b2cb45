"""Read the corpus of a study as its task needs it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from study.data.columns import file_remarks
from study.data.conversations import asked
from study.data.embedded import Pair
from study.data.readers import Corpus, copy_remarks
from study.kinds.table_names import imported
from study.spec.base_and_data import INSTRUCTION_WITHOUT_LANGUAGES
from study.spec.sections import StudySpec


def corpus_of(spec: StudySpec) -> Corpus[Any]:
    """Read what the study file's `[data]` names; InputError with one line per problem."""
    return _prepared(spec, read_corpus(spec))


def read_corpus(spec: StudySpec) -> Corpus[Any]:
    """Read the corpus as it is in its files, before a tokenizer writes it; imports no torch."""
    kind = spec.task_kind
    corpus: Corpus[Any] = imported(kind.reader)(spec.data)
    one_text = kind.reads_labels and corpus.unit == "texts"
    remarks = file_remarks(spec.data, corpus.columns, one_text=one_text)
    if spec.data.origin != "embedded":
        remarks += copy_remarks(corpus)
    if spec.data.instruction == INSTRUCTION_WITHOUT_LANGUAGES and kind.instructs:
        remarks.append(
            f"data.instruction = {spec.data.instruction!r}, since the study names no languages "
            "that are known; data.source_language and data.target_language name them"
        )
    if kind.reads_conversations and spec.data.instruction:
        remarks.append(
            f"data.instruction = {spec.data.instruction!r:.80} is the system message of every "
            f"one of the {corpus.unit} without its own"
        )
    return replace(corpus, remarks=(*corpus.remarks, *remarks)) if remarks else corpus


def corpus_to_answer(spec: StudySpec, text: str) -> Corpus[Any]:
    """Return a corpus of one dev example: a text that somebody wants answered."""
    reads_conversations = spec.task_kind.reads_conversations
    example = asked(text, spec.data.instruction) if reads_conversations else Pair(text, text)
    return _prepared(spec, Corpus(train=(), dev=(example,)))


def _prepared(spec: StudySpec, corpus: Corpus[Any]) -> Corpus[Any]:
    """Return the corpus as the task needs it: with the base's tokenizer, if it says so."""
    if spec.task_kind.prepare:
        corpus = imported(spec.task_kind.prepare)(spec, corpus)
    return corpus
