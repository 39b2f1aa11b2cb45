"""The embedded preferences: petroleum text in the trade's words, and in an outsider's.

Both translate one sentence of the embedded corpus.  The base has read more of the second, so that
there is something to learn.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from study.data.embedded.corpus import (
    NO_BASE,
    CorpusRecipe,
    EmbeddedSplits,
    Pair,
    petroleum_corpus,
)
from study.data.embedded.grammar import Grammar
from study.data.embedded.vocabulary import lay_vocabulary, petroleum_vocabulary


@dataclass(frozen=True)
class Preference:
    """A sentence with two translations."""

    source: str
    chosen: str  # in the trade's words
    rejected: str


@cache
def preference_corpus(seed: int = 0) -> EmbeddedSplits[Preference]:
    """Return the sentences of `petroleum_corpus` that an outsider would translate otherwise."""
    recipe = CorpusRecipe(**NO_BASE)
    corpus = petroleum_corpus(seed, recipe)

    def preferences(split: str, pairs: Sequence[Pair]) -> tuple[Preference, ...]:
        lay = _in_lay_words(seed, split, pairs, recipe.petroleum_exponent)
        return tuple(
            Preference(pair.source, pair.target, lay[pair.source])
            for pair in pairs
            if lay.get(pair.source, pair.target) != pair.target
        )

    return EmbeddedSplits(
        preferences("train", corpus.train),
        preferences("dev", corpus.dev),
        preferences("test", corpus.test),
        (),
        (),
    )


def _in_lay_words(
    seed: int, split: str, pairs: Sequence[Pair], exponent: float
) -> Mapping[str, str]:
    """Return what an outsider makes of the sources, drawn again as the corpus drew them.

    Both vocabularies have the same English words, and from the same state a grammar draws the same
    sentence; one that the outsider would not say in English, such as an order, is missing.
    """
    wanted = {pair.source for pair in pairs}
    rng, twin = random.Random(f"{seed}/{split}"), random.Random()
    trade = Grammar(petroleum_vocabulary(), rng, exponent)
    outsider = Grammar(lay_vocabulary(), twin, exponent)
    found: dict[str, str] = {}
    while wanted:
        twin.setstate(rng.getstate())
        source, _ = trade.sentence()
        same, target = outsider.sentence()
        if source in wanted and same == source:
            found[source] = target
        wanted.discard(source)
    return found
