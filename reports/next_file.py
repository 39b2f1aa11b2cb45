"""The next study file: what the last one taught, each change with its reason as a comment."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

from analysis.next_study.proposal import Change, Proposal
from analysis.studies.study_data import StudyData
from reports.shell import file_name
from study.errors import InputError, visible
from study.spec.sections import StudySpec, direction_of, spec_from_toml
from study.spec.trust import code_named, in_words, without_code

OF_THE_SEARCH = ("space", "parameters", "enqueue", "trials")


def next_name(name: str) -> str:
    """Return the name of the study that follows: petroleum, petroleum-2, petroleum-3.

    A file is named after it.
    """
    name = file_name(name)
    counted = re.fullmatch(r"(.+)-(\d{1,6})", name)
    return f"{counted[1]}-{int(counted[2]) + 1}" if counted else f"{name}-2"


def next_file(data: StudyData, proposal: Proposal, trust_study: bool = False) -> str:
    """Return the study file that searches what is proposed, as TOML with comments.

    It holds what the study's own file says otherwise than the defaults; what names code only where
    the study is trusted, because whoever runs the next file allows all that stands in it.
    """
    assert data.spec_text is not None
    spec = spec_from_toml(data.spec_text, data.name)
    document = spec.model_dump(mode="json", exclude_defaults=True)
    left_out = "" if trust_study else _left_out(document)
    document = document if trust_study else without_code(document)
    document["name"] = next_name(spec.name)
    evaluation = document.get("evaluation", {})
    if spec.evaluation.directions == tuple(map(direction_of, spec.evaluation.objective)):
        evaluation.pop("directions", None)
    search = document.pop("search", {})
    search = {key: value for key, value in search.items() if key not in OF_THE_SEARCH}
    search |= {"trials": proposal.trials, "enqueue": [dict(p) for p in proposal.enqueue]}
    parts = [
        _comment(
            f"What {spec.name} taught in {proposal.used} trials, judged by {proposal.objective}, "
            "and what is to be asked next"
        ),
        left_out,
        tomli_w.dumps(document),
        "\n# the best points known, tried first; they are no part of the sample\n"
        if proposal.enqueue
        else "\n",
        _toml({"search": search}),
        *_fixed_before(spec),
        *(_parameter(change) for change in proposal.changes),
    ]
    return "".join(parts)


def _left_out(document: Mapping[str, Any]) -> str:
    """Say which keys the next file lacks, and how it gets them."""
    if not code_named(document):
        return ""
    return _comment(
        f"left out, because the stored study names code to run: {in_words(document)}; review that "
        "code, then write the key here, or use --trust-study"
    )


def _fixed_before(spec: StudySpec) -> list[str]:
    return [
        _table(name, {"value": parameter.value})
        for name, parameter in spec.search.parameters.items()
        if parameter.value is not None
    ]


def _parameter(change: Change) -> str:
    return (
        "\n"
        + _comment(f"{change.kind}: {change.reason}")
        + _table(change.parameter, change.becomes).lstrip("\n")
    )


def _table(name: str, values: Mapping[str, Any]) -> str:
    return "\n" + _toml({"search": {"parameters": {name: dict(values)}}})


def _toml(document: Mapping[str, Any]) -> str:
    """Write TOML, lists of plain values on one line."""
    return re.sub(r"\[\n(( {4}[^\n{]*,\n)+)\]", _on_one_line, tomli_w.dumps(document))


def _on_one_line(found: re.Match[str]) -> str:
    return f"[{' '.join(found[1].split()).rstrip(',')}]"


def _comment(text: str) -> str:
    one_line = visible(" ".join(text.split()))  # a name must not end the comment
    return "".join(f"# {line}\n" for line in textwrap.wrap(one_line, 97))


def write_new(path: Path, text: str) -> None:
    """Write a file that is not there yet, or holds the same.

    Raises InputError where it holds something else: somebody may have edited it.
    """
    if path.exists() and path.read_text(encoding="utf-8", errors="replace") != text:
        raise InputError(f"{path}: exists and says something else; choose another --out")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
