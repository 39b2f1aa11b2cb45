"""What a person should know of the data: what was left out, and what is cut."""

from __future__ import annotations

from typing import Any

from study.bases.load import load_tokenizer
from study.data.lengths import answer_remarks, length_remarks
from study.data.readers import Corpus
from study.errors import InputError
from study.spec.sections import DataSpec, StudySpec


def check_languages(tokenizer: Any, data: DataSpec) -> None:
    """Raise InputError where a multilingual tokenizer has no such language."""
    if not hasattr(tokenizer, "src_lang"):
        return
    for key in ("source_language", "target_language"):
        code = getattr(data, key)
        if tokenizer.convert_tokens_to_ids(code) == tokenizer.unk_token_id:
            raise InputError(
                f"data.{key}: {code!r} is no language code of the base model's tokenizer; "
                "allowed: codes such as eng_Latn, fra_Latn"
            )


def data_remarks(spec: StudySpec, corpus: Corpus[Any], location: str) -> list[str]:
    """Return a line for every kind of row that was left out, and one where texts are cut.

    Raises:
        InputError: texts are too long, and the study file refuses that; the tokenizer does not know
            a language, or there is none.
    """
    skipped = [f"{count:,} {reason} left out" for reason, count in corpus.skipped.items()]
    tokenizer, config = load_tokenizer(location, spec.base)
    if spec.task_kind.names_languages:
        check_languages(tokenizer, spec.data)
    # a dialogue's marks are its template's, and no part of either text
    spare = len(tokenizer("")["input_ids"]) if spec.task_kind.writes_dialogues else 0
    remarks = skipped + length_remarks(corpus, tokenizer, config, spec.data, spare)
    if spec.diffusion is not None:
        remarks += answer_remarks(corpus, tokenizer, spec.data, spec.diffusion.length + spare)
    return remarks
