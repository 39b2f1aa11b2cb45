"""The task of one's own that a study file names."""

from __future__ import annotations

from study.errors import InputError
from study.spec.own_files import FAILURES, raised
from study.spec.own_task import KEY
from study.spec.sections import StudySpec
from study.tasks.base import Task

PROMISED = ("examples", "texts", "length", "collate", "loss", "predict", "score")


def own_task(spec: StudySpec) -> Task | None:
    """Return the task that a study's file makes, given the study; None for a shipped task.

    Raises:
        InputError: the file cannot be used, or what it makes lacks a method of a task.
    """
    if spec.own_task is None:
        return None
    where, make = f"{KEY}: {spec.own_task.path}", spec.own_task.make()
    try:
        task: Task = make(spec)
    except FAILURES as error:
        raise InputError(f"{where}: {spec.own_task.class_name}: {raised(error)}") from None
    missing = [name for name in PROMISED if not callable(getattr(task, name, None))]
    if missing:
        raise InputError(
            f"{where}: {spec.own_task.class_name}: a task needs {', '.join(missing)}; see "
            "docs/own-task.md"
        )
    return task
