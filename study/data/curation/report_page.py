"""REPORT.md: the readable report of a curation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

SHOWN_CHARACTERS = 200


def page(report: Mapping[str, Any]) -> str:
    """Return the report as Markdown."""
    parts = (_counts(report), _templates(report), _clusters(report), _origin(report))
    return f"# Curated from {_cell(report['records'])}\n\n" + "\n\n".join(parts) + "\n"


def _counts(report: Mapping[str, Any]) -> str:
    rows = [("read", report["read"])]
    rows += [(f"– {reason}", count) for reason, count in report["dropped"].items()]
    rows += [("selected", report["selected"])]
    rows += [(f"→ {name}", count) for name, count in report["splits"].items()]
    return _table(("records", "count"), rows) + (
        "\n\n`dropped.jsonl` gives the reason for each record left out.  No input is in two "
        "splits, ignoring case, spacing and punctuation at the ends of words."
    )


def _templates(report: Mapping[str, Any]) -> str:
    columns = ("name", "read", "usable", "drawn", "selected", *report["splits"])
    rows = ([row[column] for column in columns] for row in report["templates"])
    return f"## Templates\n\n{_table(('template', *columns[1:]), rows)}"


def _clusters(report: Mapping[str, Any]) -> str:
    rows = (
        (c["number"], c["size"], c["selected"], c["topped_up"], ", ".join(c["words"]), c["typical"])
        for c in report["clusters"]
    )
    names = ("cluster", "size", "selected", "topped up", "words above average", "nearest to centre")
    return (
        f"## Clusters\n\n{report['filling']}.  k-means over {report['encoder']}; within a cluster "
        f"each template contributes its share.{_agreement(report)}\n\n{_table(names, rows)}"
    )


def _agreement(report: Mapping[str, Any]) -> str:
    agreement = report["agreement_with_templates"]
    if agreement is None:
        return ""
    return (
        f"  Adjusted mutual information of clusters and templates: {agreement:.2f} (0: "
        "unrelated; 1: identical)."
    )


def _origin(report: Mapping[str, Any]) -> str:
    rows: list[tuple[str, Any]] = [("input, SHA-256", report["input_sha256"])]
    rows += [(name, str(value)) for name, value in _flat(report["choices"]) if value is not None]
    rows += [(name, report[name]) for name in ("system", "tokenizer") if report[name]]
    rows += list(report["tokens"].items()) + list(report["versions"].items())
    rows += [(f"{name}, SHA-256", digest) for name, digest in report["files"].items()]
    return f"## How\n\n{_table(('what', 'value'), rows)}"


def _flat(values: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    for name, value in values.items():
        yield from _flat(value) if isinstance(value, Mapping) else [(name, value)]


def _table(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    rows = [list(row) for row in rows]
    ruler = ["--:" if rows and _is_number(value) else "---" for value in (rows or [names])[0]]
    lines = [names, ruler, *([_cell(value) for value in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _is_number(value: Any) -> bool:
    return isinstance(value, int)


def _cell(value: Any) -> str:
    """Return a value for a table cell: one line, nothing that Markdown or HTML would interpret."""
    if _is_number(value):
        return f"{value:,}"
    text = " ".join(str(value).split())
    text = text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"
    for sign in "\\`*_[]<|":
        text = text.replace(sign, "&lt;" if sign == "<" else "\\" + sign)
    return text
