"""Find and read study files and search spaces: presets, paths, command-line changes."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from search_spaces import shipped_spaces
from study.errors import Faults, InputError, did_you_mean, refusing
from study.kinds.chat_templates import CHAT_TEMPLATES, is_template, template_fault
from study.metrics.own import file_hashes
from study.metrics.scripts import tokenizer_for
from study.spec.base_and_data import SPLITS, DataSpec
from study.spec.hyperparameters import field_of, searchable, section_of
from study.spec.init_adapter import resolve_init_adapter, without_fixed
from study.spec.own_task import put_own_task, resolve_own_task
from study.spec.search import NO_SPACE
from study.spec.sections import StudySpec, parse_spec, spec_from_toml, without_unused
from study.spec.toml_text import parse_toml
from study.spec.trust import refuse_code
from study.store.folders import check_regular

DEFAULT_SPACE = "lora-wide"
DATA_SUFFIXES = (".jsonl", ".json", ".tsv", ".csv", ".parquet")
LARGEST_TEMPLATE = 100_000  # bytes
INSTEAD_OF = (
    ("data.dev", "data.dev_share"),
    ("training.steps", "training.epochs"),
    ("training.warmup_fraction", "training.warmup_steps"),
)
"""Keys of which a study has one; that of the command line replaces the other of the file."""
FOLDER_OR_NAME = (
    ("base", "model"),
    ("distillation", "teacher"),
    ("data", "corpus"),
    ("evaluation", "encoder"),
)


def unsaid(line: str) -> None:
    """Take a line that nobody reads."""


def presets() -> dict[str, Path]:
    """Return the shipped studies: name -> file."""
    files = (Path(__file__).parent / "presets").glob("*.toml")
    return {path.stem: path for path in sorted(files, key=lambda path: path.stem)}


def load_spec(
    target: str | Path,
    overrides: Mapping[str, Any] | None = None,
    own_task: str | None = None,
    faults: Faults | None = None,
    *,
    changes: Sequence[str] = (),
    remark: Callable[[str], None] = unsaid,
) -> StudySpec:
    """Read a preset by name or a study file by path.

    `own_task` is a task of your own, `file.py:Class`, relative to the working folder.

    `overrides` maps dotted keys to the command line's values (`{"search.trials": 10}`); None keeps
    the file's value.  `changes` are more of them, as `--set` has them: `search.trials=10`.  Paths
    in a file are relative to the folder of that file; paths on the command line and in a preset are
    relative to the working folder.  `remark` takes a line for each key of the file that an override
    puts out of use.

    With `faults`, problems that leave a study to look at are collected there, as by `parse_spec`.

    Raises:
        InputError: one line per problem, those of the changes included.
    """
    path = _find(target)
    is_preset = path in presets().values()
    where = path.name if is_preset else str(path)
    document, folder = read_toml(path), Path.cwd() if is_preset else path.parent
    if own_task is not None:
        put_own_task(document, own_task, Path.cwd(), "--task")
    found = Faults() if faults is None else faults
    wanted = {**(overrides or {}), **changed_keys(changes, found)}
    spec = _spec(document, path, where, folder, wanted, found, remark)
    if faults is None:
        found.refuse()
    return spec


def spec_of_text(text: str, path: Path) -> StudySpec:
    """Return the study that a text would be as the study file `path`; InputError as for a file."""
    faults = Faults()
    spec = _spec(parse_toml(text), path, str(path), path.parent, None, faults)
    faults.refuse()
    return spec


def _spec(
    document: dict[str, Any],
    path: Path,
    where: str,
    folder: Path,
    overrides: Mapping[str, Any] | None,
    faults: Faults,
    remark: Callable[[str], None] = unsaid,
) -> StudySpec:
    """Resolve what a file names, and validate it; `folder` is where relative paths begin.

    Problems that leave a study to look at are kept in `faults`; others are raised with all of them.
    """
    try:
        if not {*document} - {"name"}:
            raise InputError(
                f"{where}: needs base.model and data, got an empty study; `optuna-study init` "
                "writes a study file for a model and data, and `optuna-study run` alone runs the "
                "shipped study"
            )
        _resolve_paths(document, folder, where)
        resolve_own_task(document, folder, where)
        _override(document, overrides, where, remark)
        resolve_init_adapter(document, folder, where)
        _resolve_space(document, path.parent, where)
        _fix_searched(document, overrides, where, remark)
        _resolve_tokenizer(document)
        known = len(faults.problems)
        with faults.collected():
            _resolve_template(document, path.parent, where)
        if len(faults.problems) > known:  # the other sections may be wrong, too
            del document["data"]["chat_template"]
        document.setdefault("name", path.stem)
        return _with_metric_files(parse_spec(document, where, faults), folder)
    except InputError as error:
        faults.add(error)
        faults.refuse()
        raise


def stored_spec(
    content: str | None,
    target: str,
    *,
    test: Path | None = None,
    scores: bool = True,
    trust_study: bool = False,
    overrides: Mapping[str, Any] | None = None,
    own_task: str | None = None,
    changes: Sequence[str] = (),
    remark: Callable[[str], None] = unsaid,
) -> StudySpec:
    """Return the study in a run folder, with `test` as its test split if given.

    `overrides`, `own_task`, `changes` and `remark` are those of `load_spec`.

    The study comes from a database that anybody may have written, so a study that names code is
    refused unless the caller trusts it.  Code of its metrics does not matter to a caller that
    `scores` nothing.

    Raises:
        InputError: `target` is not a run folder of this program, its study file was changed, or it
            names code.
    """
    if content is None or not Path(target).is_dir():
        raise InputError(f"{target}: not a run folder of optuna-study")
    spec_from_toml(content, target)  # raises if the study is invalid
    document = without_unused(parse_toml(content))
    if own_task is not None:
        document.pop("own_task", None)  # whatever it is, this one is named here
    if not trust_study:
        refuse_code(document, target, scores)
    if own_task is not None:
        put_own_task(document, own_task, Path.cwd(), "--task")
    if test is not None:
        document.setdefault("data", {})["test"] = str(test.resolve())
    if overrides and overrides.get("search.goal") is not None:
        document["search"].pop("confirm", None)  # the goal of now says whether
    faults = Faults()
    wanted = {**(overrides or {}), **changed_keys(changes, faults)}
    with faults.collected():
        _override(document, wanted, target, remark)
        if wanted.get("search.space") is not None:
            document["search"].pop("parameters", None)
            _resolve_space(document, Path.cwd(), target)
        _fix_searched(document, wanted, target, remark)
        spec = parse_spec(document, target)
    faults.refuse()
    return spec


def is_run_folder(target: str) -> bool:
    """Return whether a target is a folder, and not the name of a shipped study."""
    return target not in presets() and os.path.isdir(target)


def changed_keys(changes: Sequence[str], faults: Faults | None = None) -> dict[str, Any]:
    """Return `KEY=VALUE` changes of the command line as dotted keys and values.

    A value is read as TOML, and as plain text where it is none.  Paths are relative to the working
    folder.  A change without a key or value becomes one of the faults; without these it is raised
    as InputError.
    """
    changed: dict[str, Any] = {}
    for change in changes:
        key, equals, text = change.partition("=")
        key = key.strip()
        if not (equals and all(key.split("."))):
            fault = f"--set: must be KEY=VALUE, e.g. training.steps=40, got {change[:60]!r}"
            if faults is None:
                raise InputError(fault)
            faults.add(InputError(fault))
            continue
        try:
            value = parse_toml(f"value = {text}")["value"]
        except (ValueError, RecursionError):
            value = text.strip()
        changed[key] = value
    return changed


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; an InputError names the line that is not valid TOML."""
    content = read_text(path)
    # tomllib raises ValueError; so does Python for a number of thousands of digits
    with refusing(f"{path}: not valid TOML", ValueError, RecursionError):
        return parse_toml(content)


