"""What a page consists of: plain data that the templates draw and a test can look at.

Every text is plain text; the templates escape it.  The only ready-made markup is a figure's SVG,
which `reports.figures` serialises itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

Sortable = float | str


@dataclass(frozen=True)
class KeyFigure:
    """One number that the page opens with."""

    value: str
    label: str
    note: str = ""


@dataclass(frozen=True)
class Prose:
    """Paragraphs; a `tone` of "warning" sets them apart."""

    kind: ClassVar[str] = "prose"
    paragraphs: tuple[str, ...]
    tone: str = ""


@dataclass(frozen=True)
class Figure:
    """One drawing: `svg` is safe markup, `alt` says in words what is to be seen."""

    identifier: str
    svg: str
    alt: str
    caption: str = ""


@dataclass(frozen=True)
class Figures:
    """Drawings side by side where there is room; `size` is "wide" or "small"."""

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
    """A table with a header row; the rows named in `marked` stand out."""

    kind: ClassVar[str] = "table"
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    sortable: bool = False
    marked: frozenset[int] = frozenset()


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
    """A text to be shown as it is, folded away."""

    kind: ClassVar[str] = "code"
    title: str
    text: str


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
