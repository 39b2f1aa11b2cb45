"""Noun phrases in two languages at once, and the source of all random choices."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from study.data.embedded import words
from study.data.embedded.vocabulary import Preposition, Vocabulary
from study.data.embedded.words import Adjective, Noun, Person

Item = TypeVar("Item")
# Determiners: English, then French masculine, feminine and plural.
PLURAL = {"two": "deux", "three": "trois", "several": "plusieurs", "some": "des"}
DEFINITE = {
    "the": ("le", "la", "les"),
    "this": ("ce", "cette", "ces"),
    "my": ("mon", "ma", "mes"),
    "our": ("notre", "notre", "nos"),
    "your": ("votre", "votre", "vos"),
    "every": ("chaque", "chaque", ""),  # only with a countable singular
}
DEFINITE_WEIGHTS = (8, 2, 1, 1, 1, 1)
PRONOUNS = {"I": "je", "he": "il", "she": "elle", "we": "nous", "you": "vous", "they": "ils"}
PERSONS = {
    "I": Person.I, "he": Person.HE, "she": Person.HE,
    "we": Person.WE, "you": Person.YOU, "they": Person.THEY,
}  # fmt: skip


@dataclass(frozen=True)
class Phrase:
    """A text in both languages; French stays a list of words until the sentence is complete."""

    en: str
    fr: list[str]


@dataclass(frozen=True)
class Subject(Phrase):
    """A noun phrase or pronoun, with what a verb must know about it."""

    person: Person = Person.HE
    feminine: bool = False
    noun: Noun | None = None

    @property
    def plural(self) -> bool:
        """Whether participles and adjectives take the plural."""
        return self.person in (Person.WE, Person.THEY)

    @property
    def singular_verb(self) -> bool:
        """Whether the English verb takes its -s."""
        return self.person is Person.HE


def concat(*phrases: Phrase) -> Phrase:
    """Return the phrases joined together; empty ones leave no gap."""
    english = " ".join(phrase.en for phrase in phrases if phrase.en)
    return Phrase(english, list(itertools.chain.from_iterable(phrase.fr for phrase in phrases)))


@dataclass(frozen=True)
class Dice:
    """A seeded source of choices; word frequencies follow Zipf in table order."""

    rng: random.Random
    rank_exponent: float = 0.0  # 0: all words equally frequent

    def draw(self, items: Sequence[Item], weights: Sequence[float] | None = None) -> Item:
        """Return one item."""
        return self.rng.choices(items, weights)[0]

    def draw_word(self, items: Sequence[Item]) -> Item:
        """Return one item; earlier ones are more frequent."""
        weights = [1 / (rank + 2) ** self.rank_exponent for rank in range(len(items))]
        return self.draw(items, weights)

    def chance(self, probability: float) -> bool:
        """Return True with this probability."""
        return self.rng.random() < probability


@dataclass
class NounPhrases:
    """Draws noun phrases of one vocabulary, and records which words it combined."""

    vocabulary: Vocabulary
    dice: Dice
    combinations: set[tuple[str, str]] = field(default_factory=set)

    def draw(
        self,
        kinds: Sequence[str],
        indefinite: bool = False,
        adjective: bool = True,
        complement: bool = False,
    ) -> Subject:
        """Return determiner, adjective, noun, and perhaps `of` with another noun."""
        kind = self.dice.draw(kinds)
        noun = self.dice.draw_word(self.vocabulary.nouns[kind])
        plural = not noun.mass and self.dice.chance(0.35)
        quality = self._adjective(noun) if adjective and self.dice.chance(0.3) else None
        phrase = self._determined(noun, plural, quality, indefinite)
        if not complement or kind == "person" or self.dice.chance(0.6):
            return phrase
        other = self.draw(self._owners(kind), adjective=self.dice.chance(0.3))
        self.combine(noun.en, other)
        whole = concat(phrase, Phrase("of", ["de"]), other)
        return Subject(whole.en, whole.fr, phrase.person, phrase.feminine, noun)

    def _owners(self, kind: str) -> tuple[str, ...]:
        """Return the kinds of noun that can follow this kind and `of`."""
        if "fluid" in self.vocabulary.nouns:
            return ("rock", "fluid", "well") if kind in ("quantity", "sample") else ("well", "unit")
        return ("place",) if kind == "event" else ("person",)

    def _adjective(self, noun: Noun) -> Adjective | None:
        adjectives = self.vocabulary.adjectives[noun.kind]
        if not adjectives:
            return None
        adjective = self.dice.draw(adjectives)
        self.combinations.add((adjective.en, noun.en))
        return adjective

    def _determined(
        self, noun: Noun, plural: bool, quality: Adjective | None, indefinite: bool
    ) -> Subject:
        french_noun = noun.fr_plural if plural else noun.fr
        front = (
            [quality.agree(noun.feminine, plural, french_noun)]
            if quality and quality.before
            else []
        )
        behind = [quality.agree(noun.feminine, plural)] if quality and not quality.before else []
        body = [*front, french_noun, *behind]
        english_noun = noun.en_plural if plural else noun.en
        english_body = f"{quality.en} {english_noun}" if quality else english_noun
        english, french = self._determiner(
            noun, plural, indefinite, body[0], english_body, bool(front)
        )
        person = Person.THEY if plural else Person.HE
        return Subject(f"{english} {english_body}", [*french, *body], person, noun.feminine, noun)

    def _determiner(
        self, noun: Noun, plural: bool, indefinite: bool, body: str, english_body: str, front: bool
    ) -> tuple[str, list[str]]:
        if indefinite and noun.mass and noun.kind != "job":
            return "some", ["de", "la" if noun.feminine else "le"]
        if indefinite and plural:
            english = self.dice.draw(tuple(PLURAL))
            # des becomes de before an adjective in front of its noun
            return english, ["de" if english == "some" and front else PLURAL[english]]
        if indefinite and not noun.mass:
            return words.english_article(english_body), ["une" if noun.feminine else "un"]
        countable = not plural and not noun.mass
        english = self.dice.draw(
            tuple(DEFINITE)[: 5 + countable], DEFINITE_WEIGHTS[: 5 + countable]
        )
        return _english_definite(english, plural), [_french_definite(english, noun, plural, body)]

    def place(self) -> Phrase:
        """Return a preposition with its noun, or nothing."""
        if self.dice.chance(0.35):
            return Phrase("", [])
        preposition: Preposition = self.dice.draw(self.vocabulary.prepositions)
        place = self.draw(preposition.kinds)
        return concat(Phrase(preposition.en, preposition.fr.split()), place)

    def combine(self, word: str, phrase: Subject) -> None:
        """Record that `word` was combined with the phrase's noun."""
        if phrase.noun is not None:
            self.combinations.add((word, phrase.noun.en))


def _english_definite(english: str, plural: bool) -> str:
    return "these" if english == "this" and plural else english


def _french_definite(english: str, noun: Noun, plural: bool, following: str) -> str:
    masculine, feminine, many = DEFINITE[english]
    if plural:
        return many
    if words.elides(following) and english == "my":
        return masculine  # mon amie
    if words.elides(following) and english == "this" and not noun.feminine:
        return "cet"
    return feminine if noun.feminine else masculine
