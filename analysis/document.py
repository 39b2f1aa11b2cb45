"""A document built once as data, and its writers: plain text, HTML, Markdown and the terminal.

A document is a title and parts: sentences, tables, facts and lists.  Every text in it is plain
text; each writer escapes what its format would otherwise read as markup, and no writer passes on a
control character.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from analysis.wording import alike, interval, number, printable, probability, share, signed

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table as RichTable

WIDTH = 80  # columns of a terminal
GAP = 2  # spaces between two columns
LONG = 40  # characters from which a cell of a page breaks into lines
CODE = re.compile("`([^`\n]+)`")
INTERVAL = re.compile(r"(?<=\d) to (?=[+−]?\d)")  # does not break into two lines
MARKDOWN = re.compile(r"([\\*\[\]<|])")
NOTEBOOK = (  # a notebook aligns every cell to the right
    "<style>.optuna-study td, .optuna-study th, .optuna-study caption { text-align: left }"
    " .optuna-study .number { text-align: right }"
    " .optuna-study .marked, .optuna-study .strong { font-weight: 600 }</style>"
)


@dataclass(frozen=True)
class Prose:
    """Paragraphs; a `tone` of "warning" sets them apart."""

    kind: ClassVar[str] = "prose"
    paragraphs: tuple[str, ...]
    tone: str = ""


@dataclass(frozen=True)
class Cell:
    """The text shown, the key to sort by, whether it is a number, and a mark after the text."""

    text: str
    key: float | str = ""
    numeric: bool = False
    mark: str = ""

    @property
    def written(self) -> str:
        """The text with its mark."""
        return self.text + self.mark


@dataclass(frozen=True)
class Table:
    """A table with a header row.

    The rows in `marked` stand out; on a page `emphasis` says how: "marked" colours them as the
    best, "strong" writes them bold.  `choices` names the column to filter the rows by; None for no
    filter.  Where rows are trials, `keys` holds the identifiers of their marks in the figures.
    `details` names the columns that only a page and a CSV file show.
    """

    kind: ClassVar[str] = "table"
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    sortable: bool = False
    marked: frozenset[int] = frozenset()
    emphasis: str = "marked"
    choices: str | None = None
    keys: tuple[str, ...] = ()
    details: frozenset[str] = frozenset()

    @cached_property
    def numeric(self) -> frozenset[int]:
        """The positions of the columns that hold numbers."""
        return frozenset(i for row in self.rows for i, cell in enumerate(row) if cell.numeric)

    @property
    def name(self) -> str:
        """The caption as part of a file's name."""
        return re.sub(r"[^a-z0-9]+", "-", self.caption.lower()).strip("-")[:60] or "table"

    @property
    def brief(self) -> Table:
        """The table without its details."""
        return self._of([i for i, c in enumerate(self.columns) if c not in self.details])

    @cached_property
    def lines(self) -> list[tuple[str, ...]]:
        """The texts of all rows, with room for a mark where a column of numbers has any."""
        columns = [
            [c.text + c.mark.ljust(max(len(one.mark) for one in column)) for c in column]
            for column in zip(*self.rows, strict=True)
        ]
        return list(zip(*columns, strict=True))

    @cached_property
    def widths(self) -> tuple[int, ...]:
        """How many characters each column needs."""
        columns = zip(self.columns, *self.lines, strict=True)
        return tuple(max(map(len, column)) for column in columns)

    @property
    def gap(self) -> int:
        """The spaces between two columns: one where two would not fit and no text can wrap."""
        can_wrap = self.numeric != frozenset(range(1, len(self.columns)))
        fits = sum(self.widths) + GAP * (len(self.columns) - 1) <= WIDTH
        return GAP if fits or can_wrap else 1

    @property
    def width(self) -> int:
        """How many characters a line needs."""
        return sum(self.widths) + self.gap * (len(self.columns) - 1)

    def blocks(self) -> Iterator[Table]:
        """Yield parts that fit a terminal, if all columns but the first are numeric."""
        if self.width <= WIDTH or self.numeric != frozenset(range(1, len(self.columns))):
            yield self
            return
        places = [0]
        for i in range(1, len(self.columns)):
            if len(places) > 1 and self._of([*places, i]).width > WIDTH:
                yield self._of(places)
                places = [0]
            places.append(i)
        yield self._of(places)

    def _of(self, places: Sequence[int]) -> Table:
        columns = tuple(self.columns[i] for i in places)
        return replace(
            self, columns=columns, rows=tuple(tuple(row[i] for i in places) for row in self.rows)
        )


@dataclass(frozen=True)
class Facts:
    """Names and values under a heading."""

    kind: ClassVar[str] = "facts"
    title: str
    facts: Mapping[str, str]


@dataclass(frozen=True)
class Listing:
    """A list of short sentences."""

    kind: ClassVar[str] = "listing"
    title: str
    items: tuple[str, ...]


