"""Read the lexicon's tables into words, one `Vocabulary` per domain."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

from study.data.embedded import lexicon
from study.data.embedded.words import Adjective, Noun, Verb, english_plural, french_plural


@dataclass(frozen=True)
class Preposition:
    """A preposition in both languages and the kinds of noun that may follow it."""

    en: str
    fr: str
    kinds: tuple[str, ...]


@dataclass(frozen=True)
class Vocabulary:
    """All words of one domain, as the grammar needs them."""

    nouns: dict[str, tuple[Noun, ...]]  # by kind
    adjectives: dict[str, tuple[Adjective, ...]]  # by kind of noun
    verbs: tuple[Verb, ...]
    intransitive: tuple[Verb, ...]
    adverbs: tuple[tuple[str, str], ...]
    prepositions: tuple[Preposition, ...]
    conjunctions: tuple[tuple[str, str], ...]
    infinitive_orders: bool = False  # the trade writes instructions so: « Fermer la vanne »


@cache
def general_vocabulary() -> Vocabulary:
    """Return the everyday words."""
    nouns = _nouns(lexicon.GENERAL_NOUNS)
    after = {kind: _general_kinds(kind) for kind in nouns}
    return Vocabulary(
        nouns=nouns,
        adjectives=_adjectives(lexicon.GENERAL_ADJECTIVES, after),
        verbs=_verbs(lexicon.GENERAL_VERBS),
        intransitive=_verbs(lexicon.GENERAL_INTRANSITIVE),
        adverbs=tuple(_entries(lexicon.ADVERBS)),
        prepositions=_prepositions(lexicon.GENERAL_PLACES),
        conjunctions=tuple(_entries(lexicon.CONJUNCTIONS)),
    )


@cache
def petroleum_vocabulary() -> Vocabulary:
    """Return the words of the petroleum trade."""
    nouns = _shifted_first(_nouns(lexicon.PETROLEUM_NOUNS))
    after = {kind: _petroleum_adjectives_of(kind) for kind in nouns}
    return Vocabulary(
        nouns=nouns,
        adjectives=_adjectives(
            f"{lexicon.PETROLEUM_ADJECTIVES};{lexicon.PETROLEUM_BEHIND}",
            after,
            lexicon.PETROLEUM_BEFORE,
        ),
        verbs=_verbs(lexicon.PETROLEUM_VERBS),
        intransitive=_verbs(lexicon.PETROLEUM_INTRANSITIVE),
        adverbs=(),
        infinitive_orders=True,
        prepositions=_prepositions(lexicon.PETROLEUM_PLACES),
        conjunctions=tuple(_entries(lexicon.PETROLEUM_CONJUNCTIONS)),
    )


def _shifted_first(nouns: dict[str, tuple[Noun, ...]]) -> dict[str, tuple[Noun, ...]]:
    """Put the words shared with everyday language in front: the most frequent of their kind."""
    everyday = {noun.en for group in general_vocabulary().nouns.values() for noun in group}
    return {
        kind: tuple(sorted(group, key=lambda noun: noun.en not in everyday))
        for kind, group in nouns.items()
    }


@cache
def lay_vocabulary() -> Vocabulary:
    """Return the petroleum words as someone outside the trade translates them.

    Every word that the everyday vocabulary knows too takes its everyday French, gender and
    conjugation: a kick is a `coup de pied`, a collar a `col`.
    """
    general, petroleum = general_vocabulary(), petroleum_vocabulary()
    nouns = {noun.en: noun for group in general.nouns.values() for noun in group}
    adjectives = {
        en: _adjective(en, rest, before=True) for en, rest in _entries(lexicon.BEFORE_ADJECTIVES)
    }
    adjectives |= {word.en: word for group in general.adjectives.values() for word in group}
    verbs = {verb.en: verb for verb in (*general.intransitive, *general.verbs)}
    return replace(
        petroleum,
        prepositions=_prepositions(lexicon.LAY_PLACES),
        conjunctions=general.conjunctions,
        infinitive_orders=False,
        nouns={
            kind: tuple(_lay_noun(noun, nouns.get(noun.en, noun)) for noun in group)
            for kind, group in petroleum.nouns.items()
        },
        adjectives={
            kind: tuple(adjectives.get(word.en, word) for word in group)
            for kind, group in petroleum.adjectives.items()
        },
        verbs=tuple(_lay_verb(verb, verbs) for verb in petroleum.verbs),
        intransitive=tuple(_lay_verb(verb, verbs) for verb in petroleum.intransitive),
    )


def _lay_noun(noun: Noun, everyday: Noun) -> Noun:
    return replace(noun, fr=everyday.fr, fr_plural=everyday.fr_plural, feminine=everyday.feminine)


def _lay_verb(verb: Verb, everyday: dict[str, Verb]) -> Verb:
    everyday_verb = everyday.get(verb.en, verb)
    return replace(verb, fr=everyday_verb.fr, with_etre=everyday_verb.with_etre)


@cache
def shifted_words() -> dict[str, tuple[str, str]]:
    """Return the English words whose translation depends on the domain: (general, petroleum)."""
    general, petroleum = _translations(general_vocabulary()), _translations(petroleum_vocabulary())
    shared = sorted(general.keys() & petroleum.keys())
    return {en: (general[en], petroleum[en]) for en in shared if general[en] != petroleum[en]}


def _translations(vocabulary: Vocabulary) -> dict[str, str]:
    words: dict[str, str] = dict(vocabulary.adverbs)
    for verb in (*vocabulary.intransitive, *vocabulary.verbs):
        words[f"to {verb.en}"] = verb.fr
    for adjectives in vocabulary.adjectives.values():
        words |= {adjective.en: adjective.masculine for adjective in adjectives}
    for nouns in vocabulary.nouns.values():
        words |= {noun.en: noun.fr for noun in nouns}
    return words


# --- reading the tables --------------------------------------------------------------------------


def _entries(table: str) -> Iterator[tuple[str, str]]:
    """Yield (english, rest) for a table's entries: `;` separates them, `=` divides each."""
    for entry in table.replace("\n", " ").split(";"):
        if entry.strip():
            english, _, rest = entry.partition("=")
            yield english.strip(), rest.strip()


