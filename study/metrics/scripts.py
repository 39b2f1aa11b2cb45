"""Scripts that write no spaces between words, where metrics of words need a tokenizer."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.util import find_spec
from typing import TYPE_CHECKING

from study.kinds.metrics import METRICS, MTEVAL

if TYPE_CHECKING:
    from study.spec.evaluation import EvaluationSpec

UNSPACED = re.compile(
    "["
    "\u0e00-\u0eff"  # Thai, Lao
    "\u0f00-\u109f"  # Tibetan, Burmese
    "\u1780-\u17ff"  # Khmer
    "\u3040-\u30ff"  # Japanese syllables
    "\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Chinese characters
    "]"
)
LETTER = re.compile(r"[^\W\d_]")
BY_SPACES = (MTEVAL, "intl", "none", "ko-mecab")
"""Tokenizers that leave such a text in one piece."""
CHARACTERS = "char"
MECAB = "ja-mecab"
CHINESE = "zh"
OF_SCRIPT = {
    "Hans": CHINESE,
    "Hant": CHINESE,
    "Jpan": MECAB,
    **dict.fromkeys(("Thai", "Laoo", "Khmr", "Mymr", "Tibt"), CHARACTERS),
}
OF_LANGUAGE = {
    **dict.fromkeys(("zh", "zho", "cmn", "yue"), CHINESE),
    **dict.fromkeys(("ja", "jpn"), MECAB),
    **dict.fromkeys(("th", "tha", "lo", "lao", "km", "khm"), CHARACTERS),
    **dict.fromkeys(("my", "mya", "bo", "bod", "dz", "dzo"), CHARACTERS),
}


def tokenizer_for(language: str) -> str | None:
    """Return sacreBLEU's tokenizer for a language such as `zho_Hans` or `ja_XX`.

    None if it writes spaces between words.  Japanese is split into words where MeCab is installed,
    otherwise into characters.
    """
    parts = re.split("[_-]", language)
    by_script = next((OF_SCRIPT[part] for part in parts[1:] if part in OF_SCRIPT), None)
    found = by_script or OF_LANGUAGE.get(parts[0].lower())
    return CHARACTERS if found == MECAB and not has_mecab() else found


def has_mecab() -> bool:
    """Say whether sacreBLEU can split Japanese into words."""
    return find_spec("MeCab") is not None and find_spec("ipadic") is not None


def word_remarks(evaluation: EvaluationSpec, references: Iterable[str]) -> list[str]:
    """Return a line about metrics of words if most letters of N references are unspaced."""
    text = " ".join(references)
    unspaced, letters = len(UNSPACED.findall(text)), len(LETTER.findall(text))
    if unspaced * 2 <= letters or not unspaced:
        return []
    rows = [METRICS[name] for name in evaluation.metrics if name in METRICS]
    by_key = [row.label for row in rows if row.tokenizes and evaluation.tokenize in BY_SPACES]
    by_spaces = [row.label for row in rows if row.needs_spaces]
    remarks = []
    if by_key:
        remarks.append(
            f"the references are written without spaces between words, so {', '.join(by_key)} with "
            f"evaluation.tokenize = {evaluation.tokenize!r} hardly ever finds equal words; set "
            f"{CHINESE!r} for Chinese, {CHARACTERS!r} for other languages, or use chrf"
        )
    if by_spaces:
        remarks.append(
            f"the references are written without spaces between words, so {', '.join(by_spaces)} "
            "hardly ever finds equal words; use chrf"
        )
    return remarks
