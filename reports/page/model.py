"""What a page consists of: plain data that the templates draw and a test can look at.

Every text is plain text; the templates escape it.  A figure is what draws it: `figures`
makes the page's SVG of it, or a file of another format.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

Sortable = float | str
WIDE, SMALL, CARD = (4.8, 3.1), (3.6, 2.7), (3.5, 1.7)  # inches; a figure's text is 8 points


@dataclass(frozen=True)
class Prose:
    """Paragraphs; a `tone` of "warning" sets them apart."""

    kind: ClassVar[str] = "prose"
    paragraphs: tuple[str, ...]
    tone: str = ""


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
class Cell:
    """One cell: what is shown, and by what it is sorted."""

    text: str
    key: Sortable = ""
    numeric: bool = False


@dataclass(frozen=True)
class Table:
    """A table with a header row; the rows named in `marked` stand out.

    `choices` names the column by whose few values the rows can be chosen; None for no filter.
    Where rows are trials, `keys` holds what the marks of the figures call each of them.
    """

    kind: ClassVar[str] = "table"
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    sortable: bool = False
    marked: frozenset[int] = frozenset()
    choices: str | None = None
    keys: tuple[str, ...] = ()

    @property
    def numeric(self) -> frozenset[int]:
        """The places of the columns that hold numbers."""
        return frozenset(i for row in self.rows for i, cell in enumerate(row) if cell.numeric)

    @property
    def name(self) -> str:
        """The caption as part of a file's name."""
        return re.sub(r"[^a-z0-9]+", "-", self.caption.lower()).strip("-")[:60] or "table"


@dataclass(frozen=True)
class Facts:
    """Names and values under a heading."""

    kind: ClassVar[str] = "facts"
    title: str
    facts: Mapping[str, str]


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
class Listing:
    """Short sentences one below the other, folded away."""

    kind: ClassVar[str] = "listing"
    title: str
    items: tuple[str, ...]


@dataclass(frozen=True)
class Beside:
    """Parts in two columns where there is room: a figure, and what it says in numbers."""

    kind: ClassVar[str] = "beside"
    left: tuple[Part, ...]
    right: tuple[Part, ...]


Part: TypeAlias = "Prose | Figures | Table | Facts | Samples | Code | Listing | Beside"


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
