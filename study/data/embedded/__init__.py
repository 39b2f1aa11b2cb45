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

__all__ = [
    "CorpusRecipe",
    "EmbeddedCorpus",
    "EmbeddedInstructions",
    "EmbeddedPairs",
    "Instruction",
    "Pair",
    "SentencePair",
    "SplitSizes",
    "instruction_corpus",
    "pair_corpus",
    "petroleum_corpus",
]
