"""The labels of the embedded languages are right: a model-theoretic evaluator agrees with them."""

from __future__ import annotations

import itertools
import random
import re
from collections import Counter
from collections.abc import Iterator

import pytest

from study.data.embedded import pair_corpus
from study.data.embedded.entailment import (
    EXCLUSIVE,
    LABELS,
    NOUN_CHAINS,
    NOUNS,
    VERB_CHAINS,
    VERBS,
    Kind,
    Predicate,
    Statement,
    entailment_pairs,
    label_of,
    statements,
)
from study.data.embedded.paraphrase import ACTS, KINDS, PLACES, THINGS, paraphrase_pairs

Individual = frozenset[str]  # the words that are true of somebody


def possible(words: set[str]) -> list[Individual]:
    """Everybody there could be, as far as some words are concerned: no puppy that is no dog."""
    closed = set(words)
    for chain in (*NOUN_CHAINS, *VERB_CHAINS):
        for i, word in enumerate(chain):
            if word in words:
                closed |= set(chain[i:])
    subsets = (
        frozenset(found)
        for size in range(len(closed) + 1)
        for found in itertools.combinations(sorted(closed), size)
    )
    return [someone for someone in subsets if _consistent(someone, closed)]


def _consistent(someone: Individual, words: set[str]) -> bool:
    for chain in (*NOUN_CHAINS, *VERB_CHAINS):
        known = [word for word in chain if word in words]
        for lower, higher in itertools.pairwise(known):
            if lower in someone and higher not in someone:
                return False
    return not set(EXCLUSIVE) <= someone


def holds(statement: Statement, world: list[Individual]) -> bool:
    """The truth of a statement in a world, straight from what its quantifier means."""
    kind = {statement.kind.noun} | ({statement.kind.adjective} - {None})
    does = [
        (statement.predicate.verb in someone) != statement.predicate.negated
        for someone in world
        if kind <= someone
    ]
    match statement.quantifier:
        case "all":
            return all(does)
        case "some":
            return any(does)
        case "no":
            return not any(does)
        case _:
            return not all(does)


def words_of(*statements: Statement) -> set[str]:
    """The words of some statements that say something of somebody."""
    return {
        word
        for s in statements
        for word in (s.kind.noun, s.kind.adjective, s.predicate.verb)
        if word is not None
    }


def worlds(premise: Statement, hypothesis: Statement) -> Iterator[list[Individual]]:
    """Worlds enough to tell the two apart, every noun with a member in each.

    Whom a world holds matters to the two only by kind and verb, so one person stands for all of
    the same sign, and every choice of signs is a world.
    """
    words = words_of(premise, hypothesis)
    nouns = {noun for word in words if word in NOUNS for noun in NOUNS[word]}
    of_sign: dict[tuple[bool, ...], list[Individual]] = {}
    for someone in possible(words):
        of_sign.setdefault(_sign(premise, hypothesis, someone), []).append(someone)
    groups = [(people[0], nouns & set().union(*people)) for people in of_sign.values()]
    for kept in itertools.product((False, True), repeat=len(groups)):
        world = list(itertools.compress(groups, kept))
        if set().union(*(present for _, present in world)) == nouns:
            yield [someone for someone, _ in world]


def _sign(premise: Statement, hypothesis: Statement, someone: Individual) -> tuple[bool, ...]:
    """Which of both kinds somebody is, and which of both verbs are theirs."""
    kinds = [
        ({s.kind.noun} | ({s.kind.adjective} - {None})) <= someone for s in (premise, hypothesis)
    ]
    return (*kinds, premise.predicate.verb in someone, hypothesis.predicate.verb in someone)


def truth(premise: Statement, hypothesis: Statement) -> str:
    """The label by looking at the worlds in which the premise is true."""
    found = {holds(hypothesis, w) for w in worlds(premise, hypothesis) if holds(premise, w)}
    assert found, "a premise that is true nowhere entails everything"
    return {(True,): "entailment", (False,): "contradiction"}.get(tuple(found), "neutral")


