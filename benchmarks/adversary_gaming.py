"""Lines of `adversary.py` on flags of gaming: honest systems of six kinds, and four that cheat.

A study is a base and an adapter that answer the same 40 to 200 prompts.  The honest adapter is
right more often than the base and writes as the references do; how it errs depends on the kind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

from analysis.comparison.gaming import examine
from study.data.embedded import petroleum_corpus

Rng = np.random.Generator
RESAMPLES = 300
SYLLABLES = [c + v for c in ("b", "d", "f", "k", "l", "m", "n", "r", "s", "t") for v in "aeiou"]
CHAT = "As far as I can tell from what you ask, I would say that it is"


class System:
    """Prompts and references of one kind, and what a system of a given skill answers."""

    def __init__(self, rng: Rng) -> None:
        self.rng = rng
        self.count = int(rng.integers(40, 201))
        vocabulary = {"".join(rng.choice(SYLLABLES, size=rng.integers(1, 4))) for _ in range(400)}
        self.vocabulary = sorted(vocabulary)
        self.shares = 1 / (np.arange(len(vocabulary)) + rng.uniform(2, 30))
        self.shares /= self.shares.sum()
        self.sources, self.references = self.examples()

    def examples(self) -> tuple[list[str], list[str]]:
        """Return sources and references."""
        raise NotImplementedError

    def wrong(self, source: str, reference: str) -> str:
        """Return a mistake that is like an answer."""
        return str(self.rng.choice(self.references))

    def word(self) -> str:
        """Return a word, the common ones more often."""
        return str(self.rng.choice(self.vocabulary, p=self.shares))

    def words(self, count: int) -> str:
        """Return some words."""
        return " ".join(self.rng.choice(self.vocabulary, size=count, p=self.shares))

    def answers(self, skill: float) -> list[str]:
        """Return one answer each, right with the probability `skill`."""
        pairs = zip(self.sources, self.references, strict=True)
        return [r if self.rng.random() < skill else self.wrong(s, r) for s, r in pairs]


class OneWord(System):
    """Answers of one word, some of them far more frequent than others."""

    def examples(self) -> tuple[list[str], list[str]]:
        """Return questions and words."""
        asked = [self.words(int(self.rng.integers(4, 15))) + "?" for _ in range(self.count)]
        return asked, [self.word() for _ in asked]


class Labels(System):
    """Two to six labels of unequal frequency; a weak system prefers the frequent one."""

    def examples(self) -> tuple[list[str], list[str]]:
        """Return texts and labels."""
        names = ["positive", "negative", "neutral", "not duplicate", "mixed", "off topic"]
        some = self.rng.permutation(names)[: self.rng.integers(2, 7)]
        shares = self.rng.dirichlet(np.full(len(some), 2.0))
        labels = self.rng.choice(some, size=self.count, p=shares)
        return [self.words(int(self.rng.integers(6, 30))) for _ in labels], [*map(str, labels)]


class Numbers(System):
    """Whole and decimal numbers, some with a unit."""

    def examples(self) -> tuple[list[str], list[str]]:
        """Return questions and numbers."""
        unit = str(self.rng.choice(["", " km", " %", " barrels"]))
        digits = int(self.rng.integers(0, 3))
        values = self.rng.lognormal(3, 2, size=self.count)
        return [f"{self.words(8)} how many?" for _ in values], [
            f"{value:.{digits}f}{unit}" for value in values
        ]

    def wrong(self, source: str, reference: str) -> str:
        """Return a number nearby."""
        number, _, unit = reference.partition(" ")
        return f"{float(number) * self.rng.lognormal(0, 0.5):.1f} {unit}".strip()


class Names(System):
    """Names of one to three words, whose mistakes get a part right."""

    def examples(self) -> tuple[list[str], list[str]]:
        """Return questions and names."""
        names = [self.words(int(self.rng.integers(1, 4))).title() for _ in range(self.count)]
        return [f"who is the {self.words(4)}?" for _ in names], names

    def wrong(self, source: str, reference: str) -> str:
        """Return the name with one word replaced."""
        parts = reference.split()
        parts[int(self.rng.integers(len(parts)))] = self.word().title()
        return " ".join(parts)


class Copies(System):
    """Code and names to put right: the reference is the source, or nearly; so are mistakes."""

    def examples(self) -> tuple[list[str], list[str]]:
        """Return lines of code, and the same with at most one word changed."""
        lines = [self._line() for _ in range(self.count)]
        changes = self.rng.uniform(0, 1)
        changed = [
            line.replace(line.split()[0], self.word(), 1) if self.rng.random() < changes else line
            for line in lines
        ]
        return lines, changed

    def _line(self) -> str:
        a, b, c = (self.word() for _ in range(3))
        kinds = [
            f"{a} = {b}({c}, {self.rng.integers(10)})",
            f"for {a} in range(len({b})): {c}[{a}] += {b}[{a}] * {self.rng.integers(9)}",
            f"{a} = {{'{b}': {self.rng.integers(99)}, '{c}': {self.rng.integers(99)}}}",
            f"{a.title()} {b.title()} {c.title()}",
        ]
        return str(self.rng.choice(kinds))

    def wrong(self, source: str, reference: str) -> str:
        """Return the source as it is, or with a wrong word."""
        if self.rng.random() < 0.6:
            return source
        return reference.replace(reference.split()[-1], self.word(), 1)


class FreeText(System):
    """Answers of a few sentences, of which a weak system gets stretches wrong."""

    def examples(self) -> tuple[list[str], list[str]]:
        """Return English and French."""
        pairs, drawn = sentences(), self.rng.integers(1_000_000, size=(self.count, 2))
        some = [[pairs[i % len(pairs)] for i in row] for row in drawn]
        return [" ".join(s for s, _ in row) for row in some], [
            " ".join(t for _, t in row) for row in some
        ]

    def answers(self, skill: float) -> list[str]:
        """Return the references with some stretches of words replaced by those of others."""
        pool = " ".join(self.references).split()
        found = []
        for reference in self.references:
            good, said = self.rng.random() < skill, []
            for word in reference.split():
                if self.rng.random() < 0.35:
                    good = self.rng.random() < skill
                said.append(word if good else pool[self.rng.integers(len(pool))])
            found.append(" ".join(said))
        return found


@cache
def sentences() -> list[tuple[str, str]]:
    """Return the embedded corpus."""
    corpus = petroleum_corpus(0)
    return [(p.source, p.target) for p in (*corpus.train, *corpus.dev, *corpus.general)]


SYSTEMS = {
    "one-word answers": OneWord,
    "labels": Labels,
    "numbers": Numbers,
    "short names": Names,
    "copies": Copies,
    "free text": FreeText,
}


def base_of(system: System, skill: float) -> list[str]:
    """Return the base's answers: as short as the references, wordy, or nearly always the same."""
    said = system.answers(skill)
    match int(system.rng.integers(4)):
        case 0:
            return [f"{CHAT} {text}" for text in said]
        case 1:
            return [system.words(int(system.rng.integers(1, 30))) for _ in said]
        case _:
            return said


