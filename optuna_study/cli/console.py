"""What the commands share: reading a study, and writing to the terminal."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console

from study.errors import InputError

UNPRINTED = re.compile("[\x7f-\x9f\ud800-\udfff\u2028\u2029]")
"""What json leaves as it is: second control characters, which steer terminals, and half pairs."""


def load(
    target: str,
    study_name: str | None = None,
    space: str | None = None,
    objective: str | None = None,
    direction: str | None = None,
) -> Any:
    """Read a study; the analysis is imported only here."""
    from analysis.studies.load import load

    way = direction or "maximize"
    return load(target, study_name, space=space, objective=objective, direction=way)


def load_run(target: str, study_name: str | None = None) -> Any:
    """Read a study for a command that goes on from it; InputError where it is results alone."""
    if target.lower().endswith(".csv"):
        raise InputError(f"{target}: results in a CSV file are no study that optuna-study ran")
    return load(target, study_name)


def results() -> Console:
    """Return the console of standard output; 100 columns wide where that is no terminal."""
    return Console(width=None if sys.stdout.isatty() else 100)


def print_line(name: str, text: object) -> None:
    """Write one named line on standard output, as it is: a path may look like markup."""
    from analysis.plots.palette import printable

    line = printable(f"{name:<9}{text}")
    results().print(line, markup=False, highlight=False, soft_wrap=True)


def messages() -> Console:
    """Return the console of standard error."""
    return Console(stderr=True)


def print_json(document: Any) -> None:
    """Write one JSON document on standard output."""
    ascii_only = "utf" not in (sys.stdout.encoding or "").lower()
    json_text = json.dumps(document, indent=1, allow_nan=False, ensure_ascii=ascii_only)
    sys.stdout.write(UNPRINTED.sub(lambda found: f"\\u{ord(found[0]):04x}", json_text) + "\n")


@contextmanager
def progress_bar(what: str) -> Iterator[Any]:
    """Yield a callback (done, total) that draws a bar on standard error, if that is a terminal."""
    from rich.progress import Progress

    console = messages()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task(what, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)
