"""Remarks on the data before training: which rows are left out or too long.

Examples that are too long are cut and counted, or refused if the study file says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from study.bases.load import BaseModel
from study.data.embedded import Pair, SentencePair
from study.data.languages import check_languages, direction_remarks, language_ids
from study.data.readers import Corpus, skipped_remarks
from study.errors import InputError
from study.kinds.language_names import translation_instruction
from study.metrics.needs import check_references
from study.metrics.scripts import word_remarks
from study.spec.base_and_data import SPLITS, DataSpec
from study.spec.sections import StudySpec

POSITIONS = ("max_position_embeddings", "n_positions", "max_sequence_length", "max_seq_len")


def data_remarks(spec: StudySpec, corpus: Corpus[Any], base: BaseModel) -> list[str]:
    """Return lines on rows left out and on labels, and one if texts are cut.

    Raises:
        InputError: texts are too long and the study file refuses that, the tokenizer does not
            know the languages or columns have them in the other order, or a reference is not what
            a metric reads.
    """
    skipped = [*skipped_remarks(corpus), *corpus.remarks]
    if spec.task_kind.prepare:  # the rows were counted in tokens when they were made
        return skipped
    tokenizer, config = base.tokenizer, base.model.config
    if spec.task_kind.names_languages:
        check_languages(tokenizer, spec.data)
    if uses_languages(spec, tokenizer):
        skipped += direction_remarks(spec.data)
    # a dialogue's special tokens belong to its template, not to the texts
    spare = len(tokenizer("")["input_ids"]) if spec.task_kind.writes_dialogues else 0
    remarks = skipped + length_remarks(corpus, tokenizer, config, spec.data, spare)
    references = [e.label if isinstance(e, SentencePair) else e.target for e in corpus.dev]
    check_references(spec.evaluation, references)
    remarks += word_remarks(spec.evaluation, references)
    if spec.diffusion is not None:
        remarks += answer_remarks(corpus, tokenizer, spec.data, spec.diffusion.length + spare)
    return remarks


def uses_languages(spec: StudySpec, tokenizer: Any) -> bool:
    """Say whether a model is told the languages, by codes or in its instruction."""
    if spec.task_kind.names_languages:
        return language_ids(tokenizer) is not None
    data = spec.data
    asked = translation_instruction(data.source_language, data.target_language)
    return spec.task_kind.instructs and data.instruction == asked


# ---------------------------------------------------------------- lengths


def length_limit(tokenizer: Any, config: Any, max_tokens: int) -> int:
    """Return how many tokens a text may have: the study file's limit, or the model's if smaller."""
    return min(max_tokens, int(tokenizer.model_max_length), positions_of(config) or max_tokens)


def positions_of(config: Any) -> int | None:
    """Return how many positions a model has; None if its configuration sets no limit, as Bloom's.

    Architectures name it differently, and a model of text and images keeps it with its text.
    """
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    is_relative = hasattr(text, "relative_attention_num_buckets")  # T5's n_positions is no limit
    names = POSITIONS[:1] if is_relative else POSITIONS
    named = (getattr(text, name, None) for name in names)
    return next((int(count) for count in named if isinstance(count, int) and count > 0), None)


def too_long(corpus: Corpus[Any], tokenizer: Any, limit: int) -> dict[str, int]:
    """Return how many examples of each split have a text of more than `limit` tokens."""
    return {split: _longer(corpus.split(split), tokenizer, limit) for split in SPLITS}


def length_remarks(
    corpus: Corpus[Any], tokenizer: Any, config: Any, data: DataSpec, spare: int = 0
) -> list[str]:
    """Return one line if texts are cut, none if all fit.

    `spare` is the number of tokens that the tokenizer adds and the task does not count.

    Raises:
        InputError: some do not fit, and the study file refuses that.
    """
    limit = length_limit(tokenizer, config, data.max_tokens)
    counts = {split: n for split, n in too_long(corpus, tokenizer, limit + spare).items() if n}
    if not counts:
        return []
    counted = ", ".join(f"{n:,} of {len(corpus.split(s)):,} {s}" for s, n in counts.items())
    if data.too_long == "refuse":
        raise InputError(
            f"data: {counted} examples have more than {limit} tokens; allowed: "
            "data.too_long = 'truncate', or a larger data.max_tokens if the model reads more"
        )
    return [f"{counted} examples have more than {limit} tokens and are cut"]


def answer_remarks(corpus: Corpus[Any], tokenizer: Any, data: DataSpec, limit: int) -> list[str]:
    """Return one line if answers are longer than the generated length, none if all fit.

    Raises:
        InputError: some are longer, and the study file refuses that.
    """
    counts = {
        split: sum(len(ids) > limit for ids in _ids(tokenizer, (p.target for p in pairs)))
        for split in SPLITS
        if (pairs := corpus.split(split))
    }
    if not any(counts.values()):
        return []
    counted = ", ".join(f"{n:,} of {len(corpus.split(s)):,} {s}" for s, n in counts.items() if n)
    long = f"{counted} answers have more tokens than diffusion.length"
    if data.too_long == "refuse":
        raise InputError(
            f"data: {long}; allowed: data.too_long = 'truncate', or a larger diffusion.length"
        )
    return [f"{long} and are cut"]


def _longer(examples: Sequence[Any], tokenizer: Any, limit: int) -> int:
    # a token has at least one byte, so a text of fewer bytes fits: no need to tokenise it
    long = [e for e in examples if any(_bytes(text) > limit - 4 for text in _texts(e))]
    return sum(max(counts) > limit for counts in token_counts(long, tokenizer))


def token_counts(examples: Sequence[Any], tokenizer: Any) -> list[tuple[int, ...]]:
    """Return each example's tokens: of a labelled text or pair, or of source and target."""
    if not examples:
        return []
    sides = zip(*map(_texts, examples), strict=True)
    counts = [[len(ids) for ids in _ids(tokenizer, texts)] for texts in sides]
    return list(zip(*counts, strict=True))


def _texts(example: Any) -> tuple[Any, ...]:
    """Return what is tokenised together: a labelled text or pair, or each side on its own."""
    if isinstance(example, SentencePair):
        return (example.texts if example.second else example.first,)
    assert isinstance(example, Pair)
    return (example.source, example.target)


def _bytes(text: Any) -> int:
    return sum(len(part.encode()) for part in (text if isinstance(text, tuple) else (text,)))


def _ids(tokenizer: Any, texts: Iterable[Any]) -> Any:
    return tokenizer(list(texts), truncation=False, verbose=False)["input_ids"]