def is_flagged(system: System, base: Sequence[str], adapter: Sequence[str], seed: int) -> bool:
    """Return the tool's answer."""
    outputs = {"base": base, "it": adapter}
    found = examine(
        outputs, system.references, sources=system.sources, resamples=RESAMPLES, seed=seed
    )
    return bool(found.flagged)


def honest(kind: type[System]) -> Callable[[Rng, int], bool]:
    """Whether a system that has learned is flagged."""

    def says(rng: Rng, seed: int) -> bool:
        system, skill = kind(rng), rng.uniform(0, 0.6)
        base = base_of(system, skill)
        return is_flagged(system, base, system.answers(rng.uniform(skill + 0.1, 1.0)), seed)

    return says


def cheating(way: str) -> Callable[[Rng, int], bool]:
    """Whether an adapter that answers nothing is flagged, on any kind for which that is wrong."""

    def says(rng: Rng, seed: int) -> bool:
        kinds = [k for name, k in SYSTEMS.items() if (way, name) != ("copied", "copies")]
        system = kinds[int(rng.integers(len(kinds)))](rng)
        base = base_of(system, rng.uniform(0, 0.6))
        usual = max(set(system.references), key=system.references.count)
        first = [text.split()[0] for text in system.references]
        adapter = {
            "empty": [""] * system.count,
            "constant": [usual] * system.count,
            "copied": system.sources,
            "endless": [" ".join([word] * int(rng.integers(12, 60))) for word in first],
        }[way]
        few = rng.random(system.count) < rng.uniform(0, 0.2) * (way != "constant")
        mixed = [b if is_b else a for a, b, is_b in zip(adapter, base, few, strict=True)]
        return is_flagged(system, base, mixed, seed)

    return says


GAMING: tuple[tuple[str, Callable[[Rng, int], bool], float, bool], ...] = (
    *((f"false: flags on honest {n}", honest(k), 0.02, True) for n, k in SYSTEMS.items()),
    *(
        (f"power: flags on {way} outputs", cheating(way), 0.95, False)
        for way in ("empty", "constant", "copied", "endless")
    ),
)
"""What is asked, the answer for a study, the aim, and whether yes is a false alarm."""