def read_text(path: Path) -> str:
    """Read a text file; an InputError says why it cannot be read."""
    check_regular(path)
    with (
        refusing(f"{path}: cannot read the file", OSError),
        refusing(f"{path}: not UTF-8", UnicodeDecodeError),
    ):
        return path.read_text(encoding="utf-8-sig")


def _find(target: str | Path) -> Path:
    shipped = presets()
    if str(target) in shipped:
        return shipped[str(target)]
    path = Path(target)
    if os.path.isfile(path) and path.suffix.lower() in DATA_SUFFIXES:
        raise InputError(
            f"{target}: must be a study file, got data; `optuna-study init --model MODEL --data "
            f"{target}` writes a study file for it"
        )
    if os.path.isfile(path):
        return path
    raise InputError(
        f"{target}: no such study file or shipped study{did_you_mean(target, shipped)}; "
        f"shipped: {', '.join(shipped)}"
    )


def _resolve_paths(document: dict[str, Any], folder: Path, where: str) -> None:
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
    # too long, a loop of links, or a NUL
    with refusing(f"{key}: invalid path, got {value[:60]!r}", OSError, RuntimeError, ValueError):
        return str((folder / Path(value).expanduser()).resolve())


def _resolve_tokenizer(document: dict[str, Any]) -> None:
    """Let BLEU split a language without spaces, unless the study file says how."""
    data, evaluation = document.get("data", {}), document.setdefault("evaluation", {})
    if not isinstance(data, dict) or not isinstance(evaluation, dict):
        return
    language = data.get("target_language", DataSpec().target_language)
    if isinstance(language, str) and (tokenizer := tokenizer_for(language)):
        evaluation.setdefault("tokenize", tokenizer)


