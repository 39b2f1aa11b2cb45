"""A task of one's own, named in the study file as `task = "file.py:Class"`.

The file is code of the user: a study file given to a command may name it, and a stored study only
under the trust rule (study/spec/trust.py).  The stored study names the kind of model as its `task`,
and the file beside it, so that reading a study needs no code.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from study.errors import InputError
from study.kinds.metrics import OWN_FILE
from study.kinds.tasks import TASKS
from study.spec.hyperparameters import Strict
from study.spec.own_files import imported_file, sha256_of

KEY = "task"
KIND = "kind"


class OwnTaskSpec(Strict):
    """The class of one's own task, and the file that it is in."""

    name: Annotated[str, Field(pattern=f"^{OWN_FILE.pattern}$", max_length=300)]
    folder: Path
    sha256: str = ""

    @property
    def path(self) -> Path:
        """The Python file."""
        return self.folder / self._parts[0]

    @property
    def class_name(self) -> str:
        """The class, or any function that makes a task of a study."""
        return self._parts[1]

    @property
    def _parts(self) -> tuple[str, str]:
        file, _, name = self.name.rpartition(":")
        return file, name

    def make(self) -> Callable[[Any], Any]:
        """Import the file, and return what makes the task of a study.

        Raises:
            InputError: the file is missing, has changed, cannot be imported, or lacks the name.
        """
        module = imported_file(self.path, sha256_of(self.path, KEY, self.sha256 or None), KEY)
        found = getattr(module, self.class_name, None)
        if not callable(found):
            raise InputError(f"{KEY}: {self.path}: has no class {self.class_name!r}")
        return found  # type: ignore[no-any-return]


def resolve_own_task(document: dict[str, Any], folder: Path, where: str) -> None:
    """Replace `task = "file.py:Class"` by the class's kind of model, and the file beside it.

    Raises:
        InputError: the file cannot be imported, or its class does not say which models it trains.
    """
    named, given = document.get(KEY), document.get("own_task")
    if isinstance(named, str) and OWN_FILE.fullmatch(named):
        put_own_task(document, named, folder, f"{where}: {KEY}")
        document[KEY] = _kind_of(OwnTaskSpec.model_validate(document["own_task"]), where)
    elif isinstance(given, dict) and isinstance(given.get("name"), str):  # of a stored study
        place = folder / str(given.get("folder", ""))
        put_own_task(document, given["name"], place, f"{where}: own_task.name")


def put_own_task(document: dict[str, Any], named: str, folder: Path, where: str) -> None:
    """Let a study be trained by a task of one's own; its `task` stays the kind of model.

    Raises:
        InputError: it is not named as `file.py:Class`, or the file cannot be read.
    """
    if not OWN_FILE.fullmatch(named):
        raise InputError(f"{where}: must be FILE.py:CLASS, got {named!r:.80}")
    own = OwnTaskSpec(name=named, folder=folder.resolve())
    digest = sha256_of(own.path, where)
    document["own_task"] = {"name": own.name, "folder": str(own.folder), "sha256": digest}


def _kind_of(own: OwnTaskSpec, where: str) -> str:
    kind = getattr(own.make(), KIND, None)
    if kind not in TASKS:
        raise InputError(
            f"{where}: {KEY}: {own.path}: {own.class_name}.{KIND}: must name the shipped task that "
            f"trains the same models, got {kind!r:.60}; allowed: {', '.join(TASKS)}"
        )
    return str(kind)
