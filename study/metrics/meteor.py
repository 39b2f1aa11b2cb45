"""METEOR by NLTK: words match exactly, by English stem, and optionally as synonyms.

Banerjee and Lavie 2005, "METEOR: An Automatic Metric for MT Evaluation with Improved Correlation
with Human Judgments".  Synonyms come from WordNet, English and a download: whether they count is a
key of the study file and part of the signature, so that no score depends on what is installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from typing import Any

from study.errors import InputError
from study.kinds.metrics import NO_SYNONYMS, Array, TextOptions
from study.metrics.means import of_examples

NO_WORDNET = (
    "evaluation.synonyms: 'wordnet' needs WordNet's data, which are not installed; "
    "`python -m nltk.downloader wordnet` downloads them, 'none' does without"
)


class _NoSynonyms:
    """A WordNet in which no word has synonyms."""

    def synsets(self, word: str) -> list[Any]:
        return []


def meteor(
    outputs: Sequence[str], references: Sequence[str], options: TextOptions
) -> tuple[Array, str]:
    """(N, 2): 100·METEOR of each example, and 1; raises InputError if WordNet is missing."""
    from nltk.tokenize import wordpunct_tokenize
    from nltk.translate.meteor_score import single_meteor_score

    wordnet = synonyms(options.synonyms)
    pairs = [
        (wordpunct_tokenize(target), wordpunct_tokenize(output))
        for target, output in zip(references, outputs, strict=True)
    ]
    scores = [
        100 * single_meteor_score(target, output, wordnet=wordnet) if target and output else 0.0
        for target, output in pairs
    ]
    settings = f"tok:wordpunct|case:lower|stem:porter|synonyms:{options.synonyms}"
    signature = f"meteor|mean:example|scale:100|{settings}|nltk:{version('nltk')}"
    return of_examples(scores), signature


@cache
def synonyms(kind: str) -> Any:
    """Return WordNet, or one without synonyms.

    Raises:
        InputError: WordNet's data are not installed.
    """
    if kind == NO_SYNONYMS:
        return _NoSynonyms()
    from nltk.corpus import wordnet

    try:
        wordnet.ensure_loaded()
    except LookupError:
        raise InputError(NO_WORDNET) from None
    return wordnet
