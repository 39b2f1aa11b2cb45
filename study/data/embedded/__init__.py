"""The embedded corpus: generated English-French pairs in two domains, nothing to download."""

from study.data.embedded.corpus import CorpusRecipe, EmbeddedCorpus, Pair, petroleum_corpus

__all__ = ["CorpusRecipe", "EmbeddedCorpus", "Pair", "petroleum_corpus"]
