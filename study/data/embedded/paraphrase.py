"""The embedded paraphrase language: two questions, and whether they ask the same.

A question has a meaning: who did what to whom, and where.  It can be asked in the active or the
passive voice, with the place first or last, and with either of two words for everything.  Two
questions are duplicates if their meanings are one; where they are not, roles are swapped or one
part is another, so that shared words alone do not tell.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

ACTORS = (
    ("doctor", "physician"),
    ("lawyer", "attorney"),
    ("teacher", "tutor"),
    ("child", "kid"),
    ("friend", "pal"),
    ("thief", "robber"),
    ("writer", "author"),
    ("boss", "chief"),
)
ACTS = (
    (("help", "helped"), ("assist", "assisted")),
    (("choose", "chosen"), ("select", "selected")),
    (("scare", "scared"), ("frighten", "frightened")),
    (("call", "called"), ("phone", "phoned")),
    (("trick", "tricked"), ("fool", "fooled")),
    (("praise", "praised"), ("applaud", "applauded")),
)
"""Each in two words, each of these as infinitive and participle."""
PLACES = (("shop", "store"), ("forest", "woods"), ("road", "street"), ("house", "home"))
LABELS = ("not_duplicate", "duplicate")


@dataclass(frozen=True)
class Meaning:
    """Who did what to whom where: positions in the tables above."""

    agent: int
    act: int
    patient: int
    place: int

    def asked(self, rng: random.Random) -> str:
        """Return a question with this meaning, one of several."""
        agent, patient = (rng.choice(ACTORS[i]) for i in (self.agent, self.patient))
        infinitive, participle = rng.choice(ACTS[self.act])
        place = f"near the {rng.choice(PLACES[self.place])}"
        question = rng.choice(
            (
                f"did the {agent} {infinitive} the {patient}",
                f"was the {patient} {participle} by the {agent}",
            )
        )
        return rng.choice((f"{question} {place} ?", f"{place} {question} ?"))


def _another(meaning: Meaning, rng: random.Random) -> Meaning:
    """Return a meaning that differs in its roles, or in one part."""
    if rng.random() < 0.4:
        return replace(meaning, agent=meaning.patient, patient=meaning.agent)
    part = rng.choice(("agent", "act", "patient", "place"))
    table = {"act": ACTS, "place": PLACES}.get(part, ACTORS)
    taken = {meaning.agent, meaning.patient} if table is ACTORS else {getattr(meaning, part)}
    other = rng.choice([i for i in range(len(table)) if i not in taken])
    return replace(meaning, **{part: other})


def paraphrase_pairs(rng: random.Random) -> Iterator[tuple[str, str, str]]:
    """Yield two questions and their label without end, both labels equally often."""
    while True:
        for wanted in LABELS:
            agent, patient = rng.sample(range(len(ACTORS)), 2)
            meaning = Meaning(agent, rng.randrange(len(ACTS)), patient, rng.randrange(len(PLACES)))
            other = meaning if wanted == "duplicate" else _another(meaning, rng)
            yield meaning.asked(rng), other.asked(rng), wanted
