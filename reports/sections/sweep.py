"""One parameter at few levels as one table; other studies have no such section."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.comparison.sweeps import Sweep, SweepRow, learnt
from analysis.document import Cell, Table, cell, difference_cell, interval_cell
from analysis.wording import label_of
from reports.page.parts import Section

if TYPE_CHECKING:
    from reports.results import Results


def sweep_section(results: Results) -> Section | None:
    """One row per level with every score, and whether the level learned anything."""
    found = results.sweep
    if found is None:
        return None
    return Section(
        "sweep",
        f"One row per {found.parameter.replace('_', ' ')}",
        f"Scores on the dev examples. The last columns compare each level with {found.nothing} on "
        "the same examples: a level that is not clearly better shows no sign of learning.",
        (sweep_table(found),),
    )


def sweep_table(found: Sweep) -> Table:
    """One row per level: its scores, whether it learned, and a classifier's main answer."""
    remarks = any(row.remark for row in found.rows)
    columns = (
        found.parameter.replace("_", " "),
        *map(label_of, found.metrics),
        f"against {found.nothing}",
        "95 % interval",
        "verdict",
        *(["mostly answers"] if remarks else []),
    )
    rows = tuple(
        (
            Cell(row.name) if row.value is None else cell(row.value),
            *(cell(row.scores.get(metric)) for metric in found.metrics),
            *_against(row),
            *([Cell(row.remark)] if remarks else []),
        )
        for row in found.rows
    )
    details = frozenset({f"against {found.nothing}", "95 % interval"})
    caption = f"Scores by {found.parameter.replace('_', ' ')}"
    return Table(caption, columns, rows, details=details)


def _against(row: SweepRow) -> tuple[Cell, Cell, Cell]:
    c = row.against
    if c is None:
        return Cell(""), Cell(""), Cell("")
    return difference_cell(c.difference), interval_cell(c.interval), Cell(learnt(row))
