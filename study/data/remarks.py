"""Remarks on the data before training: which rows are left out or too long.

Examples that are too long are cut and counted, or refused if the study file says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from study.bases.load import load_tokenizer
from study.data.embedded import Pair, SentencePair
from study.data.readers import Corpus
from study.errors import InputError
from study.spec.sections import SPLITS, DataSpec, StudySpec


def check_languages(tokenizer: Any, data: DataSpec) -> None:
    """Raise InputError if a multilingual tokenizer does not know a language of the study."""
    if not hasattr(tokenizer, "src_lang"):
        return
    for key in ("source_language", "target_language"):
        code = getattr(data, key)
        if tokenizer.convert_tokens_to_ids(code) == tokenizer.unk_token_id:
            raise InputError(
                f"data.{key}: must be a language code of the base model's tokenizer, got {code!r}; "
                "allowed: codes such as eng_Latn, fra_Latn"
            )


def data_remarks(spec: StudySpec, corpus: Corpus[Any], location: str) -> list[str]:
    """Return a line per reason for leaving rows out, and one if texts are cut.

    Raises:
        InputError: texts are too long and the study file refuses that, or the tokenizer does not
            know the languages.
    """
    skipped = [f"{count:,} {reason} left out" for reason, count in corpus.skipped.items()]
    if spec.task_kind.prepare:  # the rows were counted in tokens when they were made
        return [*skipped, *corpus.remarks]
    tokenizer, config = load_tokenizer(location, spec.base)
    if spec.task_kind.names_languages:
        check_languages(tokenizer, spec.data)
    # a dialogue's special tokens belong to its template, not to the texts
    spare = len(tokenizer("")["input_ids"]) if spec.task_kind.writes_dialogues else 0
    remarks = skipped + length_remarks(corpus, tokenizer, config, spec.data, spare)
    if spec.diffusion is not None:
        remarks += answer_remarks(corpus, tokenizer, spec.data, spec.diffusion.length + spare)
    return remarks


# ---------------------------------------------------------------- lengths


def length_limit(tokenizer: Any, config: Any, max_tokens: int) -> int:
    """Return how many tokens a text may have: the study file's limit, or the model's if smaller."""
    positions = getattr(config, "max_position_embeddings", None) or max_tokens
    return min(max_tokens, int(tokenizer.model_max_length), int(positions))


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
    if not long:
        return 0
    sides = zip(*map(_texts, long), strict=True)
    counts = [[len(ids) for ids in _ids(tokenizer, texts)] for texts in sides]
    return sum(max(lengths) > limit for lengths in zip(*counts, strict=True))


def _texts(example: Any) -> tuple[Any, ...]:
    """Return what is tokenised together: both labelled sentences, or each side on its own."""
    if isinstance(example, SentencePair):
        return ((example.first, example.second),)
    assert isinstance(example, Pair)
    return (example.source, example.target)


def _bytes(text: Any) -> int:
    return sum(len(part.encode()) for part in (text if isinstance(text, tuple) else (text,)))


def _ids(tokenizer: Any, texts: Iterable[Any]) -> Any:
    return tokenizer(list(texts), truncation=False, verbose=False)["input_ids"]
