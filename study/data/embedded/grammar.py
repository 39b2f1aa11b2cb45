"""Sentences in two languages at once, from one grammar and a domain's vocabulary.

Every phrase is built as an English text beside a French one; agreement, elision and contraction
are worked out on the French side: `the new valve of the old well` is `la nouvelle vanne du vieux
puits`.  A `Grammar` draws from its own `random.Random` and from nothing else.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from study.data.embedded import words
from study.data.embedded.lexicon import TIMES
from study.data.embedded.vocabulary import Preposition, Vocabulary
from study.data.embedded.words import Adjective, Noun, Person, Verb

Item = TypeVar("Item")
# Determiners: English, then French masculine, feminine and plural.
PLURAL = {"two": "deux", "three": "trois", "several": "plusieurs", "some": "des"}
DEFINITE = {
    "the": ("le", "la", "les"),
    "this": ("ce", "cette", "ces"),
    "my": ("mon", "ma", "mes"),
    "our": ("notre", "notre", "nos"),
    "your": ("votre", "votre", "vos"),
    "every": ("chaque", "chaque", ""),  # of a countable singular only
}
DEFINITE_WEIGHTS = (8, 2, 1, 1, 1, 1)
PRONOUNS = {"I": "je", "he": "il", "she": "elle", "we": "nous", "you": "vous", "they": "ils"}
PERSONS = {
    "I": Person.I, "he": Person.HE, "she": Person.HE,
    "we": Person.WE, "you": Person.YOU, "they": Person.THEY,
}  # fmt: skip
MODALS = {"can": "pouvoir", "must": "devoir"}
REPORTS = {"say": "dire", "think": "penser", "know": "savoir"}


@dataclass(frozen=True)
class Phrase:
    """A text in both languages, the French still as words: they join when the sentence is whole."""

    en: str
    fr: list[str]


@dataclass(frozen=True)
class Subject(Phrase):
    """A noun phrase or pronoun with what a verb must know of it."""

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


@dataclass
class Grammar:
    """Draws sentences of one domain.

    `rank_exponent` is the Zipf exponent of the nouns' frequencies: 0 makes all equally frequent.
    `combinations` collects the pairs of content words that the last sentence brought together.
    """

    vocabulary: Vocabulary
    rng: random.Random
    rank_exponent: float = 0.0
    combinations: set[tuple[str, str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        nouns = self.vocabulary.nouns
        self._weights = {
            kind: [1 / (rank + 2) ** self.rank_exponent for rank in range(len(group))]
            for kind, group in nouns.items()
        }

    def sentence(self) -> tuple[str, str]:
        """Return one sentence in English and in French."""
        self.combinations = set()
        build = self._draw(SENTENCES, SENTENCE_WEIGHTS)
        phrase = getattr(self, build)()
        french = words.join_french(phrase.fr)
        return _capitalise(phrase.en) + ".", _capitalise(french) + "."

    # --- sentences -------------------------------------------------------------------------------

    def _simple(self) -> Phrase:
        tense = self._tense()
        return self._with_time(self._clause(tense), tense)

    def _complex(self) -> Phrase:
        tense = self._draw(("present", "past"))
        english, french = self._draw(self.vocabulary.conjunctions)
        first, second = self._clause(tense, short=True), self._clause(tense, short=True)
        return _concat(first, Phrase(english, french.split()), second)

    def _reported(self) -> Phrase:
        english, french = self._draw(list(REPORTS.items()))
        verb = Verb(english, french, ("person",))
        subject = self._subject(("person",))
        that = Phrase("that", ["que"])
        report = self._predicate(subject, verb, "present", negated=False)
        return _concat(subject, report, that, self._clause(self._tense(), short=True))

    def _there_is(self) -> Phrase:
        kind = self._draw([kind for kind in self.vocabulary.nouns if kind != "job"])
        thing = self._noun_phrase((kind,), indefinite=True)
        english = "there are" if thing.plural else "there is"
        return _concat(Phrase(english, ["il", "y", "a"]), thing, self._place())

    def _imperative(self) -> Phrase:
        verb = self._verb([verb for verb in self.vocabulary.verbs if "person" in verb.subjects])
        negated = self._chance(0.25)
        english = f"do not {verb.en}" if negated else verb.en
        if self.vocabulary.infinitive_orders:
            phrase = Phrase(english, ["ne", "pas", verb.fr] if negated else [verb.fr])
        else:
            phrase = Phrase(english, _negate(words.present(verb.fr, Person.YOU), negated))
        return _concat(phrase, self._object(verb, negated), self._place())

    def _passive(self) -> Phrase:
        """An agent or a place behind the participle, which agrees with the subject."""
        tense = self._tense()
        verb = self._verb(self.vocabulary.verbs)
        subject = self._noun_phrase(verb.objects)
        self._combine(verb.en, subject)
        plural, negated = subject.plural, self._chance(0.15)
        done = words.participle(verb.fr, subject.feminine, plural)
        be = {"present": "être", "past": "avoir", "future": "être"}[tense]
        conjugate = words.future if tense == "future" else words.present
        auxiliary = conjugate(be, subject.person)
        french = ["ne", auxiliary, "pas"] if negated else [auxiliary]
        french += ["été", done] if tense == "past" else [done]
        english = f"{_be(tense, plural, negated)} {words.english_participle(verb.en)}"
        tail = self._agent(verb) if self._chance(0.5) else self._place()
        return self._with_time(_concat(subject, Phrase(english, french), tail), tense, chance=0.15)

    def _description(self) -> Phrase:
        kinds = [kind for kind, found in self.vocabulary.adjectives.items() if found]
        subject = self._noun_phrase((self._draw(kinds),), adjective=False, complement=True)
        assert subject.noun is not None
        adjective = self._draw(self.vocabulary.adjectives[subject.noun.kind])
        self._combine(adjective.en, subject)
        tense, negated = self._tense(), self._chance(0.2)
        is_ = words.future("être", subject.person)
        if tense != "future":
            past = "étaient" if subject.plural else "était"
            is_ = past if tense == "past" else words.present("être", subject.person)
        french = ["ne", is_, "pas"] if negated else [is_]
        french.append(adjective.agree(subject.feminine, subject.plural))
        return _concat(
            subject, Phrase(f"{_be(tense, subject.plural, negated)} {adjective.en}", french)
        )

    # --- clauses ---------------------------------------------------------------------------------

    def _clause(self, tense: str, short: bool = False) -> Phrase:
        """Subject, verb, object or adverb, and in a long clause a place."""
        negated = self._chance(0.2)
        intransitive = bool(self.vocabulary.intransitive) and self._chance(0.25)
        verb = self._verb(self.vocabulary.intransitive if intransitive else self.vocabulary.verbs)
        subject = self._subject(verb.subjects, pronouns=not verb.with_etre)
        modal = None if short or tense != "present" else self._draw((None, None, *MODALS))
        predicate = self._predicate(subject, verb, tense, negated, modal)
        if intransitive:
            self._combine(verb.en, subject)
            tail = self._adverb_or_place(tense, short)
            return _concat(subject, predicate, tail)
        clause = _concat(subject, predicate, self._object(verb, negated, relative=not short))
        return clause if short or self._chance(0.5) else _concat(clause, self._place())

    def _predicate(
        self, subject: Subject, verb: Verb, tense: str, negated: bool, modal: str | None = None
    ) -> Phrase:
        if modal is not None:
            english = f"{modal}{' not' if negated else ''} {verb.en}".replace("can not", "cannot")
            return Phrase(
                english, _negate(words.present(MODALS[modal], subject.person), negated, verb.fr)
            )
        english = _english_verb(verb.en, tense, subject, negated)
        if tense == "present":
            return Phrase(english, _negate(words.present(verb.fr, subject.person), negated))
        if tense == "future":
            return Phrase(english, _negate(words.future(verb.fr, subject.person), negated))
        return Phrase(english, self._past(subject, verb, negated))

    def _past(self, subject: Subject, verb: Verb, negated: bool) -> list[str]:
        """The compound past; with être the participle agrees with the subject."""
        auxiliary = words.present("être" if verb.with_etre else "avoir", subject.person)
        agree = (subject.feminine, subject.plural) if verb.with_etre else (False, False)
        return _negate(auxiliary, negated, words.participle(verb.fr, *agree))

    def _subject(self, kinds: tuple[str, ...], pronouns: bool = True) -> Subject:
        if "person" in kinds and self._chance(0.3):
            # I, we and you have no gender of their own: kept from participles that show one.
            english = self._draw(list(PRONOUNS) if pronouns else ["he", "she", "they"])
            feminine = english == "she"
            return Subject(english, [PRONOUNS[english]], PERSONS[english], feminine)
        return self._noun_phrase(kinds, complement=self._chance(0.3))

    def _object(self, verb: Verb, negated: bool, relative: bool = False) -> Subject | Phrase:
        """After a negation only definite: `pas de` would follow an indefinite one."""
        indefinite = not negated and self._chance(0.5)
        phrase = self._noun_phrase(verb.objects, indefinite=indefinite)
        self._combine(verb.en, phrase)
        if relative and self._chance(0.15):
            return _concat(phrase, self._relative(phrase))
        return phrase

    def _relative(self, antecedent: Subject) -> Phrase:
        """`that …`: qui where the antecedent acts; else que, and the participle agrees."""
        assert antecedent.noun is not None
        kind = antecedent.noun.kind
        does = [verb for verb in self.vocabulary.verbs if kind in verb.subjects]
        done_to = [verb for verb in self.vocabulary.verbs if kind in verb.objects]
        if does and (not done_to or self._chance(0.5)):
            verb = self._draw(does)
            predicate = self._predicate(antecedent, verb, "present", negated=False)
            return _concat(Phrase("that", ["qui"]), predicate, self._object(verb, negated=False))
        verb = self._draw(done_to)
        doer = self._subject(verb.subjects)
        self._combine(verb.en, antecedent)
        done = words.participle(verb.fr, antecedent.feminine, antecedent.plural)
        french = [words.present("avoir", doer.person), done]
        return _concat(Phrase("that", ["que"]), doer, Phrase(words.english_past(verb.en), french))

    # --- noun phrases ----------------------------------------------------------------------------

    def _noun_phrase(
        self,
        kinds: Sequence[str],
        indefinite: bool = False,
        adjective: bool = True,
        complement: bool = False,
    ) -> Subject:
        """Determiner, adjective, noun, and perhaps `of` another noun."""
        kind = self._draw(kinds)
        noun = self._draw(self.vocabulary.nouns[kind], self._weights[kind])
        plural = not noun.mass and self._chance(0.35)
        quality = self._adjective(noun) if adjective and self._chance(0.3) else None
        phrase = self._determined(noun, plural, quality, indefinite)
        if not complement or kind == "person" or self._chance(0.6):
            return phrase
        other = self._noun_phrase(self._owners(kind), adjective=self._chance(0.3))
        self._combine(noun.en, other)
        whole = _concat(phrase, Phrase("of", ["de"]), other)
        return Subject(whole.en, whole.fr, phrase.person, phrase.feminine, noun)

    def _owners(self, kind: str) -> tuple[str, ...]:
        """What a noun of this kind can be `of`."""
        if "fluid" in self.vocabulary.nouns:
            return ("rock", "fluid", "well") if kind in ("quantity", "sample") else ("well", "unit")
        return ("place",) if kind == "event" else ("person",)

    def _adjective(self, noun: Noun) -> Adjective | None:
        found = self.vocabulary.adjectives[noun.kind]
        if not found:
            return None
        adjective = self._draw(found)
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
            english = self._draw(tuple(PLURAL))
            # des becomes de before an adjective that stands in front.
            return english, ["de" if english == "some" and front else PLURAL[english]]
        if indefinite and not noun.mass:
            return words.english_article(english_body), ["une" if noun.feminine else "un"]
        countable = not plural and not noun.mass
        english = self._draw(tuple(DEFINITE)[: 5 + countable], DEFINITE_WEIGHTS[: 5 + countable])
        return _english_definite(english, plural), [_french_definite(english, noun, plural, body)]

    # --- small parts -----------------------------------------------------------------------------

    def _agent(self, verb: Verb) -> Phrase:
        agent = self._noun_phrase(verb.subjects)
        return _concat(Phrase("by", ["par"]), agent)

    def _place(self) -> Phrase:
        if self._chance(0.35):
            return Phrase("", [])
        preposition: Preposition = self._draw(self.vocabulary.prepositions)
        place = self._noun_phrase(preposition.kinds)
        return _concat(Phrase(preposition.en, preposition.fr.split()), place)

    def _adverb_or_place(self, tense: str, short: bool) -> Phrase:
        adverbs = self.vocabulary.adverbs
        if adverbs and tense != "past" and self._chance(0.5):  # in the past bien would move
            english, french = self._draw(adverbs)
            return Phrase(english, [french])
        return Phrase("", []) if short else self._place()

    def _with_time(self, clause: Phrase, tense: str, chance: float = 0.3) -> Phrase:
        if not self._chance(chance):
            return clause
        english, french = self._draw([entry.split("=") for entry in TIMES[tense].split(";")])
        if self._chance(0.3):
            front = Phrase(english.strip() + ",", [french.strip() + ","])
            return _concat(front, clause)
        return _concat(clause, Phrase(english.strip(), [french.strip()]))

    def _verb(self, verbs: Sequence[Verb]) -> Verb:
        """Verbs have Zipf frequencies too, in the order of their table."""
        return self._draw(
            verbs, [1 / (rank + 2) ** self.rank_exponent for rank in range(len(verbs))]
        )

    def _tense(self) -> str:
        return self._draw(("present", "past", "future"), (5, 4, 2))

    def _combine(self, word: str, phrase: Subject) -> None:
        if phrase.noun is not None:
            self.combinations.add((word, phrase.noun.en))

    def _draw(self, items: Sequence[Item], weights: Sequence[float] | None = None) -> Item:
        return self.rng.choices(items, weights)[0]

    def _chance(self, probability: float) -> bool:
        return self.rng.random() < probability


SENTENCES = (
    "_simple",
    "_complex",
    "_reported",
    "_there_is",
    "_imperative",
    "_passive",
    "_description",
)
SENTENCE_WEIGHTS = (8, 2, 1, 1, 2, 4, 3)


def _concat(*phrases: Phrase) -> Phrase:
    english = " ".join(phrase.en for phrase in phrases if phrase.en)
    return Phrase(english, list(itertools.chain.from_iterable(phrase.fr for phrase in phrases)))


def _negate(verb: str, negated: bool, *rest: str) -> list[str]:
    return ["ne", verb, "pas", *rest] if negated else [verb, *rest]


def _english_verb(verb: str, tense: str, subject: Subject, negated: bool) -> str:
    if tense == "future":
        return f"will {'not ' if negated else ''}{verb}"
    if tense == "past":
        return f"did not {verb}" if negated else words.english_past(verb)
    if negated:
        return f"{'does' if subject.singular_verb else 'do'} not {verb}"
    return words.english_third(verb) if subject.singular_verb else verb


def _be(tense: str, plural: bool, negated: bool) -> str:
    if tense == "future":
        return "will not be" if negated else "will be"
    forms = {"present": ("is", "are"), "past": ("was", "were")}[tense]
    return forms[plural] + (" not" if negated else "")


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


def _capitalise(text: str) -> str:
    return text[0].upper() + text[1:]
