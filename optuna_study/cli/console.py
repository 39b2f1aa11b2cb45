"""What the commands share: reading a study, writing to the terminal, and pages that fail."""

from __future__ import annotations

import codecs
import io
import json
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from study.errors import InputError

if TYPE_CHECKING:
    from reports.page.model import Page

UNPRINTED = re.compile("[\x7f-\x9f\ud800-\udfff\u2028\u2029]")
"""What json leaves as it is: second control characters, which steer terminals, and half pairs."""


IN_ASCII = {
    "−": "-",
    "–": "-",
    "—": "-",
    "×": "x",
    "·": "-",
    "…": "...",
    "→": "->",
    "≤": "<=",
    "≥": ">=",
    "±": "+/-",
    "α": "alpha",
    "β": "beta",
    "√": "sqrt ",
    "²": "^2",
    "³": "^3",
    "’": "'",
}
"""The signs of our own texts, for a terminal or file that cannot hold them."""


def write_what_the_encoding_lacks() -> None:
    """Let standard output take any text, whatever its encoding: other signs become `?`."""

    def replaced(error: UnicodeError) -> tuple[str, int]:
        assert isinstance(error, UnicodeEncodeError)
        lacking = error.object[error.start : error.end]
        return "".join(IN_ASCII.get(sign, "?") for sign in lacking), error.end

    codecs.register_error("signs-in-ascii", replaced)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="signs-in-ascii")


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


class PageFailures:
    """What fails on the way to a page: a line each on standard error, the tracebacks in a log.

    The log stands beside the page; a link in its place is replaced, not followed.
    """

    def __init__(self, out: Path, again: Sequence[str] = ()) -> None:
        """Take where the page goes, and what `report` is told to write it, if that is not known."""
        from reports.shell import command_line

        self._out = out
        self.log = out.with_name("report-error.log")
        command = command_line(["optuna-study", "report", *again])
        self._again = f"; try again: {command}" if again else ""
        self._tracebacks: list[str] = []

    def __bool__(self) -> bool:
        return bool(self._tracebacks)

    @contextmanager
    def caught(self, *, refusals: bool = True) -> Iterator[None]:
        """Let the command go on where the report fails, whatever the reason.

        Without `refusals` what `main` says in one line itself passes: a mistake of the user, or of
        the database or the disk.
        """
        from study.store.storage import storage_problem

        try:
            yield
        except InputError as error:
            if not refusals:
                raise
            self._note(f"the report failed: {error}", traceback.format_exc())
        except Exception as error:
            if not refusals and (isinstance(error, OSError) or storage_problem(error)):
                raise
            reason = f"{type(error).__name__}: {error}"
            self._note(f"the report failed: {reason}", traceback.format_exc())

    def page(self, make: Callable[[Any], Page]) -> Path | None:
        """Make a page, given a progress bar, write it, and return where; None where that failed."""
        from reports.page.render import render, write

        failed: dict[str, str] = {}
        written = None
        with self.caught(), progress_bar("the report") as progress:
            written = write(render(make(progress), failed), self._out)
        self.figures(failed)
        return written

    def figures(self, failed: Mapping[str, str]) -> None:
        """Say which figures of a page that is written could not be drawn, from `render`."""
        if failed:
            reason = next(iter(failed.values())).splitlines()[-1]
            names = ", ".join(failed)
            self._note(f"not drawn in the report: {names}: {reason}", "\n".join(failed.values()))

    def _note(self, what: str, details: str) -> None:
        from study.errors import without_secrets
        from study.store.folders import write_whole

        self._tracebacks.append(details)
        logged = ""
        with suppress(InputError):  # a full disk: the line alone
            write_whole(self.log, without_secrets("\n".join(self._tracebacks)), "log")
            logged = f"; details: {self.log}"
        (line,) = InputError(f"{what}{logged}{self._again}").problems
        print(line, file=sys.stderr)
