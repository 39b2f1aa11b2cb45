"""Tasks: one file per kind of learning."""

from __future__ import annotations

from typing import Any

from study.bases.load import BaseModel
from study.data.readers import Corpus
from study.kinds.table_names import imported
from study.spec.sections import StudySpec
from study.tasks.base import Task


def make_task(spec: StudySpec, base: BaseModel, corpus: Corpus[Any]) -> Task:
    """Return the task that the study file names."""
    task: Task = imported(spec.task_kind.implementation)(spec, base, corpus)
    return task
