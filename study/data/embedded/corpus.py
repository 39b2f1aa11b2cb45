"""The embedded corpus: which sentences are drawn, how often, and into which split.

All splits come from one grammar and share no sentence, neither source nor target.  The base learns
everyday text and petroleum text, more of it translated as an outsider would (a kick is a `coup de
pied`) than in the trade's words (`venue`): like a general model, it knows both and prefers the
wrong one.  The other difficulties of the petroleum splits are set here: few training pairs, Zipf
frequencies (rare terms are seen once or never), and combinations of words (adjective and noun, verb
and object) that occur only in the dev and test splits.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from study.data.embedded.grammar import Grammar
from study.data.embedded.vocabulary import (
    Vocabulary,
    general_vocabulary,
    lay_vocabulary,
    petroleum_vocabulary,
)

Row = TypeVar("Row")


@dataclass(frozen=True)
class Pair:
    """One sentence in both languages: English source, French target."""

    source: str
    target: str
    group: str = field(default="", compare=False)  # what it belongs to, such as a document


@dataclass(frozen=True)
class EmbeddedSplits(Generic[Row]):
    """The splits of an embedded corpus.

    `train`, `dev` and `test` are a trade's text (petroleum, a clinic), for a LoRA to adapt to.
    `general` is everyday text to measure forgetting.  The base model learns from `base_train`,
    mostly everyday text.
    """

    train: tuple[Row, ...]
    dev: tuple[Row, ...]
    test: tuple[Row, ...]
    general: tuple[Row, ...]
    base_train: tuple[Row, ...]


EmbeddedCorpus = EmbeddedSplits[Pair]


@dataclass(frozen=True)
class SplitSizes:
    """How many rows each split has, and each part of what the base learns from."""

    train: int = 400
    dev: int = 200
    test: int = 200
    general: int = 100
    base_general: int = 10_800
    base_lay: int = 3_300  # a trade's text as someone outside the trade puts it
    base_expert: int = 1_900  # a trade's text in its own words


NO_BASE = {"base_general": 0, "base_lay": 0, "base_expert": 0}
"""The sizes of an embedded corpus's last splits, which change none of the splits before."""


@dataclass(frozen=True)
class CorpusRecipe(SplitSizes):
    """Sizes and difficulty; tuned on seeds 100 to 104 (docs/experiments.md), then fixed."""

    held_out_share: float = 0.15  # of all word combinations: absent from training
    petroleum_exponent: float = 1.0  # Zipf exponents of the words' frequencies
    general_exponent: float = 0.7
    min_words: int = 4
    max_words: int = 10


def petroleum_corpus(seed: int = 0, recipe: CorpusRecipe | None = None) -> EmbeddedCorpus:
    """Return the corpus of a seed: the same seed and recipe give the same sentences everywhere."""
    recipe = recipe or CorpusRecipe()
    drawer = _Drawer(seed, recipe)
    petroleum, general = petroleum_vocabulary(), general_vocabulary()
    # The scored splits are drawn first, so that the size of a training split cannot change them.
    test = drawer.draw("test", petroleum, recipe.test, recipe.petroleum_exponent)
    dev = drawer.draw("dev", petroleum, recipe.dev, recipe.petroleum_exponent)
    everyday = drawer.draw("general", general, recipe.general, recipe.general_exponent)
    train = drawer.draw("train", petroleum, recipe.train, recipe.petroleum_exponent, hold_out=True)
    base = drawer.draw("base general", general, recipe.base_general, recipe.general_exponent)
    for split, vocabulary, size in (
        ("base lay", lay_vocabulary(), recipe.base_lay),
        ("base expert", petroleum, recipe.base_expert),
    ):
        base += drawer.draw(split, vocabulary, size, recipe.petroleum_exponent, hold_out=True)
    return EmbeddedCorpus(train, dev, test, everyday, base)


class _Drawer:
    """Draws splits that share no sentence."""

    def __init__(self, seed: int, recipe: CorpusRecipe) -> None:
        self.seed = seed
        self.recipe = recipe
        self.sources: set[str] = set()
        self.targets: set[str] = set()

    def draw(
        self, split: str, vocabulary: Vocabulary, size: int, exponent: float, hold_out: bool = False
    ) -> tuple[Pair, ...]:
        """Return `size` new pairs; with `hold_out`, none with a held-out combination."""
        rng = random.Random(f"{self.seed}/{split}")
        candidates = self._candidates(Grammar(vocabulary, rng, exponent), hold_out)
        pairs: list[Pair] = []
        while len(pairs) < size:
            pair = next(candidates)
            if pair.source in self.sources or pair.target in self.targets:
                continue
            self.sources.add(pair.source)
            self.targets.add(pair.target)
            pairs.append(pair)
        return tuple(pairs)

    def _candidates(self, grammar: Grammar, hold_out: bool) -> Iterator[Pair]:
        while True:
            source, target = grammar.sentence()
            length = source.count(" ") + 1
            if not self.recipe.min_words <= length <= self.recipe.max_words:
                continue
            if not (hold_out and any(map(self._held_out, grammar.combinations))):
                yield Pair(source, target)

    def _held_out(self, combination: tuple[str, str]) -> bool:
        name = f"{self.seed}/{'/'.join(combination)}"
        return zlib.crc32(name.encode()) / 2**32 < self.recipe.held_out_share
