"""Small corpora in the place of the embedded ones, which take seconds to generate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import ModuleType

import pytest

from study.bases import classifier, llama, masked, translator
from study.data.embedded import (
    CorpusRecipe,
    EmbeddedCorpus,
    EmbeddedInstructions,
    SplitSizes,
    instruction_corpus,
    pair_corpora,
    petroleum_corpus,
)

TRANSLATIONS = CorpusRecipe(
    train=4, dev=4, test=4, general=4, base_general=60, base_lay=20, base_expert=20
)
INSTRUCTIONS = SplitSizes(
    train=4, dev=4, test=4, general=4, base_general=100, base_lay=30, base_expert=30
)
PAIRS = {"dev": 8, "train": 8, "teacher": 200, "text": 200, "test": 8}


def shrink(module: ModuleType, patch: pytest.MonkeyPatch) -> None:
    """Let a module that describes miniatures read small corpora."""

    def translations(seed: int, recipe: CorpusRecipe = TRANSLATIONS) -> EmbeddedCorpus:
        return petroleum_corpus(seed, recipe)

    def instructions(seed: int) -> EmbeddedInstructions:
        return instruction_corpus(seed, INSTRUCTIONS)

    small = {
        "petroleum_corpus": translations,
        "instruction_corpus": instructions,
        "TRADE": replace(TRANSLATIONS, base_lay=0, base_expert=40),
    }
    for name in set(small) & set(vars(module)):
        patch.setattr(module, name, small[name])


@pytest.fixture(scope="module")
def small_corpora() -> Iterator[None]:
    """Let every miniature read a small corpus."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pair_corpora, "SIZES", PAIRS)
        for module in (classifier, llama, masked, translator):
            shrink(module, patch)
        yield
