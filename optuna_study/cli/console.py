"""Shared by the commands: read a study, write to the terminal, and handle failed reports."""

from __future__ import annotations

import codecs
import io
import json
import os
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
    from analysis.document import Document
    from reports.page.parts import Page

UNPRINTED = re.compile("[\x7f-\x9f\ud800-\udfff\u2028\u2029]")
"""Characters that json does not escape: C1 controls, which steer terminals, and lone surrogates."""


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
STOPPED = 130
"""The status of a command that Ctrl-C or SIGTERM stopped, as in shells."""


def open_what_is_closed() -> None:
    """Open the null device for standard streams that the caller closed, as `>&-` does.

    A file opened later would otherwise get their numbers, and what libraries print would go there.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            handle = os.open(os.devnull, os.O_RDWR)
            if handle != number:
                os.dup2(handle, number)
                os.close(handle)
            mode = "w" if number else "r"
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


def write_what_the_encoding_lacks() -> None:
    """Let standard output take any text, whatever its encoding: other signs become `?`."""

    def replaced(error: UnicodeError) -> tuple[str, int]:
        assert isinstance(error, UnicodeEncodeError)
        lacking = error.object[error.start : error.end]
        return "".join(IN_ASCII.get(sign, "?") for sign in lacking), error.end

    codecs.register_error("signs-in-ascii", replaced)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="signs-in-ascii")


def flush_output() -> None:
    """Write what standard output still holds.

    After a failure the rest is dropped, since Python would try again at its end, and complain.

    Raises OSError: the disk is full, or the reader has gone.
    """
    try:
        sys.stdout.flush()
    except OSError:
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), sys.stdout.fileno())
        raise


def load(
    target: str,
    study_name: str | None = None,
    space: str | None = None,
    objective: str | None = None,
    direction: str | None = None,
    where: str | None = None,
) -> Any:
    """Read a study, or its part in a region; imports the analysis only when called."""
    from analysis.studies.load import load

    data = load(
        target, study_name, space=space, objective=objective, direction=direction or "maximize"
    )
    return data if where is None else data.where(where)


def load_run(target: str, study_name: str | None = None) -> Any:
    """Read a study that optuna-study ran; InputError for a CSV file, which has only results."""
    if target.lower().endswith(".csv"):
        raise InputError(f"{target}: needs a study run by optuna-study, got a CSV file of results")
    return load(target, study_name)


def results() -> Console:
    """Return the console of standard output, 100 columns wide unless it is a terminal."""
    return Console(width=None if sys.stdout.isatty() else 100)


def print_document(document: Document) -> None:
    """Write a document to standard output, 80 columns wide at most, as its prose reads best."""
    console = results()
    console.print(document.to_rich(), width=min(console.width, 80))


def print_line(name: str, text: object, *, is_code: bool = False) -> None:
    """Write one named line to standard output without markup, which a path may resemble.

    A terminal wraps it between words, but neither a path nor code, which people copy.
    """
    from analysis.wording import printable

    console, line = results(), printable(f"{name:<9}{text}")
    whole = is_code or isinstance(text, Path) or not console.is_terminal
    console.print(line, markup=False, highlight=False, soft_wrap=whole)


def print_opening(exported: Any) -> None:
    """Write how to open an adapter whose head the base lacks."""
    loader = "AutoPeftModelForSequenceClassification.from_pretrained"
    print_line("open", f"{loader}({str(exported.folder)!r}, {exported.arguments})", is_code=True)


def messages() -> Console:
    """Return the console of standard error."""
    return Console(stderr=True)


def say(text: str) -> None:
    """Write a line to standard error without markup; a terminal wraps it between words."""
    console = messages()
    console.print(text, markup=False, highlight=False, soft_wrap=not console.is_terminal)


def print_json(document: Any) -> None:
    """Write one JSON document to standard output."""
    ascii_only = "utf" not in (sys.stdout.encoding or "").lower()
    json_text = json.dumps(document, indent=1, allow_nan=False, ensure_ascii=ascii_only)
    sys.stdout.write(UNPRINTED.sub(lambda match: f"\\u{ord(match[0]):04x}", json_text) + "\n")


@contextmanager
def progress_bar(what: str) -> Iterator[Any]:
    """Yield a callback (done, total) that draws a bar if standard error is a terminal."""
    from rich.progress import Progress

    console = messages()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task(what, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


class PageFailures:
    """Collects failures of a report: one line each on standard error, the tracebacks in a log.

    The log is written next to the page; a link in its place is replaced, not followed.
    """

    def __init__(self, out: Path, report_arguments: Sequence[str] = ()) -> None:
        """Take the path of the page, and the arguments with which `report` can write it again."""
        from reports.shell import command_line

        self._out = out
        self.log = out.parent / "report-error.log"  # "." has no name
        command = command_line(["optuna-study", "report", *report_arguments])
        self._retry = f"; to retry: {command}" if report_arguments else ""
        self._tracebacks: list[str] = []

    def __bool__(self) -> bool:
        return bool(self._tracebacks)

    @contextmanager
    def caught(self, *, refusals: bool = True) -> Iterator[None]:
        """Let the command continue if the report fails, whatever the reason.

        Without `refusals`, the errors that `main` reports in one line pass: the user's, the
        database's and the disk's.
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
        """Make a page, given a progress bar, and write it; return its path, or None on failure."""
        from reports.page.render import render, write

        failed: dict[str, str] = {}
        written = None
        with self.caught(), progress_bar("writing the report") as progress:
            written = write(render(make(progress), failed), self._out)
        self.figures(failed)
        return written

    def figures(self, failed: Mapping[str, str]) -> None:
        """Report the figures that `render` could not draw."""
        if failed:
            reason = next(iter(failed.values())).splitlines()[-1]
            names = ", ".join(failed)
            self._note(
                f"figures missing from the report: {names}: {reason}", "\n".join(failed.values())
            )

    def _note(self, problem: str, details: str) -> None:
        from study.errors import without_secrets
        from study.store.folders import write_whole

        self._tracebacks.append(details)
        logged = ""
        with suppress(InputError):  # full disk: print only the line
            write_whole(self.log, without_secrets("\n".join(self._tracebacks)), "log")
            logged = f"; details: {self.log}"
        (line,) = InputError(f"{problem}{logged}{self._retry}").problems
        print(line, file=sys.stderr)
