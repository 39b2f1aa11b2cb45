"""Rename and delete what a run left; nothing but what a run makes is touched."""

from __future__ import annotations

import shutil
from pathlib import Path

from sqlalchemy import text

from study.errors import InputError, writing
from study.run_folder import run_folder
from study.spec.files import read_toml
from study.spec.sections import parse_spec
from study.spec.toml_text import parse_toml
from study.store import records
from study.store.folders import RUN_FILES, RUN_FOLDERS, SIDECARS, write_whole
from study.store.storage import (
    DATABASE_NAME,
    close_after_writing,
    open_for_writing,
    sqlite_url,
    study_names,
)

ALSO_WRITTEN = ("next.toml",)
"""Files that commands write into a run folder."""


def only_study(folder: Path) -> str:
    """Return the name of the one study in a run folder.

    Raises:
        InputError: it is no run folder, or holds several studies.
    """
    if not folder.is_dir() or not (folder / DATABASE_NAME).is_file():
        raise InputError(f"{folder}: not a run folder of optuna-study: it has no {DATABASE_NAME}")
    names = study_names(str(folder))
    if len(names) != 1:
        raise InputError(
            f"{folder}: must hold one study, got {len(names)}{': ' * bool(names)}{', '.join(names)}"
        )
    return names[0]


def name_in(folder: Path, storage: str) -> str | None:
    """Return the name of a run folder's study, where a storage holds several; None otherwise."""
    names, file = study_names(storage), folder / "spec.toml"
    if len(names) < 2 or not file.is_file():
        return None
    name = read_toml(file).get("name")
    return name if name in names else None


def rename_run(folder: Path, name: str) -> Path:
    """Give a study another name, and its run folder where that has the old name; return it.

    Raises:
        InputError: the name is not allowed or taken, or a run is at work in the folder.
    """
    old = only_study(folder)
    with run_folder(folder, exclusive=True):
        storage = open_for_writing(sqlite_url(folder / DATABASE_NAME))
        try:
            study_id = storage.get_study_id_from_name(old)
            content = records.read_spec(storage.engine, study_id)
            if content is None:
                raise InputError(f"{folder}: not a study of optuna-study; rename it with Optuna")
            spec = parse_spec(parse_toml(content) | {"name": name}, str(folder))
            renamed = folder.with_name(name) if folder.name == old else folder
            if renamed != folder and renamed.exists():
                raise InputError(f"{renamed}: exists already; choose another name")
            with storage.engine.begin() as connection:
                connection.execute(
                    text("UPDATE studies SET study_name = :name WHERE study_id = :id"),
                    {"name": name, "id": study_id},
                )
                connection.execute(
                    text("UPDATE run_studies SET spec = :spec WHERE study_id = :id"),
                    {"spec": spec.to_toml(), "id": study_id},
                )
        finally:
            close_after_writing(storage)
        write_whole(folder / "spec.toml", spec.to_toml())
    if renamed != folder:
        with writing(renamed):
            folder.rename(renamed)
    return renamed


def delete_run(folder: Path) -> list[Path]:
    """Delete what runs and reports left in a folder, and the folder; return what else is there.

    Exported models are somebody's result, and stay.

    Raises:
        InputError: it is no run folder, or a run is at work in it.
    """
    only_study(folder)
    names = [*RUN_FILES, *ALSO_WRITTEN, *(DATABASE_NAME + suffix for suffix in SIDECARS)]
    with run_folder(folder, exclusive=True), writing(folder):
        for name in RUN_FOLDERS:
            if name != "export" and (folder / name).is_dir():
                shutil.rmtree(folder / name)
        for path in [*(folder / name for name in names), *folder.glob(".lock-*")]:
            path.unlink(missing_ok=True)
        others = sorted(folder.iterdir())
        if not others:
            folder.rmdir()
    return others
