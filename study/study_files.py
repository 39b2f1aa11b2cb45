"""Finding and reading study files and search spaces: presets, paths, command-line changes."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from search_spaces import shipped_spaces
from study.errors import InputError
from study.spec import StudySpec, parse_spec

DEFAULT_SPACE = "lora-wide"
PATH_KEYS = ("train", "dev", "general")


def presets() -> dict[str, Path]:
    """Return the studies that ship: name -> file."""
    return {path.stem: path for path in sorted((Path(__file__).parent / "presets").glob("*.toml"))}


def load_spec(target: str | Path, overrides: Mapping[str, Any] | None = None) -> StudySpec:
    """Read a preset by name or a study file by path.

    `overrides` maps dotted keys to values (`{"search.trials": 10}`), as the command line gives
    them; None leaves the file's own.  Paths in the file are relative to its folder.

    Raises:
        InputError: one line a problem.
    """
    path = _find(target)
    document = read_toml(path)
    _resolve_paths(document, path.parent)
    for key, value in (overrides or {}).items():
        if value is not None:
            _set(document, key, value, str(path))
    _resolve_space(document, path)
    document.setdefault("name", path.stem)
    return parse_spec(document, path.name if path in presets().values() else str(path))


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; InputError with the line where it is none."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: not valid TOML: {error}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8: byte {error.start}: {error.reason}") from None
    except RecursionError:
        raise InputError(f"{path}: not valid TOML: nested too deeply") from None
    except OSError as error:
        raise InputError(f"{path}: cannot read the file: {error.strerror}") from None


def _find(target: str | Path) -> Path:
    known = presets()
    if str(target) in known:
        return known[str(target)]
    path = Path(target)
    if path.is_file():
        return path
    close = difflib.get_close_matches(str(target), known, n=1)
    meant = f"; did you mean {close[0]}?" if close else ""
    raise InputError(
        f"{target}: no such study file or shipped study{meant}; shipped: {', '.join(known)}"
    )


def _resolve_paths(document: dict[str, Any], folder: Path) -> None:
    data = document.get("data")
    if isinstance(data, dict):
        for key in PATH_KEYS:
            if isinstance(data.get(key), str):
                data[key] = str((folder / data[key]).resolve())
    base = document.get("base")
    if isinstance(base, dict) and isinstance(base.get("model"), str):
        local = folder / base["model"]
        if local.is_dir():
            base["model"] = str(local.resolve())


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


def _space_parameters(space: str, study_file: Path) -> dict[str, Any]:
    known = shipped_spaces()
    path = known.get(space, study_file.parent / space)
    if not path.is_file():
        raise InputError(
            f"{study_file}: search.space: no shipped space and no file, got {space!r}; "
            f"shipped: {', '.join(known)}"
        )
    parameters = read_toml(path).get("parameters")
    if not isinstance(parameters, dict):
        raise InputError(f"{path}: a search space needs [parameters.NAME] tables")
    return parameters


def described(files: Mapping[str, Path]) -> dict[str, str]:
    """Return what each shipped file says of itself in its first line, a comment."""
    return {
        name: path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
        for name, path in files.items()
    }
