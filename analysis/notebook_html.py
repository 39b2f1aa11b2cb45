"""What a notebook shows for a result: a short table, everything in it escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from analysis.comparison import Comparison
    from analysis.importance_types import Importances
    from analysis.study_data import StudyData

LEFT = "style='text-align:left'"


def study_html(data: StudyData) -> str:
    """A study's objectives, counts, best trial and baselines, and where to look next."""
    facts: dict[str, str] = {
        "objectives": ", ".join(
            f"{name} ({way})" for name, way in zip(data.objectives, data.directions, strict=True)
        ),
        "trials": ", ".join(f"{count} {state}" for state, count in data.counts.items()) or "none",
    }
    if (best := data.best_trial) is not None:
        given = ", ".join(f"{name} {value}" for name, value in best.params.items())
        facts["best"] = f"trial {best.number}: {data.value(best):.4g} with {given}"
    for name in data.baselines:
        if (score := data.score(name, data.objective)) is not None:
            facts[name] = f"{score:.4g}"
    facts["look at"] = ".trials, .scores, .outputs('best'), .statistics('best', metric)"
    return _facts(f"study <b>{html.escape(data.name)}</b>", facts)


def importances_html(result: Importances) -> str:
    """One row a parameter; above it how far to believe that."""
    held_out = f"held-out R² {result.held_out_r2:.2f} ({result.surrogate})"
    verdict = "reliable" if result.reliable else f"not reliable: {'; '.join(result.reasons)}"
    rows = [
        (
            p.name,
            f"{p.importance:.2f}",
            f"{p.ci[0]:.2f} to {p.ci[1]:.2f}",
            f"{p.null:.2f}",
            "yes" if p.significant else "no",
        )
        for p in result.parameters
    ]
    caption = f"importance for <b>{html.escape(result.objective)}</b>: "
    caption += html.escape(f"{verdict}, {held_out}")
    return _table(caption, ("parameter", "share", "95 % interval", "chance", "beyond it"), rows)


def comparison_html(found: Comparison) -> str:
    """Both scores, the difference with its interval, and whether it is clear."""
    verdict = "clear" if found.clear else "not clear: the interval holds zero"
    facts = {
        found.a.name: f"{found.a.score:.4g} ({found.a.ci[0]:.4g} to {found.a.ci[1]:.4g})",
        found.b.name: f"{found.b.score:.4g} ({found.b.ci[0]:.4g} to {found.b.ci[1]:.4g})",
        "difference": f"{found.difference:+.4g} ({found.ci[0]:+.4g} to {found.ci[1]:+.4g})",
        "p": f"{found.p_value:.3f}",
        "verdict": verdict,
    }
    caption = f"{found.a.metric} on {found.n_examples} {found.a.split} examples"
    return _facts(html.escape(caption), facts)


def _facts(caption: str, facts: Mapping[str, str]) -> str:
    rows = "".join(
        f"<tr><th {LEFT}>{html.escape(key)}</th><td {LEFT}>{html.escape(value)}</td></tr>"
        for key, value in facts.items()
    )
    return f"<table><caption>{caption}</caption>{rows}</table>"


def _table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th {LEFT}>{html.escape(column)}</th>" for column in columns)
    body = "".join(
        f"<tr>{''.join(f'<td {LEFT}>{html.escape(cell)}</td>' for cell in row)}</tr>"
        for row in rows
    )
    return f"<table><caption>{caption}</caption><tr>{head}</tr>{body}</table>"
