"""The language codes of a multilingual tokenizer, by its own list.

NLLB's codes are special tokens (`eng_Latn`), M2M100 writes a code into a token (`en` is `__en__`),
and mBART keeps a table.  Looking a code up in the vocabulary is not enough: `es` is also a piece of
words.
"""

from __future__ import annotations

from typing import Any

from study.errors import InputError, did_you_mean
from study.kinds.language_names import LANGUAGES, language_of
from study.spec.base_and_data import DataSpec

MOST_SHOWN = 8


def language_ids(tokenizer: Any) -> dict[str, int] | None:
    """Return the token of every language code; None for a tokenizer without languages."""
    if not hasattr(tokenizer, "src_lang"):
        return None
    if hasattr(tokenizer, "get_lang_id"):  # M2M100
        return {code: int(tokenizer.get_lang_id(code)) for code in tokenizer.lang_code_to_token}
    known: dict[str, int] = getattr(tokenizer, "lang_code_to_id", None) or {}  # mBART
    if not known:  # NLLB: every special token without a role
        roles = {getattr(tokenizer, role, None) for role in tokenizer.SPECIAL_TOKENS_ATTRIBUTES}
        codes = [code for code in tokenizer.all_special_tokens if code not in roles]
        known = {code: int(tokenizer.convert_tokens_to_ids(code)) for code in codes}
    return {code: token for code, token in known.items() if token != tokenizer.unk_token_id}


def check_languages(tokenizer: Any, data: DataSpec) -> None:
    """Raise InputError for each language of the study that a tokenizer does not know."""
    known = language_ids(tokenizer)
    if known is None:
        return
    shown = ", ".join(sorted(known)[:MOST_SHOWN])
    shown += f" and {len(known) - MOST_SHOWN} more" if len(known) > MOST_SHOWN else ""
    problems = [
        f"data.{key}: must be a language code of the base model's tokenizer, got {code!r}"
        f"{did_you_mean(code, known)}; allowed: {shown or 'none; it knows no languages'}"
        for key in ("source_language", "target_language")
        if (code := getattr(data, key)) not in known
    ]
    if problems:
        raise InputError(problems)


def direction_remarks(data: DataSpec) -> list[str]:
    """Return one line if columns are named after other languages than the study's.

    Another language may be meant: a tokenizer without Breton may have to take its code of French.

    Raises:
        InputError: the columns have the study's two languages in the other order.
    """
    columns = (data.source_column, data.target_column)
    read = [language_of(name.rpartition(".")[2]) for name in columns]
    stated = [language_of(data.source_language), language_of(data.target_language)]
    if None in read or None in stated or read == stated or read[0] == read[1]:
        return []
    names = " into ".join(LANGUAGES[code] for code in stated if code)
    line = (
        f"data.source_language, data.target_language: {names}, but the columns are "
        f"{columns[0]!r} and {columns[1]!r}"
    )
    if read != stated[::-1]:
        return [line]
    raise InputError(
        f"{line}; allowed: source_column = {columns[1]!r} and target_column = {columns[0]!r}, or "
        "the languages in the order of the columns"
    )
