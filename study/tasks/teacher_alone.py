"""A teacher's own score: it takes the study's task as if it were the base."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from study.bases.load import BaseModel
from study.data.readers import Corpus
from study.errors import InputError
from study.kinds.table_names import imported
from study.spec.hyperparameters import MOST
from study.spec.sections import StudySpec
from study.tasks.base import Task


@dataclass(frozen=True)
class TeacherAlone:
    """A study's loaded teacher, and the examples that it is scored on."""

    base: BaseModel
    spec: StudySpec
    corpus: Corpus[Any]

    def task(self) -> Task:
        """Return the study's task with the teacher as its base; texts are cut as for students.

        The teacher ends its answers with its own token, since it may not know the study's.
        """
        return self._task({})

    def task_of_whole_texts(self) -> Task | None:
        """Return the same without cutting texts shorter than the teacher reads.

        None if it cannot read whole texts either.
        """
        try:
            return self._task({"max_tokens": MOST})
        except InputError:
            return None

    def _task(self, changes: dict[str, Any]) -> Task:
        spec, named = self.spec, self.spec.distillation
        if named is not None and named.labels:
            self.base.model.config.id2label = dict(enumerate(named.labels))
        if spec.task_kind.trains_stop_token and spec.data.stop_token is not None:
            changes = {**changes, "stop_token": self.base.tokenizer.eos_token}
        data = spec.data.model_copy(update=changes)
        alone = spec.model_copy(update={"distillation": None, "data": data})
        corpus = replace(self.corpus, train=())
        task: Task = imported(spec.task_kind.implementation)(alone, self.base, corpus)
        return task