def _with_metric_files(spec: StudySpec, folder: Path) -> StudySpec:
    """Add where the files of own metrics lie, and the hashes of those."""
    if not spec.evaluation.own_metrics:
        return spec
    place = (folder / (spec.evaluation.metric_folder or "")).resolve()
    found = spec.evaluation.model_copy(update={"metric_folder": place, "metric_files": {}})
    found = found.model_copy(update={"metric_files": file_hashes(found)})
    return spec.model_copy(update={"evaluation": found})


def _override(
    document: dict[str, Any],
    overrides: Mapping[str, Any] | None,
    where: str,
    remark: Callable[[str], None] = unsaid,
) -> None:
    """Set dotted keys; None keeps the file's value, paths are relative to the working folder.

    A key of which a study has only one replaces the other key of the file.
    """
    given = {key: value for key, value in (overrides or {}).items() if value is not None}
    splits = {f"data.{split}" for split in SPLITS}
    names = {".".join(names) for names in FOLDER_OR_NAME}
    for key, value in given.items():
        if isinstance(value, str):
            if key == "search.space":
                value = _from_here(value)
            elif key in splits or (key in names and value != "embedded" and os.path.isdir(value)):
                value = os.path.abspath(value)
        _set(document, key, value, where)
    for pair in INSTEAD_OF:
        for new, old in (pair, pair[::-1]):
            section, name = old.split(".")
            table = document.get(section)
            if new in given and old not in given and isinstance(table, dict) and name in table:
                remark(f"{new} of the command line replaces {old} = {table.pop(name)!r} of {where}")


def _fix_searched(
    document: dict[str, Any],
    overrides: Mapping[str, Any] | None,
    where: str,
    remark: Callable[[str], None],
) -> None:
    """Let a hyperparameter of the command line be fixed where the study searches it.

    Trials would not read it otherwise.
    """
    search = document.get("search", {})
    parameters = search.get("parameters") if isinstance(search, dict) else None
    if not isinstance(parameters, dict):
        return
    for name in searchable():
        key = f"{section_of(name)}.{field_of(name)}"
        value = (overrides or {}).get(key)
        if value is not None and name in parameters:
            del parameters[name]
            replaced = f"replaces the search of {name} in {where}"
            remark(f"{key} = {value!r} of the command line {replaced}")


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


def _resolve_space(document: dict[str, Any], folder: Path, where: str) -> None:
    """Copy the named space into `[search.parameters]`; parameters of the study file win."""
    search = document.setdefault("search", {})
    if not isinstance(search, dict):
        return
    is_default = "space" not in search
    space, parameters = search.setdefault("space", DEFAULT_SPACE), search.get("parameters", {})
    if not isinstance(space, str) or space == NO_SPACE or not isinstance(parameters, dict):
        return
    shipped = _space_parameters(space, folder, where)
    found = without_fixed(shipped, document) if is_default else shipped
    search["parameters"] = {**found, **parameters}
    if space not in shipped_spaces() or found != shipped:
        search["space"] = NO_SPACE  # the study holds the parameters, and may be read elsewhere


def _resolve_template(document: dict[str, Any], folder: Path, where: str) -> None:
    """Replace the name of a template's file by its text: the study then reads no such file again.

    Without its last line end, which an editor adds and every conversation would end with.
    """
    data = document.get("data")
    value = data.get("chat_template") if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(value, str):
        return
    if value in CHAT_TEMPLATES or is_template(value):
        return
    path = Path(_resolved(folder, value, f"{where}: data.chat_template"))
    if not os.path.isfile(path):
        return  # refused with the shipped names where the section is checked
    if path.stat().st_size > LARGEST_TEMPLATE:
        raise InputError(
            f"{where}: data.chat_template: {path}: must have at most {LARGEST_TEMPLATE:,} bytes, "
            f"got {path.stat().st_size:,}"
        )
    text = read_text(path)
    if not is_template(text):
        raise InputError(
            f"{where}: data.chat_template: {path}: must be a Jinja template, got {text[:60]!r}"
        )
    if fault := template_fault(text):
        raise InputError(f"{where}: data.chat_template: {path}: {fault}")
    data["chat_template"] = text.removesuffix("\n")


def _space_parameters(space: str, folder: Path, where: str) -> dict[str, Any]:
    shipped = shipped_spaces()
    path = shipped.get(space, folder / space)
    if not os.path.isfile(path):
        raise InputError(
            f"{where}: search.space: neither a shipped space nor a file, got {space!r}"
            f"{did_you_mean(space, shipped)}; shipped: {', '.join(shipped)}; {NO_SPACE!r} is none"
        )
    document = read_toml(path)
    parameters = document.pop("parameters", None)
    if not isinstance(parameters, dict) or document:
        others = f", got {', '.join(map(repr, document))[:60]}" if document else ""
        raise InputError(f"{path}: a search space contains only [parameters.NAME] tables{others}")
    return parameters


def described(files: Mapping[str, Path]) -> dict[str, str]:
    """Return the description of each shipped file: its first line, a comment."""
    return {
        name: path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
        for name, path in files.items()
    }
