"""The command line: parse, call, print.  `optuna-study` and `python -m optuna_study`."""

from __future__ import annotations

import re
import sys
from importlib import metadata
from typing import Annotated, NoReturn

import typer

from optuna_study.cli.adapting import comet, export
from optuna_study.cli.console import (
    STOPPED,
    flush_output,
    open_what_is_closed,
    write_what_the_encoding_lacks,
)
from optuna_study.cli.managing import delete, list_, rename
from optuna_study.cli.preparing import base, check, curate, init
from optuna_study.cli.reading import compare, importance, next_, report, show
from optuna_study.cli.running import confirm, run, train
from study.errors import InputError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Search for the best way to fine-tune with LoRA, and see which parameters mattered.\n\n"
    "Start with `optuna-study run`: it needs no download and takes about three minutes. "
    "Then try `optuna-study COMMAND --help`; every page shows an example.",
)

COMMANDS = (
    *(init, check, run, list_),
    *(show, importance, report, compare),
    *(confirm, train, next_),
    *(export, comet),
    *(base, curate),
    *(rename, delete),
)
for command in COMMANDS:
    app.command(name=command.__name__.strip("_"))(command)


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(metadata.version("optuna-study"))
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; a user's mistake prints one line per problem and exits with 2."""
    from study.signals import ending_cleanly

    open_what_is_closed()
    write_what_the_encoding_lacks()
    try:
        with ending_cleanly():
            try:
                # without arguments, typer prints the help and ends by itself
                status = app(standalone_mode=len(sys.argv) < 2)
            finally:
                flush_output()
        sys.exit(status if isinstance(status, int) else 0)
    except InputError as error:
        _exit_with(error)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(STOPPED)
    except BrokenPipeError:
        sys.exit(1)
    except OSError as error:  # no space left or no permission: a traceback would not help
        _exit_with(InputError(f"{error.filename or 'input or output'}: {error.strerror or error}"))
    except Exception as error:
        if hasattr(error, "format_message"):  # typer's own base class of usage errors is private
            _exit_with(InputError(_usage_problem(error.format_message())))
        from study.store.storage import storage_problem

        line = storage_problem(error)
        if line is None:
            raise
        _exit_with(InputError(line))


def _usage_problem(message: str) -> str:
    """Return what is wrong with the arguments as one line that begins with the option."""
    from study.spec.problems import rule_of

    named = re.fullmatch(r"Invalid value for '([^']+)': (.*)", message, re.DOTALL)
    if named is None:
        return f"{message.rstrip('.')}; --help shows what is allowed"
    rule = rule_of({"type": "usage", "msg": named[2].removeprefix("Value error, ").rstrip(".")})
    return f"{named[1]}: {rule}{_typed(named[1])}"


def _typed(option: str) -> str:
    """Return what stands behind an option on the command line, where that is clear."""
    for word, following in zip(sys.argv, [*sys.argv[1:], ""], strict=True):
        name, joined, value = word.partition("=")
        if name == option:
            return f", got {(value if joined else following)[:40]!r}"
    return ""


def _exit_with(error: InputError) -> NoReturn:
    for problem in error.problems:
        print(problem, file=sys.stderr)
    sys.exit(2)
