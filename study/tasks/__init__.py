"""One file a kind of learning."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from study.bases.load import BaseModel
from study.data.readers import Corpus
from study.spec.sections import StudySpec
from study.tasks.base import Task
from study.tasks.causal_translation import CausalTranslationTask
from study.tasks.classification import ClassificationTask
from study.tasks.masked_diffusion import MaskedDiffusionTask
from study.tasks.translation import TranslationTask

TASKS: Mapping[str, Callable[[StudySpec, BaseModel, Corpus[Any]], Task]] = {
    "translation": TranslationTask,
    "causal_translation": CausalTranslationTask,
    "classification": ClassificationTask,
    "masked_diffusion": MaskedDiffusionTask,
}


def make_task(spec: StudySpec, base: BaseModel, corpus: Corpus[Any]) -> Task:
    """Return the task that the study file names."""
    return TASKS[spec.task](spec, base, corpus)