@pytest.mark.whole
def test_every_label_is_what_the_worlds_say() -> None:
    """Drawn at random, premise and hypothesis have the label that an exhaustive search gives."""
    drawn = itertools.islice(statements(random.Random(0)), 50)
    found: Counter[str] = Counter()
    for premise, hypothesis in drawn:
        label = label_of(premise, hypothesis)
        assert label == truth(premise, hypothesis), (premise, hypothesis)
        found[label] += 1
    assert set(found) == set(LABELS)


def statement(text: str) -> Statement:
    """A statement from `quantifier [adjective] noun [do not] verb`."""
    match = re.fullmatch(r"(all|some|no|not all) (?:(\w+) )?(\w+) (do not )?(\w+)", text)
    assert match is not None
    quantifier, adjective, noun, negated, verb = match.groups()
    return Statement(quantifier, Kind(noun, adjective), Predicate(verb, bool(negated)))


@pytest.mark.parametrize(
    ("premise", "hypothesis", "label"),
    [
        ("all dogs run", "some puppies move", "entailment"),
        ("all dogs run", "some old dogs move", "neutral"),
        ("no animals rest", "no cats sleep", "entailment"),
        ("some dogs sprint", "no animals move", "contradiction"),
        ("all cats doze", "some cats run", "contradiction"),
        ("some cats doze", "some cats run", "neutral"),
        ("not all birds sing", "some animals do not perform", "neutral"),
        ("not all birds perform", "some animals do not sing", "entailment"),
    ],
)
def test_examples_that_a_person_can_check(premise: str, hypothesis: str, label: str) -> None:
    """Monotonicity, existential import, negation and exclusion, one by one."""
    assert label_of(statement(premise), statement(hypothesis)) == label
    assert truth(statement(premise), statement(hypothesis)) == label


def test_the_taxonomy_is_no_accident() -> None:
    """No word is a noun and a verb, and no chain holds a word twice."""
    assert not set(NOUNS) & set(VERBS)
    assert all(len(set(chain)) == len(chain) for chain in (*NOUN_CHAINS, *VERB_CHAINS))


# ---------------------------------------------------------------- paraphrases


def meaning(question: str) -> tuple[int, ...]:
    """What is asked of what and where, read from the words again."""
    match = re.fullmatch(r"(\w+ \w+ i) (\w+) my (\w+) at (\w+) \?", question)
    assert match is not None, question
    tables = (KINDS, ACTS, THINGS, PLACES)
    return tuple(
        next(i for i, words in enumerate(table) if word in words)
        for table, word in zip(tables, match.groups(), strict=True)
    )


def test_duplicates_mean_the_same() -> None:
    """Read again, two questions have one meaning exactly where they are labelled duplicates."""
    for first, second, label in itertools.islice(paraphrase_pairs(random.Random(1)), 2000):
        assert (meaning(first) == meaning(second)) == (label == "duplicate"), (first, second)


# ---------------------------------------------------------------- corpora


@pytest.mark.slow
@pytest.mark.parametrize("language", ["mnli", "qqp"])
def test_a_corpus_is_drawn_from_its_seed_and_shares_nothing(language: str) -> None:
    """The same seed gives the same pairs; no pair stands in two splits; labels are balanced."""
    one, again, other = (pair_corpus(language, seed) for seed in (0, 0, 1))
    assert one == again
    assert one.dev != other.dev
    splits = [{(p.first, p.second) for p in split} for split in (one.train, one.dev, one.teacher)]
    assert all(not a & b for a, b in itertools.combinations(splits, 2))
    counts = Counter(pair.label for pair in one.train)
    assert max(counts.values()) < 1.3 * min(counts.values())


def test_words_alone_do_not_tell() -> None:
    """Every label comes with every quantifier of the hypothesis: it gives no label away."""
    drawn = list(itertools.islice(entailment_pairs(random.Random(0)), 1500))
    for quantifier in ("all", "some", "no", "not"):
        labels = Counter(label for _, h, label in drawn if h.split()[0] == quantifier)
        assert set(labels) == set(LABELS), quantifier
        assert max(labels.values()) < 0.75 * sum(labels.values())
