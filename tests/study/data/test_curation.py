"""The selection as a whole: every record has one fate, and the same records give the same."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from functools import partial

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from study.data.curation import Choices, Curation, Lengths, Record, curate, tfidf
from study.data.curation.cleaning import clean, normalised
from study.data.curation.embedding import CountCallback, Vectors, contents
from study.data.curation.selection import FULL, NOT_DRAWN
from study.data.curation.summary import summary
from study.errors import InputError
from study.seeds import derive_seed

SUBJECTS = {
    "weather": ["rain", "storm", "cloud", "wind", "snow", "sun", "fog", "thunder"],
    "kitchen": ["bread", "soup", "pepper", "oven", "knife", "salt", "onion", "plate"],
    "harbour": ["ship", "anchor", "crane", "dock", "sailor", "cargo", "rope", "tide"],
}
TEMPLATES = {
    "ask": "Please tell me what you think of this: {}",
    "judge": "{} Is that good or bad, would you say?",
}


def generated(each: int = 40) -> list[Record]:
    """Inputs on three subjects through two templates; every sixth through the second."""
    found, count = [], 0
    for subject, words in SUBJECTS.items():
        chance = random.Random(derive_seed(0, subject))
        for n in range(each):
            template = "judge" if n % 6 == 0 else "ask"
            text = TEMPLATES[template].format(" ".join(chance.sample(words, 4)) + f" {n}")
            count += 1
            found.append(Record(count, text, f"{subject} {n}", template))
    return found


def by_length(records: Sequence[Record], seed: int, progress: CountCallback) -> Vectors:
    """A stand-in for an embedding: quick, and a function of the text alone."""
    return np.array([[len(r.source), len(r.target)] for r in records], dtype=np.float32)


def content(curation: Curation) -> dict[str, list[tuple[str, str]]]:
    """What every split says, in its order."""
    return {n: [(r.source, r.target) for r in part] for n, part in curation.splits.items()}


PIECES = st.text(alphabet="ab .,Ä\u0041\u030a", max_size=6)


@pytest.mark.whole
@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.tuples(PIECES, PIECES, st.sampled_from("xyz")), min_size=8, max_size=40),
    st.sampled_from(
        [
            {},
            {"sample": 7},
            {"per_template": 3},
            {"clusters": 3, "per_cluster": 2},
            {"clusters": 2, "per_cluster": 5, "test": 0.2, "seed": 3},
            {"lengths": Lengths(min_characters=2, max_characters=4)},
        ],
    ),
    st.randoms(use_true_random=False),
)
def test_every_record_has_one_fate(
    rows: list[tuple[str, str, str]], wanted: dict[str, object], chance: random.Random
) -> None:
    """Nothing is lost or there twice, totals are as asked, and the order read does not matter."""
    found = [Record(n, s.strip(), t.strip(), name) for n, (s, t, name) in enumerate(rows)]
    choices = Choices(**wanted)  # type: ignore[arg-type]
    left, _ = clean(found, choices.lengths, None)
    if len({normalised(r.source) for r in left}) < 4:
        return  # too few for every part: refused, as another test says
    try:
        curation = curate(found, choices, embed=by_length)
    except InputError:  # the sample drew the same input over and over
        assert len(left) > (choices.sample or choices.per_template or 2)
        return
    event("selected")
    kept = [r for part in curation.splits.values() for r in part]
    numbers = [r.number for r in kept] + [d.record.number for d in curation.dropped]
    assert sorted(numbers) == [r.number for r in found]
    pairs = {(normalised(r.source), normalised(r.target)) for r in kept}
    assert len(pairs) == len(kept)
    there = sum(cluster.size for cluster in curation.clusters)
    assert len(kept) == min(there, choices.per_cluster * len(curation.clusters))
    assert there == len(kept) + sum(d.reason == FULL for d in curation.dropped)
    if choices.sample is not None:
        assert there <= choices.sample
    other = found.copy()
    chance.shuffle(other)
    again = curate(other, choices, embed=by_length)
    assert content(again) == content(curation)
    assert Counter(d.reason for d in again.dropped) == Counter(d.reason for d in curation.dropped)


def test_clusters_are_subjects_not_templates() -> None:
    """TF-IDF without the templates' words tells subjects apart, and shows their words."""
    found = generated()
    curation = curate(found, Choices(clusters=3, per_cluster=30))
    subject = {r.number: r.target.split()[0] for r in found}
    met = {(curation.cluster_of[n], subject[n]) for n in subject}
    assert len(met) == 3
    for cluster, name in met:
        assert set(curation.clusters[cluster].words) <= set(SUBJECTS[name])
        assert len(curation.clusters[cluster].words) == 6
        assert any(word in curation.clusters[cluster].typical for word in SUBJECTS[name])