Part: TypeAlias = Prose | Table | Facts | Listing


@dataclass(frozen=True)
class Document:
    """A title, which may be empty, and the parts below it."""

    title: str
    parts: tuple[Part, ...]

    @property
    def brief(self) -> Document:
        """The document up to its first table, as a prompt shows it."""
        ends = [i for i, part in enumerate(self.parts, 1) if isinstance(part, Table)]
        return replace(self, parts=self.parts[: ends[0] if ends else None])

    def to_text(self) -> str:
        """Return the document as lines of plain text."""
        lines = [self.title] if self.title else []
        for part in self.parts:
            lines += _text_lines(part)
        return "\n".join(map(printable, lines))

    def to_html(self) -> str:
        """Return the document for a notebook."""
        title = f"<p><strong>{sentence_html(self.title)}</strong></p>" if self.title else ""
        parts = "".join(map(part_html, self.parts))
        return printable(f'<div class="optuna-study">{NOTEBOOK}{title}{parts}</div>')

    def to_markdown(self) -> str:
        """Return the document for a README, a wiki or an issue."""
        blocks = [f"**{_marked_down(self.title)}**"] if self.title else []
        return printable("\n\n".join([*blocks, *map(_part_markdown, self.parts)]) + "\n")

    def to_rich(self) -> RenderableType:
        """Return the document for a terminal of `WIDTH` columns."""
        from rich.console import Group
        from rich.text import Text

        head = [Text(printable(self.title), style="bold", overflow="fold")] if self.title else []
        blocks = [_part_rich(part) for part in self.parts]
        spaced = [block for one in blocks for block in (Text(), one)]
        is_prose = bool(self.parts) and isinstance(self.parts[0], Prose)
        return Group(*head, *(spaced if head and not is_prose else spaced[1:]))


# ---------------------------------------------------------------- cells


def cell(value: Any, write: Callable[[Any], str] = number) -> Cell:
    """A value as a cell that sorts by the value itself."""
    if value is None:
        return Cell("")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return Cell(number(value), str(value))
    return Cell(write(value), value, numeric=True)


def share_cell(value: float) -> Cell:
    """A share of the variance; a dash where there is none."""
    return Cell("–") if math.isnan(value) else cell(float(value), share)


def difference_cell(value: float, write: Callable[[float], str] = signed) -> Cell:
    """A difference with its sign."""
    return Cell(write(value), float(value), numeric=True)


def interval_cell(
    ci: tuple[float, float] | None, write: Callable[[float], str] | None = None
) -> Cell:
    """An interval; a dash where it was not computed."""
    return Cell("–" if ci is None else interval(ci, write))


def probability_cell(p: float, is_least: bool = False) -> Cell:
    """A p-value; `is_least` where the resamples allow no smaller one."""
    text = probability(p)
    return Cell(f"≤ {text}" if is_least and p >= 0.001 else text, float(p), numeric=True)


def columns_table(caption: str, columns: Mapping[str, Sequence[Any]], **more: Any) -> Table:
    """A table from its columns, the numbers of each written with the same decimals."""
    written = [
        [cell(value, write) for value in values]
        for values in columns.values()
        for write in [alike(values)]
    ]
    return Table(caption, tuple(columns), tuple(zip(*written, strict=True)), **more)


# ---------------------------------------------------------------- writers: plain text


def _text_lines(part: Part) -> Iterator[str]:
    if isinstance(part, Prose):
        yield from part.paragraphs
    elif isinstance(part, Listing):
        yield from (f"- {item}" for item in part.items)
    elif isinstance(part, Facts):
        yield from [part.title] if part.title else []
        width = max(map(len, part.facts), default=0)
        yield from (f"{name.ljust(width)}  {value}" for name, value in part.facts.items())
    else:
        yield from [part.caption] if part.caption else []
        table = part.brief
        for row in (table.columns, *table.lines):
            yield (" " * table.gap).join(_aligned(table, row)).rstrip()


def _aligned(table: Table, row: Sequence[str]) -> Iterator[str]:
    for i, (text, width) in enumerate(zip(row, table.widths, strict=True)):
        yield text.rjust(width) if i in table.numeric else text.ljust(width)


# ---------------------------------------------------------------- writers: HTML


def part_html(part: Part) -> str:
    """Return one part as HTML, everything in it escaped: for the page and for a notebook."""
    if isinstance(part, Prose):
        paragraphs = "".join(f"<p>{sentence_html(text)}</p>" for text in part.paragraphs)
        return f'<div class="prose {part.tone}">\n{paragraphs}\n</div>\n'
    if isinstance(part, Listing):
        items = "".join(f"<li>{sentence_html(text)}</li>" for text in part.items)
        summary = f"<summary>{html.escape(part.title)}</summary>"
        return f'<details class="listing" open>{summary}<ul>\n{items}</ul></details>\n'
    if isinstance(part, Facts):
        heading = f"<h3>{html.escape(part.title)}</h3>\n" if part.title else ""
        facts = "".join(
            f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd></div>\n"
            for name, value in part.facts.items()
        )
        return f'<div class="facts">\n{heading}<dl>\n{facts}</dl>\n</div>\n'
    return _table_html(part)


