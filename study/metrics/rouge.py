"""ROUGE by `rouge-score`, Google's own: the F-measure of each example, and their mean.

Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries".  The package's tokenizer drops
every letter outside a to z, which would silently score French low and Arabic zero; ours keeps
letters, marks and digits of every script, and gives the same words for ASCII text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from typing import Any

from study.kinds.metrics import Array, TextOptions
from study.metrics.means import of_examples

ASCII_WORD = re.compile("[a-z0-9]+")  # the same, but faster


def words(text: str) -> list[str]:
    """Return a text's words in lower case: runs of letters, marks and digits of any script."""
    if text.isascii():
        return ASCII_WORD.findall(text.lower())
    folded = unicodedata.normalize("NFC", text.lower())
    return folded.translate(_BETWEEN_WORDS).split()


class _BetweenWords(dict[int, str]):
    """For `str.translate`: a space for each character that is not of a word, found on first use."""

    def __missing__(self, code: int) -> str:
        is_of_a_word = unicodedata.category(chr(code))[0] in "LMN"
        self[code] = chr(code) if is_of_a_word else " "
        return self[code]


_BETWEEN_WORDS = _BetweenWords()


class _Words:
    """The tokenizer in the form that `rouge-score` expects."""

    def tokenize(self, text: str) -> list[str]:
        return words(text)


@cache
def _scorer(kind: str) -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer([kind], use_stemmer=False, tokenizer=_Words())


def rouge(
    kind: str, outputs: Sequence[str], references: Sequence[str], options: TextOptions
) -> tuple[Array, str]:
    """Return ROUGE of a kind (rouge1, rouge2, rougeL): (N, 2), 100·F of each example, and 1."""
    scorer = _scorer(kind)
    pairs = zip(references, outputs, strict=True)
    scores = [100 * scorer.score(target, said)[kind].fmeasure for target, said in pairs]
    signature = f"{kind}|measure:f|mean:example|scale:100|tok:unicode-words|case:lower|stem:no"
    return of_examples(scores), f"{signature}|rouge-score:{version('rouge-score')}"
