"""What a notebook or a prompt shows for a result: a short table, as HTML or as text."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from analysis.plots.palette import printable

if TYPE_CHECKING:
    from analysis.importance.confounding import Confounding
    from analysis.importance.other_questions import Answer
    from analysis.importance.result import Importances
    from analysis.studies.study_data import StudyData

LEFT = "style='text-align:left'"
SMALLEST_PAIR, MAX_PAIRS = 0.01, 3


@dataclass(frozen=True)
class Shown:
    """A table with a caption; `columns` are empty where a row is a name and what it is."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def html(self) -> str:
        """Return the table for a notebook, everything in it escaped."""
        head = "".join(f"<th {LEFT}>{html.escape(column)}</th>" for column in self.columns)
        body = "".join(
            f"<tr><th {LEFT}>{html.escape(name)}</th>"
            + "".join(f"<td {LEFT}>{html.escape(cell)}</td>" for cell in cells)
            + "</tr>"
            for name, *cells in self.rows
        )
        head = f"<tr>{head}</tr>" if head else ""
        return f"<table><caption>{html.escape(self.caption)}</caption>{head}{body}</table>"

    def text(self) -> str:
        """Return the table for a prompt, without control characters."""
        rows = [[printable(cell) for cell in row] for row in (self.columns, *self.rows) if row]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = (
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        )
        return "\n".join((printable(self.caption), *lines))


class Displayed:
    """A result that a prompt and a notebook show as a short table."""

    def _shown(self) -> Shown:
        raise NotImplementedError

    def __repr__(self) -> str:
        return self._shown().text()

    def _repr_html_(self) -> str:
        return self._shown().html()


def study_shown(data: StudyData) -> Shown:
    """A study's objectives, counts, best trial and baselines, and where to look next."""
    facts: dict[str, str] = {
        "objectives": ", ".join(
            f"{name} ({way})" for name, way in zip(data.objectives, data.directions, strict=True)
        ),
        "trials": ", ".join(f"{count} {state}" for state, count in data.counts.items()) or "none",
    }
    if (best := data.best_trial) is not None:
        given = ", ".join(f"{name} {_short(value)}" for name, value in best.params.items())
        facts["best"] = f"trial {best.number}: {data.value(best):.4g} with {given}"
    for name in data.baselines:
        if (score := data.score(name, data.objective)) is not None:
            facts[name] = f"{score:.4g}"
    facts["look at"] = ".trials, .scores, .outputs('best'), .statistics('best', metric)"
    facts["ask"] = "analysis.importances_of(study), analysis.comparison.against_baselines(study)"
    facts["draw"] = (
        "analysis.plots.study_figures.plot_slices(study), plot_history, plot_learning_curves, …"
    )
    return _facts(f"study {data.name}, read from {data.target}", facts)


def importances_shown(result: Importances) -> Shown:
    """One row a parameter, then the largest pairs; above them how far to believe that."""
    rows = [
        (p.name, f"{p.importance:.2f}", _range(p.ci), f"{p.null:.2f}", _yes(p.significant))
        for p in result.parameters
    ]
    pairs = (i for i in result.interactions if len(i.names) == 2 and i.importance >= SMALLEST_PAIR)
    rows += [
        (" × ".join(i.names), f"{i.importance:.2f}", _range(i.ci), "", "")
        for i in sorted(pairs, key=lambda i: -i.importance)[:MAX_PAIRS]
    ]
    if rows:
        rows.append(("unexplained", f"{result.unexplained:.2f}", "", "", ""))
    verdict = "reliable" if result.reliable else f"not reliable: {'; '.join(result.reasons)}"
    held_out = f"held-out R² {result.held_out_r2:.2f} ({result.surrogate})"
    caption = f"importance for {result.objective}: {verdict}, {held_out}"
    return Shown(caption, ("parameter", "share", "95 % interval", "chance", "beyond it"), rows)


def answer_shown(found: Answer) -> Shown:
    """The changes on the way, or a share for each parameter, under the question."""
    verdict = "".join(f" (not reliable: {reason})" for reason in found.reasons)
    caption = f"{found.method}: {found.question}{verdict}"
    if found.steps:
        steps = [
            (s.name, _short(s.before), _short(s.after), f"{s.gain:+.3g}", f"{s.predicted:.4g}")
            for s in found.steps
        ]
        return Shown(caption, ("change", "from", "to", "gain", found.objective), steps)
    shares = [(name, f"{share:.2f}") for name, share in found.shares.items()]
    return Shown(caption, ("parameter", "share"), shares)


def confounding_shown(found: Confounding) -> Shown:
    """How much of the joint effect each coordinate explains, best first."""
    caption = (
        f"{', '.join(found.group)} together hold {found.joint:.2f} of the variance "
        f"({_range(found.joint_ci)})"
    )
    rows = [
        (c.formula, f"{c.explained:.2f}", _range(c.ci), f"{c.held_out_r2:.2f}")
        for c in found.columns
    ]
    return Shown(caption, ("coordinate", "explains", "95 % interval", "held-out R²"), rows)


def _facts(caption: str, facts: Mapping[str, str]) -> Shown:
    return Shown(caption, (), list(facts.items()))


def _range(ci: tuple[float, float] | None) -> str:
    return "" if ci is None else f"{ci[0]:.2f} to {ci[1]:.2f}"


def _yes(significant: bool) -> str:
    return "yes" if significant else "no"


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def own_names(module: Mapping[str, Any]) -> list[str]:
    """The functions and classes that a module defines for others: what the Tab key offers."""
    home = module["__name__"]
    return [
        name
        for name, found in module.items()
        if getattr(found, "__module__", None) == home and not name.startswith("_")
    ]
