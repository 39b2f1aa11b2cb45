"""The embedded corpora: generated text, nothing to download."""

from study.data.embedded.corpus import (
    CorpusRecipe,
    EmbeddedCorpus,
    Pair,
    SplitSizes,
    petroleum_corpus,
)
from study.data.embedded.instruction_corpus import (
    EmbeddedInstructions,
    Instruction,
    instruction_corpus,
)
from study.data.embedded.pair_corpora import EmbeddedPairs, SentencePair, pair_corpus
from study.data.embedded.preference_pairs import Preference, preference_corpus

__all__ = [
    "CorpusRecipe",
    "EmbeddedCorpus",
    "EmbeddedInstructions",
    "EmbeddedPairs",
    "Instruction",
    "Pair",
    "Preference",
    "SentencePair",
    "SplitSizes",
    "instruction_corpus",
    "pair_corpus",
    "petroleum_corpus",
    "preference_corpus",
]
