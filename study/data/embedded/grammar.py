"""Sentences in two languages at once, from one grammar and a domain's vocabulary.

Every phrase is built in English and French side by side; agreement, elision and contraction are
worked out on the French side: `the new valve of the old well` is `la nouvelle vanne du vieux
puits`.  A `Grammar` draws only from its own `random.Random`.
"""

from __future__ import annotations

import random

from study.data.embedded import words
from study.data.embedded.lexicon import TIMES
from study.data.embedded.phrases import (
    PERSONS,
    PRONOUNS,
    Dice,
    NounPhrases,
    Phrase,
    Subject,
    concat,
)
from study.data.embedded.vocabulary import Vocabulary
from study.data.embedded.words import Person, Verb

MODALS = {"can": "pouvoir", "must": "devoir"}
REPORTS = {"say": "dire", "think": "penser", "know": "savoir"}


class Grammar:
    """Draws sentences of one domain, with Zipf-distributed word frequencies."""

    def __init__(self, vocabulary: Vocabulary, rng: random.Random, rank_exponent: float = 0.0):
        self.vocabulary = vocabulary
        self.dice = Dice(rng, rank_exponent)
        self.nouns = NounPhrases(vocabulary, self.dice)

    @property
    def combinations(self) -> set[tuple[str, str]]:
        """The pairs of content words that the last sentence combined."""
        return self.nouns.combinations

    def sentence(self) -> tuple[str, str]:
        """Return one sentence in English and in French."""
        self.combinations.clear()
        phrase = self._build()
        french = words.join_french(phrase.fr)
        return _capitalise(phrase.en) + ".", _capitalise(french) + "."

    def _build(self) -> Phrase:
        kinds = {
            self._simple: 8,
            self._complex: 2,
            self._reported: 1,
            self._there_is: 1,
            self._imperative: 2,
            self._passive: 4,
            self._description: 3,
        }
        return self.dice.draw(tuple(kinds), tuple(kinds.values()))()

    # --- sentences -------------------------------------------------------------------------------

    def _simple(self) -> Phrase:
        tense = self._tense()
        return self._with_time(self._clause(tense), tense)

    def _complex(self) -> Phrase:
        tense = self.dice.draw(("present", "past"))
        english, french = self.dice.draw(self.vocabulary.conjunctions)
        first, second = self._clause(tense, short=True), self._clause(tense, short=True)
        return concat(first, Phrase(english, french.split()), second)

    def _reported(self) -> Phrase:
        english, french = self.dice.draw(list(REPORTS.items()))
        verb = Verb(english, french, ("person",))
        subject = self._subject(("person",))
        that = Phrase("that", ["que"])
        report = self._predicate(subject, verb, "present", negated=False)
        return concat(subject, report, that, self._clause(self._tense(), short=True))

    def _there_is(self) -> Phrase:
        kind = self.dice.draw([kind for kind in self.vocabulary.nouns if kind != "job"])
        thing = self.nouns.draw((kind,), indefinite=True)
        english = "there are" if thing.plural else "there is"
        return concat(Phrase(english, ["il", "y", "a"]), thing, self.nouns.place())

    def _imperative(self) -> Phrase:
        verb = self.dice.draw_word(
            [verb for verb in self.vocabulary.verbs if "person" in verb.subjects]
        )
        negated = self.dice.chance(0.25)
        english = f"do not {verb.en}" if negated else verb.en
        if self.vocabulary.infinitive_orders:
            phrase = Phrase(english, ["ne", "pas", verb.fr] if negated else [verb.fr])
        else:
            phrase = Phrase(english, _negate(words.present(verb.fr, Person.YOU), negated))
        return concat(phrase, self._object(verb, negated), self.nouns.place())

    def _passive(self) -> Phrase:
        """An agent or a place behind the participle, which agrees with the subject."""
        tense = self._tense()
        verb = self.dice.draw_word(self.vocabulary.verbs)
        subject = self.nouns.draw(verb.objects)
        self.nouns.combine(verb.en, subject)
        plural, negated = subject.plural, self.dice.chance(0.15)
        done = words.participle(verb.fr, subject.feminine, plural)
        be = {"present": "être", "past": "avoir", "future": "être"}[tense]
        conjugate = words.future if tense == "future" else words.present
        auxiliary = conjugate(be, subject.person)
        french = ["ne", auxiliary, "pas"] if negated else [auxiliary]
        french += ["été", done] if tense == "past" else [done]
        english = f"{_be(tense, plural, negated)} {words.english_participle(verb.en)}"
        tail = self._agent(verb) if self.dice.chance(0.5) else self.nouns.place()
        return self._with_time(concat(subject, Phrase(english, french), tail), tense, chance=0.15)

    def _description(self) -> Phrase:
        kinds = [kind for kind, adjectives in self.vocabulary.adjectives.items() if adjectives]
        subject = self.nouns.draw((self.dice.draw(kinds),), adjective=False, complement=True)
        assert subject.noun is not None
        adjective = self.dice.draw(self.vocabulary.adjectives[subject.noun.kind])
        self.nouns.combine(adjective.en, subject)
        tense, negated = self._tense(), self.dice.chance(0.2)
        is_ = words.future("être", subject.person)
        if tense != "future":
            past = "étaient" if subject.plural else "était"
            is_ = past if tense == "past" else words.present("être", subject.person)
        french = ["ne", is_, "pas"] if negated else [is_]
        french.append(adjective.agree(subject.feminine, subject.plural))
        return concat(
            subject, Phrase(f"{_be(tense, subject.plural, negated)} {adjective.en}", french)
        )

    # --- clauses ---------------------------------------------------------------------------------

    def _clause(self, tense: str, short: bool = False) -> Phrase:
        """Subject, verb, object or adverb, and in a long clause a place."""
        negated = self.dice.chance(0.2)
        intransitive = bool(self.vocabulary.intransitive) and self.dice.chance(0.25)
        verb = self.dice.draw_word(
            self.vocabulary.intransitive if intransitive else self.vocabulary.verbs
        )
        subject = self._subject(verb.subjects, pronouns=not verb.with_etre)
        modal = None if short or tense != "present" else self.dice.draw((None, None, *MODALS))
        predicate = self._predicate(subject, verb, tense, negated, modal)
        if intransitive:
            self.nouns.combine(verb.en, subject)
            tail = self._adverb_or_place(tense, short)
            return concat(subject, predicate, tail)
        clause = concat(subject, predicate, self._object(verb, negated, relative=not short))
        return clause if short or self.dice.chance(0.5) else concat(clause, self.nouns.place())

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
        if "person" in kinds and self.dice.chance(0.3):
            # not with participles that show a gender, since I, we and you have none
            english = self.dice.draw(list(PRONOUNS) if pronouns else ["he", "she", "they"])
            feminine = english == "she"
            return Subject(english, [PRONOUNS[english]], PERSONS[english], feminine)
        return self.nouns.draw(kinds, complement=self.dice.chance(0.3))

    def _object(self, verb: Verb, negated: bool, relative: bool = False) -> Subject | Phrase:
        """Only definite after a negation: an indefinite one would need `pas de`."""
        indefinite = not negated and self.dice.chance(0.5)
        phrase = self.nouns.draw(verb.objects, indefinite=indefinite)
        self.nouns.combine(verb.en, phrase)
        if relative and self.dice.chance(0.15):
            return concat(phrase, self._relative(phrase))
        return phrase

    def _relative(self, antecedent: Subject) -> Phrase:
        """`that …`: qui if the antecedent acts; otherwise que, and the participle agrees."""
        assert antecedent.noun is not None
        kind = antecedent.noun.kind
        does = [verb for verb in self.vocabulary.verbs if kind in verb.subjects]
        done_to = [verb for verb in self.vocabulary.verbs if kind in verb.objects]
        if does and (not done_to or self.dice.chance(0.5)):
            verb = self.dice.draw(does)
            predicate = self._predicate(antecedent, verb, "present", negated=False)
            return concat(Phrase("that", ["qui"]), predicate, self._object(verb, negated=False))
        verb = self.dice.draw(done_to)
        doer = self._subject(verb.subjects)
        self.nouns.combine(verb.en, antecedent)
        done = words.participle(verb.fr, antecedent.feminine, antecedent.plural)
        french = [words.present("avoir", doer.person), done]
        return concat(Phrase("that", ["que"]), doer, Phrase(words.english_past(verb.en), french))

    # --- small parts -----------------------------------------------------------------------------

    def _agent(self, verb: Verb) -> Phrase:
        agent = self.nouns.draw(verb.subjects)
        return concat(Phrase("by", ["par"]), agent)

    def _adverb_or_place(self, tense: str, short: bool) -> Phrase:
        adverbs = self.vocabulary.adverbs
        if adverbs and tense != "past" and self.dice.chance(0.5):  # in the past bien would move
            english, french = self.dice.draw(adverbs)
            return Phrase(english, [french])
        return Phrase("", []) if short else self.nouns.place()

    def _with_time(self, clause: Phrase, tense: str, chance: float = 0.3) -> Phrase:
        if not self.dice.chance(chance):
            return clause
        english, french = self.dice.draw([entry.split("=") for entry in TIMES[tense].split(";")])
        if self.dice.chance(0.3):
            front = Phrase(english.strip() + ",", [french.strip() + ","])
            return concat(front, clause)
        return concat(clause, Phrase(english.strip(), [french.strip()]))

    def _tense(self) -> str:
        return self.dice.draw(("present", "past", "future"), (5, 4, 2))


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


def _capitalise(text: str) -> str:
    return text[0].upper() + text[1:]
