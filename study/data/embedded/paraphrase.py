"""The embedded paraphrase language: two questions, and whether they ask the same.

A question's meaning has four parts: the kind of question, the action, the thing and the place.
Each part can be worded in two ways.  Questions with the same meaning are duplicates; others differ
in one part or in two, so that shared words do not give the label away: *how do i mend my bike at
home ?* means the same as *how can i repair my bicycle at house ?*, but not the same as *how do i
sell my bike at home ?*
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
    """The meaning of a question: positions in the tables above."""

    kind: int
    act: int
    thing: int
    place: int

    def question(self, rng: random.Random) -> str:
        """Return one of the sixteen questions with this meaning."""
        tables = (KINDS, ACTS, THINGS, PLACES)
        kind, act, thing, place = (
            rng.choice(table[i]) for table, i in zip(tables, astuple(self), strict=True)
        )
        return f"{kind} {act} my {thing} at {place} ?"


SIZES = {"kind": len(KINDS), "act": len(ACTS), "thing": len(THINGS), "place": len(PLACES)}


def _another(meaning: Meaning, rng: random.Random) -> Meaning:
    """Return a meaning that differs in one part or in two."""
    for part in rng.sample(tuple(SIZES), rng.choice((1, 1, 2))):
        others = [i for i in range(SIZES[part]) if i != getattr(meaning, part)]
        meaning = replace(meaning, **{part: rng.choice(others)})
    return meaning


def paraphrase_pairs(rng: random.Random) -> Iterator[tuple[str, str, str]]:
    """Yield endless pairs of questions with their label, both labels equally often."""
    while True:
        for wanted in LABELS:
            meaning = Meaning(**{part: rng.randrange(size) for part, size in SIZES.items()})
            other = meaning if wanted == "duplicate" else _another(meaning, rng)
            yield meaning.question(rng), other.question(rng), wanted
