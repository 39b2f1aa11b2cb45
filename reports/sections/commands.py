"""The commands that reproduce a study and its page."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import PurePath

from analysis.comparison.confirmation import Confirmation
from analysis.studies.study_data import MAXIMIZE, StudyData
from reports.page.parts import Code
from reports.results import Results
from reports.shell import argument, command_line, comment, file_name, option
from study.spec.trust import code_named, in_words


def commands(studies: Sequence[Results]) -> Code | None:
    """The commands for each study that this program ran, and for the page over all of them."""
    named = zip(studies, run_names(studies), strict=True)
    lines = [line for results, name in named for line in _study_lines(results, name)]
    lines += _page_lines([results.data for results in studies], studies[0].surrogate)
    return Code("The commands", "\n".join(lines), unfolded=True) if lines else None


def run_names(studies: Sequence[Results]) -> list[str]:
    """Return a name for each study's file and run folder, numbered where studies share it."""
    names = [file_name(results.data.name) for results in studies]
    found: list[str] = []
    for place, name in enumerate(names, 1):
        choices = (f"{name}-{number}" for number in count(place))
        taken = {*names, *found}  # another study may be called `a-1`
        found.append(name if names.count(name) == 1 else next(n for n in choices if n not in taken))
    return found


def _study_lines(results: Results, name: str) -> Iterator[str]:
    data = results.data
    if not data.is_ours:
        return
    yield comment("save the study file of", data.name, "as", f"{name}.toml", "and run it again")
    if data.spec is not None and code_named(data.spec):
        yield comment("first review the code that this study file names:", in_words(data.spec))
    asked = ((key, data.provenance.get(key)) for key in ("engine", "workers"))
    given = [part for key, value in asked if value for part in option(f"--{key}", value)]
    yield command_line(["optuna-study", "run", f"{name}.toml", *given, "--out", f"runs/{name}"])
    if results.confirmation is not None:
        chosen = _confirmed(data, results.confirmation)
        yield command_line(["optuna-study", "confirm", f"runs/{name}", *chosen])


def _confirmed(data: StudyData, found: Confirmation) -> list[str]:
    """The options for the best trials, by count, and for any other trial, by number."""
    numbers = [m.trial for m in (found.winner, *found.others) if m.trial is not None]
    ranked = [trial.number for trial in data.ranked()]
    top = next((i for i, n in enumerate(ranked) if n not in numbers), len(ranked))
    others = (("--trial", str(n)) for n in numbers if n not in ranked[:top])
    seeds = ("--seeds", str(len(found.winner.seeds)))
    return ["--top", str(max(top, 1)), *(part for other in others for part in other), *seeds]


def _page_lines(studies: Sequence[StudyData], surrogate: str) -> Iterator[str]:
    tables = [data for data in studies if _is_table(data)]
    if any("space" not in data.attributes for data in tables):
        return  # the space was declared in Python, which no command can repeat
    yield comment("write this page again, from the same folder")
    if any(re.search(r"://.*(:\*{3}@|=\*{3}(&|$))", data.target) for data in studies):
        yield comment("replace", "***", "with the storage password")
    parts = [argument(data.target) for data in studies]
    parts += [part for data in studies for part in option("--study-name", data.name)]
    parts += [part for data in tables[:1] for part in _declared(data)]
    parts += [] if surrogate == "auto" else ["--surrogate", surrogate]
    yield command_line(["optuna-study", "report", *parts])


def _is_table(data: StudyData) -> bool:
    return "://" not in data.target and PurePath(data.target).suffix.lower() == ".csv"


def _declared(data: StudyData) -> list[str]:
    """The options for what a CSV file does not contain."""
    way = [] if data.direction == MAXIMIZE else ["--direction", data.direction]
    space = option("--space", data.attributes["space"])
    return [*space, *option("--objective", data.objective), *way]
