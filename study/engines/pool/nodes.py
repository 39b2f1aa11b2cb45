"""Check that a node of a cluster will train exactly what the parent would."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock

from study.bases.cache import default_cache, is_intact
from study.bases.load import locate_base, locate_teacher
from study.engines.base import Engine
from study.engines.engine_choice import EngineChoice
from study.errors import InputError
from study.spec.sections import StudySpec
from study.store.folders import check_own
from study.store.provenance import package_versions
from study.tasks.base import Task

Folder = Mapping[str, int]  # name of a file -> bytes
SHOWN = 3


@dataclass(frozen=True)
class NodeRequirements:
    """What the parent has: versions, data digests, model file sizes, and embedded models.

    Embedded models are sent, not rebuilt: rounding differs between processors.
    """

    versions: Mapping[str, str]
    data: Mapping[Path, str]
    models: Mapping[str, Folder]
    embedded: Mapping[str, Mapping[str, bytes]] = field(repr=False)


def node_requirements(spec: StudySpec, base: str) -> NodeRequirements:
    """Return what every node must have, measured on the parent's machine."""
    located = [(spec.base.model, base)]
    if spec.distillation is not None:
        located.append((spec.distillation.teacher, locate_teacher(spec)))
    files = [*spec.data.files.values()]
    files += [] if spec.own_task is None else [spec.own_task.path]
    embedded = [Path(folder) for name, folder in located if name == "embedded"]
    return NodeRequirements(
        package_versions(),
        {path: _digest(path) for path in files},
        {n: _sizes(Path(n)) for n, _ in located if n != "embedded" and os.path.isdir(n)},
        {folder.name: {f.name: f.read_bytes() for f in folder.iterdir()} for folder in embedded},
    )


def make_on_node(
    make_engine: Callable[..., Engine],
    where: str,
    spec: StudySpec,
    required: NodeRequirements,
    task: Task | None,
    choice: EngineChoice,
) -> Engine:
    """Build an engine on a node, after checking that the node has what is required.

    Raises:
        InputError: something is missing, differs or cannot be used; every line names the node.
    """
    try:
        problems = list(_problems(required))
        if problems:
            raise InputError(problems)
        for name, files in required.embedded.items():
            _keep(default_cache() / name, files)
        return make_engine(spec, locate_base(spec), task, choice)
    except InputError as error:
        raise InputError([f"on {where}: {problem}" for problem in error.problems]) from error


def _problems(required: NodeRequirements) -> Iterator[str]:
    here = package_versions()
    for package, version in required.versions.items():
        if _public(here[package]) != _public(version):
            yield (
                f"{package}: trials of different versions cannot be compared; "
                f"got {here[package]}, the run has {version}"
            )
    for path, digest in required.data.items():
        if not path.is_file():
            yield f"{path}: no such file; the data must be at the same path on every node"
        elif _digest(path) != digest:
            yield f"{path}: differs from the run's file; the data must be the same on every node"
    for name, sizes in required.models.items():
        if not os.path.isdir(name):
            yield f"{name}: no such folder; a model must be at the same path on every node"
        elif _sizes(Path(name)) != sizes:
            differing = sorted(dict(_sizes(Path(name)).items() ^ sizes.items()))
            yield f"{name}: differs from the run's model in {_some(differing)}"


def _public(version: str) -> str:
    """Return a version without its build suffix, as in 2.13.0+cpu."""
    return version.split("+")[0]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sizes(folder: Path) -> Folder:
    """Return the size of every file that a model is loaded from."""
    loaded = (*folder.glob("*.safetensors"), *folder.glob("*.json"))
    return {path.name: path.stat().st_size for path in loaded}


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:SHOWN]) + " …" * (len(listed) > SHOWN)


def _keep(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write a model into this machine's cache, unless it is already there."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    check_own(folder, "folder")
    check_own(Path(f"{folder}.lock"), "file")
    with FileLock(f"{folder}.lock"):
        if is_intact(folder):
            return
        shutil.rmtree(folder, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
            unfinished = Path(scratch) / "base"
            unfinished.mkdir()
            for name, content in files.items():
                (unfinished / name).write_bytes(content)
            unfinished.rename(folder)
