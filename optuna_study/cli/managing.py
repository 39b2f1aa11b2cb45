"""Commands that manage studies: `list`, `rename` and `delete`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from optuna_study.cli.console import load, print_json, print_line, results, say
from optuna_study.cli.options import AsJson
from study.errors import InputError

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The run folder of a study.")]


def list_(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="FOLDER",
            help="A folder of run folders, or a storage of several studies. [default: runs, if "
            "there is one]",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the shipped studies and search spaces, and the studies in a folder or a storage.

    Example: `optuna-study list`

    Example: `optuna-study list runs`
    """
    from search_spaces import shipped_spaces
    from study.spec.files import described, presets

    found = _runs(target)
    shipped = {"studies": described(presets()), "spaces": described(shipped_spaces())}
    if as_json:
        print_json({"runs": found} if target else {**shipped, "runs": found})
        return
    from rich.table import Table

    console = results()
    titles = {
        "studies": "Studies: optuna-study run NAME",
        "spaces": "\nSearch spaces: optuna-study run --space NAME",
    }
    for kind, entries in shipped.items() if target is None else ():
        table = Table(title=titles[kind], title_justify="left", box=None, show_header=False)
        for name, text in entries.items():
            table.add_row(name, text)
        console.print(table)
    if found:
        console.print() if target is None else None
        console.print(_runs_document(found).to_rich())
    elif target is not None:
        say(f"{target}: contains no run folders")


def _runs(target: str | None) -> list[dict[str, Any]]:
    """What is known of each study in a folder of run folders, or in a storage.

    A study that cannot be read has a problem instead.
    """
    from study.store.storage import DATABASE_NAME, study_names

    place = Path(target or "runs")
    is_storage = place.is_file() or (place / DATABASE_NAME).is_file()
    if target is not None and (is_storage or "://" in target):
        return [_known(target, name, {}) for name in study_names(target)]
    if not place.is_dir():
        if target is not None:
            raise InputError(f"{target}: no such folder")
        return []
    databases = {path.parent for path in place.glob(f"*/{DATABASE_NAME}")}
    specs = {path.parent for path in place.glob("*/spec.toml")}
    return [
        _known(str(folder), None, {"folder": str(folder)}) for folder in sorted(databases | specs)
    ]


def _known(target: str, name: str | None, known: dict[str, Any]) -> dict[str, Any]:
    from analysis.studies.trial_values import last_end

    try:
        data = load(target, name)
    except InputError as error:
        return {**known, **({"study": name} if name else {}), "problem": error.problems[0]}
    end = last_end(data.frozen_trials)
    return {
        **known,
        "study": data.name,
        "trials": dict(data.counts),
        "objective": data.objective,
        "best": data.best_value,
        "last": end.isoformat(timespec="minutes") if end else None,
    }


def _runs_document(found: list[dict[str, Any]]) -> Any:
    from analysis.document import Document, columns_table
    from analysis.wording import counted, label_of, number

    def best(run: dict[str, Any]) -> str:
        value = run.get("best")
        return "" if value is None else f"{label_of(run['objective'])} {number(value)}"

    folders = [run["folder"] for run in found if "folder" in run]
    title = f"Your studies: optuna-study show {'FOLDER' if folders else '… --study-name STUDY'}"
    columns = {
        **({"folder": folders} if folders else {}),
        "study": [run.get("study", "") for run in found],
        "trials": [run.get("problem") or counted(run["trials"]) or "none" for run in found],
        "best": [best(run) for run in found],
        "last trial": [(run.get("last") or "").replace("T", " ") for run in found],
    }
    return Document("", (columns_table(title, columns),))


def rename(
    folder: Folder,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The study's new name.")],
) -> None:
    """Rename a study, and its run folder if that has the study's name.

    Example: `optuna-study rename runs/petroleum oil`
    """
    from study.store.managing import rename_run

    print_line("folder", rename_run(folder, name))


def delete(
    folder: Folder,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete a study's database, adapters and report; exported models and your own files stay.

    Example: `optuna-study delete runs/petroleum`
    """
    from study.store.managing import delete_run, only_study

    name = only_study(folder)
    if not yes and not typer.confirm(f"Delete the study {name!r} in {folder}?", err=True):
        raise typer.Exit(1)
    for path in delete_run(folder):
        print_line("kept", path)
