"""Finding and reading study files and search spaces: presets, paths, command-line changes."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from search_spaces import shipped_spaces
from study.errors import InputError, did_you_mean, refusing
from study.spec.sections import SPLITS, StudySpec, parse_spec, spec_from_toml
from study.spec.trust import refuse_code
from study.store.folders import check_regular

DEFAULT_SPACE = "lora-wide"
FOLDER_OR_NAME = (
    ("base", "model"),
    ("distillation", "teacher"),
    ("data", "corpus"),
    ("evaluation", "encoder"),
)


def presets() -> dict[str, Path]:
    """Return the studies that ship: name -> file."""
    found = {path.stem: path for path in (Path(__file__).parent / "presets").glob("*.toml")}
    return dict(sorted(found.items()))


def load_spec(target: str | Path, overrides: Mapping[str, Any] | None = None) -> StudySpec:
    """Read a preset by name or a study file by path.

    `overrides` maps dotted keys to values (`{"search.trials": 10}`), as the command line gives
    them; None leaves the file's own.  Paths in the file are relative to its folder, those of the
    command line and of a preset to the working folder.

    Raises:
        InputError: one line a problem.
    """
    path = _find(target)
    document = read_toml(path)
    is_preset = path in presets().values()
    _resolve_paths(document, Path.cwd() if is_preset else path.parent, path)
    for key, value in (overrides or {}).items():
        if value is not None:
            _set(document, key, _from_here(value) if key == "search.space" else value, str(path))
    _resolve_space(document, path)
    document.setdefault("name", path.stem)
    return parse_spec(document, path.name if is_preset else str(path))


def stored_spec(
    content: str | None, target: str, *, test: Path | None = None, trust_study: bool = False
) -> StudySpec:
    """Return the study that a run folder holds, with another test split where one is given.

    It comes out of a database, which may be anybody's: so one that names code is refused unless
    the caller trusts it.

    Raises:
        InputError: `target` is no run folder of this program, its study file was changed, or it
            names code.
    """
    if content is None or not Path(target).is_dir():
        raise InputError(f"{target}: no run folder of optuna-study")
    spec_from_toml(content, target)  # says what is wrong with it
    document = tomllib.loads(content)
    if not trust_study:
        refuse_code(document, target)
    if test is not None:
        document.setdefault("data", {})["test"] = str(test.resolve())
    return parse_spec(document, target)


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; InputError with the line where it is none."""
    check_regular(path)
    with (
        refusing(f"{path}: cannot read the file", OSError),
        refusing(f"{path}: not UTF-8", UnicodeDecodeError),
    ):
        content = path.read_text(encoding="utf-8-sig")
    # ValueError is tomllib's own, or Python's for a number of thousands of digits
    with refusing(f"{path}: not valid TOML", ValueError, RecursionError):
        return tomllib.loads(content)


def _find(target: str | Path) -> Path:
    known = presets()
    if str(target) in known:
        return known[str(target)]
    path = Path(target)
    if os.path.isfile(path):
        return path
    raise InputError(
        f"{target}: no such study file or shipped study{did_you_mean(target, known)}; "
        f"shipped: {', '.join(known)}"
    )


def _resolve_paths(document: dict[str, Any], folder: Path, where: Path) -> None:
    data = document.get("data")
    if isinstance(data, dict):
        for key in SPLITS:
            if isinstance(data.get(key), str):
                data[key] = _resolved(folder, data[key], f"{where}: data.{key}")
    for section, key in FOLDER_OR_NAME:
        table = document.get(section)
        if isinstance(table, dict) and isinstance(table.get(key), str):
            local = _resolved(folder, table[key], f"{where}: {section}.{key}")
            if table[key] != "embedded" and os.path.isdir(local):
                table[key] = local


def _resolved(folder: Path, value: str, key: str) -> str:
    # too long, a loop of links, a NUL
    with refusing(
        f"{key}: not a usable path, got {value[:60]!r}", OSError, RuntimeError, ValueError
    ):
        return str((folder / Path(value).expanduser()).resolve())


def _from_here(space: str) -> str:
    return (
        os.path.abspath(space) if space not in shipped_spaces() and os.path.isfile(space) else space
    )


def _set(document: dict[str, Any], key: str, value: Any, where: str) -> None:
    *sections, last = key.split(".")
    for section in sections:
        document = document.setdefault(section, {})
        if not isinstance(document, dict):
            raise InputError(f"{where}: {section}: must be a table, got {document!r}")
    document[last] = value


def _resolve_space(document: dict[str, Any], path: Path) -> None:
    """Put the named space's parameters under `[search.parameters]`; the file's own replace them."""
    search = document.setdefault("search", {})
    if not isinstance(search, dict):
        return
    if "parameters" not in search:
        search.setdefault("space", DEFAULT_SPACE)
    if not isinstance(search.get("space"), str):
        return
    own = search.get("parameters", {})
    if not isinstance(own, dict):
        return
    search["parameters"] = {**_space_parameters(search["space"], path), **own}
    if search["space"] not in shipped_spaces():
        del search["space"]  # its parameters are the study's now, wherever the study is read again


def _space_parameters(space: str, study_file: Path) -> dict[str, Any]:
    known = shipped_spaces()
    path = known.get(space, study_file.parent / space)
    if not os.path.isfile(path):
        raise InputError(
            f"{study_file}: search.space: no shipped space and no file, got {space!r}"
            f"{did_you_mean(space, known)}; shipped: {', '.join(known)}"
        )
    document = read_toml(path)
    parameters = document.pop("parameters", None)
    if not isinstance(parameters, dict) or document:
        others = f", got {', '.join(map(repr, document))[:60]}" if document else ""
        raise InputError(f"{path}: a search space holds [parameters.NAME] tables{others}")
    return parameters


def described(files: Mapping[str, Path]) -> dict[str, str]:
    """Return what each shipped file says of itself in its first line, a comment."""
    return {
        name: path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
        for name, path in files.items()
    }