def test_contents_leave_the_templates_words_out() -> None:
    """What is left is what was put into the template; a template's only input keeps all."""
    found = [*generated(12), Record(99, "Alone, one of its kind", "yes", "rare")]
    said = contents(found)
    assert said[-1] == "alone , one of its kind"
    assert not {"please", "think", "good", "would"} & set(" ".join(said[:-1]).split())
    assert "rain" in " ".join(said)


def test_a_short_cluster_is_topped_up_from_the_others() -> None:
    """30 a cluster are wanted and one has 20: the two others give five more each."""
    found = [r for r in generated() if r.target.split()[0] != "harbour" or r.number % 2]
    curation = curate(found, Choices(clusters=3, per_cluster=30))
    assert [c.size for c in curation.clusters] == [40, 40, 20]
    assert [c.taken for c in curation.clusters] == [35, 35, 20]
    said = summary(found, curation)
    assert said["filling"] == ("3 × 30 wanted: cluster 3 lacks 10, topped up from the others")
    assert [row["topped_up"] for row in said["clusters"]] == [5, 5, 0]
    everything = summary(found, curate(found, Choices(clusters=3, per_cluster=1000)))
    assert everything["filling"] == "3 × 1,000 wanted, only 100 available: all are taken"
    enough = summary(found, curate(found, Choices(clusters=3, per_cluster=20)))
    assert enough["filling"] == "3 × 20 wanted: each cluster gave 20"


def test_the_summary_adds_up() -> None:
    """What every template and cluster lost and gave makes the totals."""
    found = [
        *generated(),
        *(Record(500 + n, r.source, r.target) for n, r in enumerate(generated(4))),
    ]
    found += [Record(900, "", "yes"), Record(901, "Why?", "")]
    curation = curate(found, Choices(sample=60, clusters=3, per_cluster=10, test=0.2))
    said = summary(found, curation)
    assert said["read"] == 134
    assert said["dropped"] == {
        "empty input": 1,
        "empty output": 1,
        "exact duplicate": 12,
        NOT_DRAWN: 60,
        FULL: 30,
    }
    assert said["splits"] == {"train": 21, "dev": 3, "test": 6}
    totals = Counter[str]()
    for row in said["templates"]:
        totals.update({key: value for key, value in row.items() if key != "name"})
    assert totals == {
        "read": 134,
        "usable": 120,
        "drawn": 60,
        "selected": 30,
        "train": 21,
        "dev": 3,
        "test": 6,
    }
    assert 0 <= said["agreement_with_templates"] + 0.2 < 0.5


def test_a_seed_draws_its_own_sample() -> None:
    """The same seed gives the same splits, another one others."""
    found = generated()
    seeds = [content(curate(found, Choices(sample=50, seed=seed))) for seed in (0, 0, 1)]
    assert seeds[0] == seeds[1] != seeds[2]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Apa kabar?", "apa  kabar ?"),
        ("Well done!", "“well done”"),
        ("Caf\u00e9", "cafe\u0301"),
        ("STRASSE", "straße"),
        ("a,\tb\n", "a b"),
    ],
)
def test_what_is_the_same_text(one: str, other: str) -> None:
    """Case, spacing, composition and marks at words' ends make no other text."""
    assert normalised(one) == normalised(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2 + 2", "2 - 2"),
        ("3.5", "35"),
        ("x < y", "x > y"),
        ("don't", "dont"),
        ("?", "!"),
        ("é", "e"),
    ],
)
def test_what_is_another_text(one: str, other: str) -> None:
    """Signs within an expression, accents, and marks that stand alone count."""
    assert normalised(one) != normalised(other)


