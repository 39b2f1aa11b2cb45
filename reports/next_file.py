"""The next study file, from the evidence of the last study; comments give the reasons."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import tomli_w

from analysis.next_study.proposal import Proposal
from analysis.studies.study_data import StudyData
from reports.shell import file_name
from study.spec.evaluation import direction_of
from study.spec.search import NO_SPACE
from study.spec.sections import spec_from_toml
from study.spec.trust import code_named, in_words, without_code
from study.spec.writing import comment, toml

OF_THE_SEARCH = ("space", "parameters", "enqueue", "trials", "confirm")


def next_name(name: str) -> str:
    """Return the name of the next study: petroleum, petroleum-2, petroleum-3.

    Its file gets the same name.
    """
    name = file_name(name)
    counted = re.fullmatch(r"(.+)-(\d{1,6})", name)
    return f"{counted[1]}-{int(counted[2]) + 1}" if counted else f"{name}-2"


def next_file(data: StudyData, proposal: Proposal, trust_study: bool = False) -> str:
    """Return the study file for the proposed search, as TOML with comments.

    It keeps the settings that differ from the defaults.  Keys that name code are kept only where
    the study is trusted, because running the next file allows all code that it names.
    """
    assert data.spec_text is not None
    spec = spec_from_toml(data.spec_text, data.name)
    document = spec.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
    left_out = "" if trust_study else _left_out(document)
    document = document if trust_study else without_code(document)
    document["name"] = next_name(spec.name)
    document["base"] = {"model": spec.base.model, **document.get("base", {})}
    if spec.task_kind.instructs:  # its default depends on languages that may be left out here
        document["data"] = {**document.get("data", {}), "instruction": spec.data.instruction}
    evaluation = document.get("evaluation", {})
    evaluation.pop("metric_files", None)  # of this study; the next run takes the files as they are
    usual = tuple(direction_of(o, spec.evaluation.minimize) for o in spec.evaluation.objective)
    if spec.evaluation.directions == usual:
        evaluation.pop("directions", None)
    search = document.pop("search", {})
    search = {key: value for key, value in search.items() if key not in OF_THE_SEARCH}
    if "goal" in search:  # the best known points are its starts
        search |= {"start": "none", "sampler": spec.search.sampler}
    search |= {
        "space": NO_SPACE,
        "trials": proposal.trials,
        "enqueue": [dict(p) for p in proposal.enqueue],
    }
    parts = [
        comment(
            f"The study to run after {spec.name}, based on {proposal.used} trials judged by "
            f"{proposal.objective}; each change states its reason"
        ),
        left_out,
        tomli_w.dumps(document),
        "\n# the best known points, tried first; they are not part of the random sample\n"
        if proposal.enqueue
        else "\n",
        toml({"search": search}),
    ]
    for name, parameter in spec.search.parameters.items():
        if parameter.value is not None:
            parts.append("\n" + _table(name, {"value": parameter.value}))
    for change in proposal.changes:
        reason = comment(f"{change.kind}: {change.reason}")
        parts.append("\n" + reason + _table(change.parameter, change.becomes))
    return "".join(parts)


def _left_out(document: Mapping[str, Any]) -> str:
    """Say which keys the next file lacks, and how to add them."""
    if not code_named(document):
        return ""
    return comment(
        f"left out, because the stored study names code to run: {in_words(document)}; review that "
        "code, then write the key here, or use --trust-study"
    )


def _table(name: str, values: Mapping[str, Any]) -> str:
    return toml({"search": {"parameters": {name: dict(values)}}})
