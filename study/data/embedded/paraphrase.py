"""The embedded paraphrase language: two questions, and whether they ask the same.

A question has a meaning: which kind of question, what is done, to what, and where.  Each of these
has two words for it.  Two questions are duplicates if their meanings are one; where they are not,
they differ in one part, sometimes in two, so that shared words alone do not tell: *how do i mend
my bike at home ?* asks what *how can i repair my bicycle at house ?* asks, and not what *how do i
sell my bike at home ?* does.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import astuple, dataclass, replace

KINDS = (("how do i", "how can i"), ("why must i", "why should i"), ("when may i", "when shall i"))
ACTS = (
    ("mend", "repair"),
    ("buy", "purchase"),
    ("sell", "trade"),
    ("clean", "wash"),
    ("lend", "loan"),
    ("choose", "select"),
)
THINGS = (
    ("bike", "bicycle"),
    ("car", "automobile"),
    ("phone", "mobile"),
    ("sofa", "couch"),
    ("coat", "jacket"),
    ("lamp", "light"),
    ("photo", "picture"),
    ("cup", "mug"),
)
PLACES = (("home", "house"), ("work", "office"), ("school", "college"), ("shop", "store"))
LABELS = ("not_duplicate", "duplicate")


@dataclass(frozen=True)
class Meaning:
    """What is asked: positions in the tables above."""

    kind: int
    act: int
    thing: int
    place: int

    def asked(self, rng: random.Random) -> str:
        """Return a question with this meaning, one of sixteen."""
        tables = (KINDS, ACTS, THINGS, PLACES)
        kind, act, thing, place = (
            rng.choice(table[i]) for table, i in zip(tables, astuple(self), strict=True)
        )
        return f"{kind} {act} my {thing} at {place} ?"


SIZES = {"kind": len(KINDS), "act": len(ACTS), "thing": len(THINGS), "place": len(PLACES)}


def _drawn(rng: random.Random) -> Meaning:
    return Meaning(**{part: rng.randrange(size) for part, size in SIZES.items()})


def _another(meaning: Meaning, rng: random.Random) -> Meaning:
    """Return a meaning that differs in one part, or in two."""
    for part in rng.sample(tuple(SIZES), rng.choice((1, 1, 2))):
        others = [i for i in range(SIZES[part]) if i != getattr(meaning, part)]
        meaning = replace(meaning, **{part: rng.choice(others)})
    return meaning


def paraphrase_pairs(rng: random.Random) -> Iterator[tuple[str, str, str]]:
    """Yield two questions and their label without end, both labels equally often."""
    while True:
        for wanted in LABELS:
            meaning = _drawn(rng)
            other = meaning if wanted == "duplicate" else _another(meaning, rng)
            yield meaning.asked(rng), other.asked(rng), wanted
