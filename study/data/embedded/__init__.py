"""The embedded corpora: generated text, nothing to download."""

from study.data.embedded.corpus import CorpusRecipe, EmbeddedCorpus, Pair, petroleum_corpus
from study.data.embedded.sentence_pairs import EmbeddedPairs, SentencePair, pair_corpus

__all__ = [
    "CorpusRecipe",
    "EmbeddedCorpus",
    "EmbeddedPairs",
    "Pair",
    "SentencePair",
    "pair_corpus",
    "petroleum_corpus",
]
