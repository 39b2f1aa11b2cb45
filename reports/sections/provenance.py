"""Where the numbers come from: versions, seeds, signatures, hardware, counts, the study file."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from analysis.comparison.bootstrap import RESAMPLES
from analysis.document import Facts
from analysis.studies.load import StudyData, is_enqueued
from analysis.studies.trial_values import first_start, last_end
from analysis.wording import STATES, moment, number
from reports.page.parts import Code, PagePart, Section
from reports.page.trial_tables import space_table
from reports.results import Results
from reports.sections.commands import commands, run_names

INTERNAL = ("objectives", "adapters")  # shown elsewhere on the page
SELF_CHECKS = {
    "self_check": "self-check",
    "confirmation_self_check": "self-check of the confirmation",
}
READING = "What you need to judge these results and to reproduce them."
PAGE_PACKAGES = ("optuna-study", "optuna", "scikit-learn", "numpy", "matplotlib", "seaborn")


def provenance_section(results: Results) -> Section:
    """Always present: all that is recorded about the origin of the numbers."""
    data = results.data
    facts: dict[str, dict[str, str]] = {
        "Trials": _counts(data),
        "Study": _study(data),
        "Metric signatures": {r.metric: r.signature for r in data.score_rows},
        **_recorded(data.provenance),
        "Seeds of the baselines": {
            e.name: str(e.seed) for e in data.evaluations if e.role == "baseline"
        },
        "Analysis": _analysis(results),
    }
    parts: list[PagePart] = [Facts(title, values) for title, values in facts.items() if values]
    space = space_table(data)
    if space is not None:
        parts.append(space)
    if (again := commands([results])) is not None:
        parts.append(again)
    if data.spec_text:
        parts.append(Code("The study file as run", data.spec_text))
    return Section("provenance", "Where the numbers come from", READING, tuple(parts))


def provenance_of_all(named: Mapping[str, Results]) -> Section:
    """For several studies, label → results: where each was read, and the commands.

    The page of each study shows the rest.
    """
    studies = list(named.values())
    parts: list[PagePart] = [Facts(label, _study(r.data)) for label, r in named.items()]
    parts.append(Facts("Analysis", {name: _version(name) for name in PAGE_PACKAGES}))
    if (again := commands(studies)) is not None:
        parts.append(again)
    files = zip(run_names(studies), (r.data.spec_text for r in studies), strict=True)
    parts += [Code(f"{name}.toml", text) for name, text in files if text]
    return Section("provenance", "Where the numbers come from", READING, tuple(parts))


def _counts(data: StudyData) -> dict[str, str]:
    counts = {STATES.get(state, state): number(n) for state, n in data.counts.items()}
    counts = counts or {"trials": "none"}
    enqueued = sum(map(is_enqueued, data.frozen_trials))
    return counts | ({"enqueued by hand": number(enqueued)} if enqueued else {})


def _study(data: StudyData) -> dict[str, str]:
    ways = zip(data.objectives, data.directions, strict=True)
    facts = {"name": data.name, "objectives": ", ".join(f"{n} ({way})" for n, way in ways)}
    facts |= {k: _flat(v) for k, v in data.attributes.items() if k not in INTERNAL}
    if start := first_start(data.frozen_trials):
        facts["first trial started"] = moment(start)
    if end := last_end(data.frozen_trials):
        facts["last trial ended"] = moment(end)
    return facts | {"read from": data.target}


def _recorded(provenance: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Each nested part under a heading of its own, plain values under one heading."""
    plain = dict(_fact(k, v) for k, v in provenance.items() if not isinstance(v, Mapping))
    nested = {}
    for key, part in provenance.items():
        if not isinstance(part, Mapping):
            continue
        if key in SELF_CHECKS:
            plain[SELF_CHECKS[key]] = _self_check(part)
        else:
            heading = key.replace("_", " ").capitalize()
            nested[heading] = dict(_fact(name, v) for name, v in part.items())
    return nested | {"Run": plain}


def _self_check(check: Mapping[str, Any]) -> str:
    """The engine's comparisons before the first trial, in one row: what differed by how much."""
    texts = {name: _flat(value) for name, value in check.items()}
    parts = [texts.get("verdict", "")]
    compared = check.get("compared")
    for what, pair in compared.items() if isinstance(compared, Mapping) else ():
        if isinstance(pair, Mapping):
            difference = number(pair.get("difference"), 2) or "not finite"
            parts.append(f"{what}: {difference} (tolerance {number(pair.get('tolerance'), 2)})")
    if {"rows", "dtype", "seconds"} <= check.keys():
        seconds = number(check["seconds"], 2)
        parts.append(f"{texts['rows']} rows in {texts['dtype']}, {seconds} s")
    return "; ".join(filter(None, parts))


def _fact(name: str, value: Any) -> tuple[str, str]:
    """A name and its value in words, bytes as gigabytes."""
    if name.endswith("_bytes") and isinstance(value, (int, float)):
        return name.removesuffix("_bytes"), f"{value / 1e9:.1f} GB"
    return name.replace("_", " "), _flat(value)


def _flat(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_flat(v)}" for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_flat, value))
    return number(value, 4)


def _analysis(results: Results) -> dict[str, str]:
    facts = {}
    if results.importance is not None and results.importance.parameters:
        facts["importances"] = results.importance.method
    if results.comparisons:
        facts["intervals of scores"] = f"paired bootstrap, {RESAMPLES} resamples"
        facts["p-values of differences"] = "approximate randomisation, Holm's correction"
    return facts | {name: _version(name) for name in PAGE_PACKAGES}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
