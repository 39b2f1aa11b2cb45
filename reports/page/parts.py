"""What a page consists of: plain data for the templates, which a test can inspect.

Its sentences, tables, facts and lists are those of `analysis.document`.  Every text is plain text;
the writers escape it.  A figure holds the function that draws it: `figures` calls it for the page's
SVG or for a file of another format.
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
    """One drawing: `plot` draws it on given Axes, `alt` describes it in words."""

    identifier: str
    plot: Callable[[Any], Any] = field(repr=False, compare=False)
    alt: str
    caption: str = ""
    size: tuple[float, float] = WIDE


@dataclass(frozen=True)
class KeyFigure:
    """One number at the top of the page, what it means, and a drawing that shows it."""

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
    """A piece of an output; `differs` where the reference has other words."""

    text: str
    differs: bool


@dataclass(frozen=True)
class ShownExample:
    """One example with the output and score of each model, and why it is shown."""

    why: str
    source: str
    target: str
    outputs: tuple[tuple[str, tuple[Words, ...], str], ...]  # model, output, score


@dataclass(frozen=True)
class ShownExamples:
    """Examples with outputs, one after the other."""

    kind: ClassVar[str] = "examples"
    examples: tuple[ShownExample, ...]


@dataclass(frozen=True)
class Code:
    """Text shown verbatim, folded away unless `unfolded`."""

    kind: ClassVar[str] = "code"
    title: str
    text: str
    unfolded: bool = False


@dataclass(frozen=True)
class Beside:
    """Parts in two columns where there is room, such as a figure and its numbers."""

    kind: ClassVar[str] = "beside"
    left: tuple[PagePart, ...]
    right: tuple[PagePart, ...]


PagePart: TypeAlias = "document.Part | Figures | ShownExamples | Code | Beside"


@dataclass(frozen=True)
class Section:
    """A heading, a sentence on how to read the section, and its parts."""

    identifier: str
    title: str
    reading: str
    parts: tuple[PagePart, ...]


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
    use: tuple[PagePart, ...] = ()  # what to do with the result

    def parts(self) -> Iterator[tuple[str, PagePart]]:
        """Yield every part with its section's identifier, those in two columns too."""
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


def _flat(parts: tuple[PagePart, ...]) -> Iterator[PagePart]:
    for part in parts:
        if isinstance(part, Beside):
            yield from _flat((*part.left, *part.right))
        else:
            yield part
