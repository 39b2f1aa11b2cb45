"""The command line: parse, call, print.  `optuna-study` and `python -m optuna_study`."""

from __future__ import annotations

import sys
from importlib import metadata
from typing import Annotated, NoReturn

import typer

from optuna_study.cli.adapting import comet, export
from optuna_study.cli.console import write_what_the_encoding_lacks
from optuna_study.cli.preparing import base, curate
from optuna_study.cli.reading import compare, importance, next_, report, show
from optuna_study.cli.running import confirm, run
from optuna_study.cli.studies import check, list_
from study.errors import InputError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Find out how to fine-tune with LoRA, and what mattered.\n\n"
    "Start with `optuna-study run`: it needs no download and takes about three minutes.",
)

COMMANDS = (
    *(run, check, list_),
    *(show, importance, report, compare),
    *(confirm, next_),
    *(export, comet),
    *(base, curate),
)
for command in COMMANDS:
    app.command(name=command.__name__.strip("_"))(command)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(metadata.version("optuna-study"))
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; a user's mistake is one line a problem and status 2."""
    write_what_the_encoding_lacks()
    try:
        app()
    except InputError as error:
        _refuse(error)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(1)
    except OSError as error:  # no space left, no permission: nothing of ours to trace
        _refuse(InputError(f"{error.filename or 'input or output'}: {error.strerror or error}"))
    except Exception as error:
        from study.store.storage import storage_problem

        line = storage_problem(error)
        if line is None:
            raise
        _refuse(InputError(line))


def _refuse(error: InputError) -> NoReturn:
    for problem in error.problems:
        print(problem, file=sys.stderr)
    sys.exit(2)