def _table_html(table: Table) -> str:
    caption = html.escape(table.caption)
    more = ' class="sortable"' if table.sortable else ""
    if table.choices:
        more += f' data-choices="{table.columns.index(table.choices)}"'
    names = [html.escape(name) for name in table.columns]
    if table.sortable:
        names = [f'<button type="button">{name}</button>' for name in names]
    head = "".join(
        f'<th scope="col"{_number(i in table.numeric)}>{name}</th>' for i, name in enumerate(names)
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="Table: {caption}">\n'
        f'<table data-name="{table.name}"{more}>\n<caption>{caption}</caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n"
        + "".join(_row_html(table, i) for i in range(len(table.rows)))
        + "</tbody>\n</table>\n</div>\n"
    )


def _row_html(table: Table, place: int) -> str:
    attributes = f' class="{table.emphasis}"' if place in table.marked else ""
    if table.keys:
        attributes += f' data-row="{html.escape(table.keys[place])}"'
    cells = []
    for i, one in enumerate(table.rows[place]):
        is_long = not one.numeric and len(one.text) > LONG
        style = ' class="long"' if is_long else _number(i in table.numeric)
        if table.sortable or one.numeric:
            style += f' data-key="{html.escape(str(one.key))}"'
        text = INTERVAL.sub("\u00a0to\u00a0", html.escape(one.written))
        cells.append(f"<td{style}>{text}</td>")
    return f"<tr{attributes}>{''.join(cells)}</tr>\n"


def _number(numeric: bool) -> str:
    return ' class="number"' if numeric else ""


def sentence_html(text: str) -> str:
    """Escape a sentence: text in backticks becomes code, a per-cent sign stays with its number."""
    return CODE.sub(r"<code>\1</code>", html.escape(text).replace(" %", "\u00a0%"))


# ---------------------------------------------------------------- writers: Markdown


def _part_markdown(part: Part) -> str:
    if isinstance(part, Prose):
        return "\n\n".join(map(_marked_down, part.paragraphs))
    if isinstance(part, Listing):
        return "\n".join(f"- {_marked_down(item)}" for item in part.items)
    if isinstance(part, Facts):
        facts = (f"- {_marked_down(n)}: {_marked_down(v)}" for n, v in part.facts.items())
        return "\n".join(facts)
    rules = ("--:" if i in part.numeric else "---" for i in range(len(part.columns)))
    rows = [map(_marked_down, part.columns), rules]
    rows += [(_marked_down(cell.written) for cell in row) for row in part.rows]
    lines = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"{_marked_down(part.caption)}\n\n{lines}" if part.caption else lines


def _marked_down(text: str) -> str:
    return MARKDOWN.sub(r"\\\1", " ".join(text.split()))


# ---------------------------------------------------------------- writers: the terminal


def _part_rich(part: Part) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    if isinstance(part, Prose):
        style = "yellow" if part.tone == "warning" else ""
        paragraphs = (printable(text) for text in part.paragraphs)
        return Group(*(Text(text, style=style, overflow="fold") for text in paragraphs))
    if isinstance(part, Listing):
        return _grid((("·", item) for item in part.items), gap=1, style="dim")
    if isinstance(part, Facts):
        return _grid(part.facts.items(), gap=GAP)
    caption = [Text(printable(part.caption), style="dim", overflow="fold")] if part.caption else []
    first, *others = map(_table_rich, part.brief.blocks())
    return Group(*caption, first, *(piece for block in others for piece in (Text(), block)))


def _grid(rows: Any, gap: int, style: str = "") -> RichTable:
    """Two columns: names, which never break, and their texts."""
    from rich.table import Table as RichTable
    from rich.text import Text

    grid = RichTable.grid(padding=(0, gap))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(style=style, overflow="fold")
    for name, text in rows:
        grid.add_row(Text(printable(name)), Text(printable(text)))
    return grid


def _table_rich(table: Table) -> RichTable:
    from rich.table import Table as RichTable
    from rich.text import Text

    made = RichTable(box=None, pad_edge=False, padding=(0, table.gap, 0, 0))
    for i, name in enumerate(table.columns):
        justify: Any = "right" if i in table.numeric else "left"
        made.add_column(Text(printable(name)), overflow="fold", justify=justify)
    for place, row in enumerate(table.lines):
        cells = (Text(printable(text)) for text in row)
        made.add_row(*cells, style="bold" if place in table.marked else None)
    return made
