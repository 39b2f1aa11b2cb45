"""The summary of a curation as one document: `report.json`, from which REPORT.md is made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from study.data.curation.instruction_records import Record
from study.data.curation.selection import FULL, NOT_DRAWN, Curation

LISTED = 5
"""If more clusters than this fall short, they are counted, not listed."""


def summary(records: Sequence[Record], curation: Curation) -> dict[str, Any]:
    """Return the counts of a curation of these records, ready for JSON."""
    reasons = Counter(dropped.reason for dropped in curation.dropped)
    return {
        "read": len(records),
        "dropped": dict(sorted(reasons.items(), key=lambda item: (_stage(item[0]), *item))),
        "selected": curation.selected,
        "splits": {name: len(part) for name, part in curation.splits.items()},
        "filling": filling(curation),
        "agreement_with_templates": _agreement(records, curation),
        "templates": _templates(records, curation),
        "clusters": _clusters(curation),
        "choices": asdict(curation.choices),
    }


def filling(curation: Curation) -> str:
    """Return one line about how the clusters and their shortfalls were filled."""
    quota, clusters = curation.choices.per_cluster, curation.clusters
    there, wanted = sum(c.size for c in clusters), quota * len(clusters)
    short = [f"{n}" for n, cluster in enumerate(clusters, 1) if cluster.size < quota]
    request = f"{len(clusters)} × {quota:,} wanted"
    if there <= wanted:
        return f"{request}, only {there:,} available: all are taken"
    if not short:
        return f"{request}: each cluster gave {quota:,}"
    lacking = sum(quota - cluster.size for cluster in clusters if cluster.size < quota)
    named = ", ".join(short) if len(short) <= LISTED else ""
    which = f"cluster{'s'[: len(short) > 1]} {named}" if named else f"{len(short)} clusters"
    return f"{request}: {which} lack{'s'[: len(short) == 1]} {lacking:,}, topped up from the others"


def _agreement(records: Sequence[Record], curation: Curation) -> float | None:
    """Return the adjusted mutual information of cluster and template: 0 is chance, 1 identity."""
    from sklearn.metrics import adjusted_mutual_info_score

    pairs = [
        (record.template, curation.cluster_of[record.number])
        for record in records
        if record.number in curation.cluster_of
    ]
    templates, clusters = zip(*pairs, strict=True)
    if len(set(templates)) == 1 or len(set(clusters)) == 1:
        return None
    return float(adjusted_mutual_info_score(templates, clusters))


def _stage(reason: str) -> int:
    return {NOT_DRAWN: 1, FULL: 2}.get(reason, 0)


def _templates(records: Sequence[Record], curation: Curation) -> list[dict[str, Any]]:
    """Return a row per template with the count after every step; the largest first."""
    read = Counter(record.template for record in records)
    lost = Counter((d.record.template, _stage(d.reason)) for d in curation.dropped)
    parts = {n: Counter(r.template for r in part) for n, part in curation.splits.items()}
    rows = []
    for name, count in sorted(read.items(), key=lambda item: (-item[1], item[0])):
        usable = count - lost[name, 0]
        drawn = usable - lost[name, 1]
        row = {"name": name, "read": count, "usable": usable, "drawn": drawn}
        row |= {"selected": drawn - lost[name, 2]} | {n: c[name] for n, c in parts.items()}
        rows.append(row)
    return rows


def _clusters(curation: Curation) -> list[dict[str, Any]]:
    quota = curation.choices.per_cluster
    return [
        {
            "number": number,
            "size": cluster.size,
            "selected": cluster.taken,
            "topped_up": max(0, cluster.taken - quota),
            "words": list(cluster.words),
            "typical": cluster.typical,
        }
        for number, cluster in enumerate(curation.clusters, 1)
    ]
