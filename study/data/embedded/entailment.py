"""The embedded entailment language: two sentences, and whether the first entails the second.

A sentence says that all, some, none or not all of a kind do, or do not do, something: *not all of
the small puppies sprint*.  Entailment is decided by monotonicity (van Benthem 1986;
MacCartney & Manning 2007, "Natural logic for textual inference"): hypernyms of nouns and verbs,
quantifiers, negation, and verbs that exclude each other.  A noun alone is assumed to have
members; a noun with an adjective may have none.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

NOUN_CHAINS = (
    ("puppies", "dogs", "animals"),
    ("kittens", "cats", "animals"),
    ("sparrows", "birds", "animals"),
    ("surgeons", "doctors", "people"),
    ("violinists", "musicians", "people"),
)
VERB_CHAINS = (
    ("sprint", "run", "move"),
    ("doze", "sleep", "rest"),
    ("hum", "sing", "perform"),
    ("whisper", "speak", "communicate"),
)
"""Each entails the next: whoever sprints runs, whoever runs moves."""
EXCLUSIVE = ("move", "rest")
"""Nobody does two of these at once, or two of their hyponyms."""
ADJECTIVES = ("old", "small", "clever")
QUANTIFIERS: Mapping[str, tuple[str, ...]] = {
    "all": ("all",),
    "some": ("some", "several"),
    "no": ("no",),
    "not all": ("not all",),
}
LABELS = ("entailment", "neutral", "contradiction")


def _above(chains: tuple[tuple[str, ...], ...]) -> dict[str, frozenset[str]]:
    """Return each word with all its hypernyms, itself included."""
    return {word: frozenset(chain[i:]) for chain in chains for i, word in enumerate(chain)}


NOUNS, VERBS = _above(NOUN_CHAINS), _above(VERB_CHAINS)


@dataclass(frozen=True)
class Predicate:
    """What somebody does, or does not do if `negated`."""

    verb: str
    negated: bool = False

    def implies(self, other: Predicate) -> bool:
        """Return whether the other holds of everybody of whom this holds."""
        if self.negated:
            return other.negated and self.verb in VERBS[other.verb]
        if other.negated:
            return excludes(self.verb, other.verb)
        return other.verb in VERBS[self.verb]

    def opposite(self) -> Predicate:
        """Return what holds of exactly those of whom this does not."""
        return replace(self, negated=not self.negated)


def excludes(verb: str, other: str) -> bool:
    """Return whether nobody can do both."""
    kinds = [VERBS[v].intersection(EXCLUSIVE) for v in (verb, other)]
    return bool(kinds[0]) and bool(kinds[1]) and kinds[0] != kinds[1]


@dataclass(frozen=True)
class Kind:
    """The subject of a sentence: a noun, perhaps with an adjective."""

    noun: str
    adjective: str | None = None

    def falls_under(self, other: Kind) -> bool:
        """Return whether all members of this kind are of the other."""
        return other.noun in NOUNS[self.noun] and other.adjective in (None, self.adjective)

    def shares_members(self, other: Kind) -> bool:
        """Return whether the kinds must share a member: one is part of the other and not empty."""
        return (self.falls_under(other) and self.adjective is None) or (
            other.falls_under(self) and other.adjective is None
        )


@dataclass(frozen=True)
class Statement:
    """ "quantifier kind predicate", with the quantifier all, some, no or not all."""

    quantifier: str
    kind: Kind
    predicate: Predicate

    def plain(self) -> Statement:
        """Return the same with all or some: "no A do" as "all A do not", and so on."""
        same = {"no": "all", "not all": "some"}
        if self.quantifier not in same:
            return self
        return Statement(same[self.quantifier], self.kind, self.predicate.opposite())

    def denial(self) -> Statement:
        """Return, with all or some, what is true exactly if this is not."""
        plain = self.plain()
        other = "some" if plain.quantifier == "all" else "all"
        return Statement(other, plain.kind, plain.predicate.opposite())

    def entails(self, other: Statement) -> bool:
        """Return whether the other is true whenever this is."""
        one, two = self.plain(), other.plain()
        if not one.predicate.implies(two.predicate):
            return False
        match one.quantifier, two.quantifier:
            case "all", "all":
                return two.kind.falls_under(one.kind)
            case "all", "some":
                return one.kind.shares_members(two.kind)
            case "some", "some":
                return one.kind.falls_under(two.kind)
            case _:
                return False

    def worded(self, rng: random.Random) -> str:
        """Return the statement in words, one of several ways."""
        does = f"do not {self.predicate.verb}" if self.predicate.negated else self.predicate.verb
        kind = " ".join(filter(None, (self.kind.adjective, self.kind.noun)))
        return f"{rng.choice(QUANTIFIERS[self.quantifier])} {kind} {does}"


def label_of(premise: Statement, hypothesis: Statement) -> str:
    """Return the label: given the premise, the hypothesis must, may or cannot be true."""
    if premise.entails(hypothesis):
        return "entailment"
    return "contradiction" if premise.entails(hypothesis.denial()) else "neutral"


# ---------------------------------------------------------------- drawing


def statements(rng: random.Random) -> Iterator[tuple[Statement, Statement]]:
    """Yield endless premises and hypotheses in the same or related words."""
    while True:
        premise = Statement(
            rng.choice(tuple(QUANTIFIERS)),
            Kind(rng.choice(tuple(NOUNS)), rng.choice((None, *ADJECTIVES))),
            Predicate(rng.choice(tuple(VERBS)), rng.random() < 0.25),
        )
        yield premise, _near(premise, rng)


def _near(premise: Statement, rng: random.Random) -> Statement:
    kind, predicate = premise.kind, premise.predicate
    adjective = kind.adjective if rng.random() < 0.6 else rng.choice((None, *ADJECTIVES))
    return Statement(
        rng.choice(tuple(QUANTIFIERS)),
        Kind(_moved(kind.noun, NOUNS, rng), adjective),
        Predicate(_moved(predicate.verb, VERBS, rng), rng.random() < 0.25),
    )


def _moved(word: str, above: Mapping[str, frozenset[str]], rng: random.Random) -> str:
    """Return the word itself, a hypernym or hyponym of it, or another word."""
    related = [w for w in above if w != word and (w in above[word] or word in above[w])]
    draw = rng.random()
    if draw < 0.35:
        return word
    return rng.choice(related) if draw < 0.7 else rng.choice(tuple(above))


def entailment_pairs(rng: random.Random) -> Iterator[tuple[str, str, str]]:
    """Yield premise, hypothesis and label, all labels equally often."""
    candidates = statements(rng)
    while True:
        for wanted in LABELS:
            premise, hypothesis = next(pair for pair in candidates if label_of(*pair) == wanted)
            yield premise.worded(rng), hypothesis.worded(rng), wanted
