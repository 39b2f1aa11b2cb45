"""Language codes are those of the tokenizer's own list, not any token of its vocabulary."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from study.data.languages import check_languages, direction_remarks, language_ids
from study.errors import InputError
from study.spec.base_and_data import DataSpec


def m2m100() -> Any:
    """Return what M2M100's tokenizer offers: codes `en`, tokens `__en__`, and a piece `es`."""
    tokens = {"en": "__en__", "fr": "__fr__"}
    return SimpleNamespace(
        src_lang="en",
        unk_token_id=3,
        lang_code_to_token=tokens,
        get_lang_id={"en": 10, "fr": 11}.__getitem__,
    )


def test_m2m100_writes_codes_into_tokens() -> None:
    """`fr` is the token `__fr__`, whatever pieces of words the vocabulary has."""
    assert language_ids(m2m100()) == {"en": 10, "fr": 11}


def test_mbart_keeps_a_table() -> None:
    """A code whose token the vocabulary lacks is not known."""
    tokenizer = SimpleNamespace(
        src_lang="en_XX", unk_token_id=3, lang_code_to_id={"en_XX": 7, "fr_XX": 3}
    )
    assert language_ids(tokenizer) == {"en_XX": 7}


def test_nllb_has_special_tokens(tiny_base: Path) -> None:
    """The languages are its special tokens without a role."""
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(tiny_base)
    assert language_ids(tokenizer) == {
        code: tokenizer.convert_tokens_to_ids(code) for code in ("eng_Latn", "fra_Latn")
    }


@pytest.mark.parametrize("wrong", ["__fr__", "es", "French"])
def test_other_tokens_are_no_languages(wrong: str) -> None:
    """One line per key, with what is allowed."""
    data = DataSpec(source_language=wrong, target_language="fr")
    with pytest.raises(InputError, match=rf"^data.source_language: .* got '{wrong}'; allowed: en"):
        check_languages(m2m100(), data)


def test_a_tokenizer_without_languages_accepts_any_code() -> None:
    """They are not used."""
    assert language_ids(SimpleNamespace()) is None
    check_languages(SimpleNamespace(), DataSpec(source_language="whatever"))


def test_columns_in_the_other_order_are_refused() -> None:
    """The study's languages the wrong way round are one line; a third language is a remark."""
    columns: Any = {"source_column": "fr", "target_column": "translation.en"}
    with pytest.raises(InputError, match="English into French, but the columns are 'fr' and"):
        direction_remarks(DataSpec(**columns))
    right = {"source_language": "fra_Latn", "target_language": "eng_Latn"}
    assert direction_remarks(DataSpec(**columns, **right)) == []
    assert direction_remarks(DataSpec()) == []
    (remark,) = direction_remarks(DataSpec(**columns, source_language="oci", target_language="en"))
    assert "Occitan into English, but the columns are 'fr' and" in remark