def test_one_input_with_two_outputs_stays_together() -> None:
    """Different answers to one question are no duplicates, and never part between the splits."""
    found = [Record(n, f"Question {n // 2}" + "?" * (n % 2), "ab"[n % 2]) for n in range(40)]
    curation = curate(found, Choices(dev=0.3), embed=by_length)
    assert curation.dropped == ()
    sides = [{r.source.rstrip("?") for r in part} for part in curation.splits.values()]
    assert sum(map(len, sides)) == 20
    assert len(curation.splits["dev"]) == 12


def test_long_and_short_ones_are_dropped_with_the_limit() -> None:
    """Each limit is named in the reason; tokens are counted by the tokenizer given."""
    found = [Record(n, "word " * n + "end", "yes") for n in range(1, 9)]
    lengths = Lengths(min_characters=10, max_characters=38, max_tokens=5)

    def count(texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    curation = curate(found, Choices(lengths), embed=by_length, count_tokens=count)
    assert Counter(d.reason for d in curation.dropped) == {
        "input under 10 characters": 1,
        "over 38 characters": 1,
        "over 5 tokens": 3,
    }
    assert curation.selected == 3


REFUSED = {
    "no records": (partial(curate, []), "records: none of 0 is usable: there are none"),
    "only empty ones": (
        partial(curate, [Record(1, "", "a"), Record(2, "b", "")]),
        "records: none of 2 is usable: 1 empty input, 1 empty output",
    ),
    "only duplicates": (
        partial(curate, [Record(n, "a well", "yes") for n in range(9)]),
        "records: 1 distinct input is left; needed: at least one for each of dev, test, train",
    ),
    "tokens without a tokenizer": (
        partial(curate, generated(2), Choices(Lengths(max_tokens=9))),
        "max_tokens: needs a tokenizer, got none",
    ),
    "two ways to sample": (
        partial(Choices, sample=1, per_template=1),
        "sample, per_template: only one is allowed, got both",
    ),
    "no dev set": (partial(Choices, dev=0.0), "dev: must be a share above 0 and below 1, got 0.0"),
    "no train set": (
        partial(Choices, dev=0.5, test=0.5),
        "dev, test: must be below 1 together, got 0.5",
    ),
    "no clusters": (partial(Choices, clusters=0), "clusters: must be at least 1, got 0"),
    "a cluster a record": (
        partial(Choices, clusters=10**9),
        "clusters: must be at most 1,000, got 1,000",
    ),
    "not a number": (
        partial(Choices, dev=float("nan")),
        "dev: must be a share above 0 and below 1, got",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str) -> None:
    """One line says what is wrong."""
    ask, line = REFUSED[name]
    with pytest.raises(InputError) as refused:
        ask()
    assert len(refused.value.problems) == 1
    assert str(refused.value).startswith(line)


@pytest.mark.parametrize("texts", [["?", "!", "…"], ["a"] * 5, ["\u200b", "b"], ["好", "油井"]])
def test_texts_of_next_to_nothing_are_embedded(texts: list[str]) -> None:
    """Marks alone, one text many times, no spaces between words: vectors of length 1."""
    found = [Record(n, text, str(n)) for n, text in enumerate(texts)]
    vectors = tfidf(found, 0, lambda done, total: None)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(len(texts)))


def test_fewer_distinct_inputs_than_clusters() -> None:
    """There are as many clusters as distinct inputs, without a warning."""
    found = [Record(n, ["the well", "a rig"][n % 2], str(n)) for n in range(6)]
    assert [c.size for c in curate(found, Choices(test=0)).clusters] == [3, 3]
