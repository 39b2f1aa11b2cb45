"""The tables of the page over several studies."""

from __future__ import annotations

from collections.abc import Mapping

from analysis.comparison.contrast import Contrast
from analysis.document import Cell, Table, cell, interval_cell
from analysis.plots.slices import varied_parameters
from analysis.wording import configuration, interval, label_of, share, signed
from reports.page.trial_tables import range_of
from reports.results import Results

Named = Mapping[str, Results]  # label → results


def best_table(named: Named) -> Table:
    """The best trial of each study, with its difference from that study's baselines."""
    gains = {label: {c.b.name: c for c in r.comparisons} for label, r in named.items()}
    baselines = list(dict.fromkeys(name for found in gains.values() for name in found))
    rows = []
    for label, results in named.items():
        data, best = results.data, results.data.best_trial
        value = None if best is None else data.value(best)
        given = "" if best is None else configuration(best.params)
        trial = None if best is None else best.number
        cells = (cell(len(data.complete)), cell(trial), Cell(label_of(data.objective)), cell(value))
        over = (_difference_cell(gains[label].get(name)) for name in baselines)
        rows.append((Cell(label), *cells, *over, Cell(given)))
    columns = ("study", "finished", "best trial", "objective", "value")
    heads = (*columns, *(f"against {name}" for name in baselines), "configuration")
    return Table("The best of each study", heads, tuple(rows))


def _difference_cell(found: Contrast | None) -> Cell:
    if found is None:
        return Cell("")
    return Cell(f"{signed(found.difference)} ({interval(found.interval)})", found.difference)


def share_table(named: Named) -> Table:
    """Each parameter's share in each study."""
    shares = {
        label: {p.name: p for p in r.importance.parameters} if r.importance else {}
        for label, r in named.items()
    }
    names = dict.fromkeys(name for found in shares.values() for name in found)
    rows = []
    for name in names:
        row = [Cell(name)]
        for found in shares.values():
            p = found.get(name)
            row.append(cell(p.importance, share) if p else Cell("–"))
            row.append(interval_cell(p.ci, share) if p else Cell(""))
        rows.append(tuple(row))
    columns = [c for label in named for c in (label, "95 % interval")]
    return Table("Shares of the variance", ("parameter", *columns), tuple(rows))


def space_table(named: Named) -> Table:
    """The search space of each study, and which parameters varied in all."""
    spaces = {label: r.data.distributions for label, r in named.items()}
    varied = {label: set(varied_parameters(r.data)) for label, r in named.items()}
    names = dict.fromkeys(name for space in spaces.values() for name in space)
    rows = tuple(
        (
            Cell(name),
            *(
                Cell(range_of(space[name]) if name in space else "–")
                for label, space in spaces.items()
            ),
            Cell("yes" if all(name in found for found in varied.values()) else "no"),
        )
        for name in names
    )
    return Table("Search spaces", ("parameter", *named, "varied in all"), rows)
