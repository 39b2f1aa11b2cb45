"""A classifier's answers: confusion matrix, per-class scores, and whether it has collapsed.

Everything is computed from the outputs that a run stores, so it needs no model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from study.metrics import scores_classes
from study.store import records

if TYPE_CHECKING:
    from analysis.studies.study_data import StudyData, Who

COLLAPSED_SHARE = 0.95
"""A model has collapsed if it gives this share of examples of several classes the same answer."""


@dataclass(frozen=True)
class ClassScore:
    """One class: the share of its answers that are right, and of its examples that are found."""

    name: str
    precision: float
    recall: float
    f1: float
    examples: int


@dataclass(frozen=True)
class Classes:
    """One model's outputs against the labels of N examples."""

    labels: tuple[str, ...]  # C classes
    confusion: NDArray[np.int64]  # (C, C): a row per true class, a column per answer

    @property
    def scores(self) -> list[ClassScore]:
        """The scores of each class; NaN where a class is never answered or never true."""
        right = self.confusion.diagonal()
        said, true = self.confusion.sum(axis=0), self.confusion.sum(axis=1)
        return [
            ClassScore(
                name,
                _share(right[i], said[i]),
                _share(right[i], true[i]),
                _share(2 * right[i], said[i] + true[i]),
                int(true[i]),
            )
            for i, name in enumerate(self.labels)
        ]

    @property
    def mostly(self) -> tuple[str, float]:
        """The most frequent answer, and its share of the examples."""
        said = self.confusion.sum(axis=0)
        return self.labels[int(said.argmax())], float(said.max() / max(said.sum(), 1))

    @property
    def is_collapsed(self) -> bool:
        """Whether the model gives hardly any answer but one."""
        return len(self.labels) > 1 and self.mostly[1] >= COLLAPSED_SHARE


def classes(outputs: Sequence[str], references: Sequence[str]) -> Classes:
    """Count N outputs against N labels."""
    labels = tuple(sorted({*outputs, *references}))
    place = {label: i for i, label in enumerate(labels)}
    confusion = np.zeros((len(labels), len(labels)), dtype=np.int64)
    for output, reference in zip(outputs, references, strict=True):
        confusion[place[reference], place[output]] += 1
    return Classes(labels, confusion)


def is_classification(data: StudyData) -> bool:
    """Whether the study's outputs are classes."""
    return scores_classes(*data.metrics) and bool(data.examples)


def classes_of(data: StudyData, who: Who = "best", split: str = "dev") -> Classes:
    """Count a model's stored outputs; LookupError where the study stores none."""
    row = data.evaluation(who, split)
    if data.database is None or split not in data.examples:
        raise LookupError(f"study {data.name!r} stores no outputs")
    outputs = records.read_outputs(data.database, row.evaluation_id)
    return classes(outputs, data.examples[split].targets)


def _share(part: Any, whole: Any) -> float:
    return float(part / whole) if whole else float("nan")