def _nouns(groups: dict[str, str]) -> dict[str, tuple[Noun, ...]]:
    return {
        kind: tuple(_noun(kind, english, rest) for english, rest in _entries(table))
        for kind, table in groups.items()
    }


def _noun(kind: str, english: str, rest: str) -> Noun:
    singular, _, plural = english.partition("/")
    starred, gender = rest.rsplit(" ", 1)
    if starred == "hibou hiboux":  # one of the seven nouns in -ou with an x
        french, french_many = "hibou", "hiboux"
    else:
        french = starred.replace("*", "")
        french_many = re.sub(r"([^\s*-]+)\*", lambda match: french_plural(match[1]), starred)
    return Noun(
        en=singular,
        en_plural=plural or english_plural(singular),
        fr=french,
        fr_plural=french_many,
        feminine=gender == "f",
        kind=kind,
        mass=kind in lexicon.MASS_KINDS,
    )


def _adjectives(
    table: str, kinds: dict[str, tuple[str, ...]], before: str = ""
) -> dict[str, tuple[Adjective, ...]]:
    """Return the domain's adjectives by kind of noun, with those in front of the noun."""
    words = {en: _adjective(en, rest, before=False) for en, rest in _entries(table)}
    front_table = f"{lexicon.BEFORE_ADJECTIVES};{before}"
    front = {en: _adjective(en, rest, before=True) for en, rest in _entries(front_table)} | words
    return {
        kind: tuple(words[en] for en in names)
        + tuple(front[en] for en in lexicon.SHARED_BEFORE.get(kind, "").split())
        for kind, names in kinds.items()
    }


def _adjective(english: str, rest: str, before: bool) -> Adjective:
    masculine, feminine, *before_vowel = rest.split()
    return Adjective(english, masculine, feminine, (*before_vowel, masculine)[0], before)


def _general_kinds(kind: str) -> tuple[str, ...]:
    if kind in ("person", "animal"):
        return lexicon.LIVING
    return lexicon.OF_EVENTS if kind == "event" else lexicon.NOT_LIVING


def _petroleum_adjectives_of(kind: str) -> tuple[str, ...]:
    return tuple(en for en, kinds in lexicon.ADJECTIVE_KINDS.items() if kind in kinds.split())


def _verbs(table: str) -> tuple[Verb, ...]:
    verbs = []
    for english, rest in _entries(table):
        french, subjects, *objects = (field.strip() for field in rest.split("|"))
        kinds = tuple(objects[0].split()) if objects else ()
        verb = Verb(
            english, french.rstrip("!"), tuple(subjects.split()), kinds, french.endswith("!")
        )
        verbs.append(verb)
    return tuple(verbs)


def _prepositions(table: str) -> tuple[Preposition, ...]:
    prepositions = []
    for english, rest in _entries(table):
        french, kinds = (field.strip() for field in rest.split("|"))
        prepositions.append(Preposition(english, french, tuple(kinds.split())))
    return tuple(prepositions)
