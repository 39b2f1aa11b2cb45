"""What a page consists of: plain data that the templates draw and a test can look at.

Its sentences, tables, facts and lists are those of `analysis.document`.  Every text is plain text;
the writers escape it.  A figure is what draws it: `figures` makes the page's SVG of it, or a file
of another format.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

from analysis import document
from analysis.document import Table

FOOTER = "Made by optuna-study. This file is self-contained and needs no network."
WIDE, SMALL, CARD = (4.8, 3.1), (3.6, 2.7), (3.5, 1.7)  # inches; a figure's text is 8 points


@dataclass(frozen=True)
class Figure:
    """One drawing: `plot` makes it on given Axes, `alt` says in words what is to be seen."""

    identifier: str
    plot: Callable[[Any], Any] = field(repr=False, compare=False)
    alt: str
    caption: str = ""
    size: tuple[float, float] = WIDE


@dataclass(frozen=True)
class KeyFigure:
    """One number that the page opens with, what it means, and the drawing that shows it."""

    value: str
    label: str
    note: str = ""
    figure: Figure | None = None


@dataclass(frozen=True)
class Figures:
    """Drawings side by side where there is room; `size` is "wide", "small" or "full"."""

    kind: ClassVar[str] = "figures"
    figures: tuple[Figure, ...]
    size: str = "wide"


@dataclass(frozen=True)
class Words:
    """A piece of an output; `differs` where the reference says something else."""

    text: str
    differs: bool


@dataclass(frozen=True)
class Sample:
    """One example: the texts, and what each model made of them with its score."""

    why: str
    source: str
    target: str
    outputs: tuple[tuple[str, tuple[Words, ...], str], ...]  # model, output, score


@dataclass(frozen=True)
class Samples:
    """Examples one below the other."""

    kind: ClassVar[str] = "samples"
    samples: tuple[Sample, ...]


@dataclass(frozen=True)
class Code:
    """A text to be shown as it is, folded away unless `unfolded`."""

    kind: ClassVar[str] = "code"
    title: str
    text: str
    unfolded: bool = False


@dataclass(frozen=True)
class Beside:
    """Parts in two columns where there is room: a figure, and what it says in numbers."""

    kind: ClassVar[str] = "beside"
    left: tuple[Part, ...]
    right: tuple[Part, ...]


Part: TypeAlias = "document.Part | Figures | Samples | Code | Beside"


@dataclass(frozen=True)
class Section:
    """One heading, a sentence on how to read what follows, and its parts."""

    identifier: str
    title: str
    reading: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Page:
    """The whole report."""

    title: str
    subtitle: str
    answer: tuple[str, ...]
    caution: tuple[str, ...]
    key_figures: tuple[KeyFigure, ...]
    sections: tuple[Section, ...]
    footer: str

    def parts(self) -> Iterator[tuple[str, Part]]:
        """Yield every part with its section's identifier, those that stand beside others too."""
        for section in self.sections:
            for part in _flat(section.parts):
                yield section.identifier, part

    def figures(self) -> Iterator[Figure]:
        """Yield every drawing in the page's order."""
        yield from (key.figure for key in self.key_figures if key.figure is not None)
        for _, part in self.parts():
            if isinstance(part, Figures):
                yield from part.figures

    def tables(self) -> Iterator[tuple[str, Table]]:
        """Yield every table with its section's identifier."""
        for identifier, part in self.parts():
            if isinstance(part, Table):
                yield identifier, part


def _flat(parts: tuple[Part, ...]) -> Iterator[Part]:
    for part in parts:
        if isinstance(part, Beside):
            yield from _flat((*part.left, *part.right))
        else:
            yield part
