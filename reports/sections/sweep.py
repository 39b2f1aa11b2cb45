"""One parameter at few levels as one table; any other study has no such section."""

from __future__ import annotations

from analysis.comparison.sweeps import Sweep, SweepRow, learnt, sweep_of
from analysis.plots.palette import label_of
from reports.page.model import Cell, Section, Table
from reports.page.tables import cell
from reports.results import Results
from reports.wording import interval, signed


def sweep_section(results: Results) -> Section | None:
    """A row a level with every score, and whether it learnt anything."""
    known = results.adapters.contrasts if results.adapters is not None else ()
    found = sweep_of(results.data, known=known)
    if found is None:
        return None
    return Section(
        "sweep",
        f"One row a {found.parameter.replace('_', ' ')}",
        f"Scores on the dev examples. The last columns hold each level against {found.nothing}, "
        "on the same examples: what is not clearly better has not learnt.",
        (sweep_table(found),),
    )


def sweep_table(found: Sweep) -> Table:
    """The levels as a table of the page."""
    remarks = any(row.remark for row in found.rows)
    columns = (
        found.parameter.replace("_", " "),
        *map(label_of, found.metrics),
        f"against {found.nothing}",
        "95 % interval",
        "verdict",
        *(["what it says"] if remarks else []),
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
    return Table(f"Scores by {found.parameter.replace('_', ' ')}", columns, rows)


def _against(row: SweepRow) -> tuple[Cell, Cell, Cell]:
    c = row.against
    if c is None:
        return Cell(""), Cell(""), Cell("")
    return (
        Cell(signed(c.difference), c.difference, True),
        Cell(interval(c.interval)),
        Cell(learnt(row)),
    )
