"""One answer for every example: the score of a model that reads nothing, which training must beat.

For classes it is the most frequent label of the dev examples, for numbers their mean.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from analysis.comparison.confusion import is_classification
from study.kinds.tasks import TASKS
from study.metrics import METRICS, Statistics, text_statistics

if TYPE_CHECKING:
    from analysis.studies.study_data import StudyData


def constant_answer(data: StudyData) -> str | None:
    """The answer; None for a study of texts, which has none."""
    if "dev" not in data.examples:
        return None
    targets = data.examples["dev"].targets
    if is_classification(data):
        labels, counts = np.unique(targets, return_counts=True)
        return str(labels[counts.argmax()])
    kind = TASKS.get((data.spec or {}).get("task", ""))
    if kind is None or kind.outputs != "numbers":
        return None
    return f"{np.mean([float(target) for target in targets]):.6g}"


def constant_statistics(data: StudyData, metric: str) -> Statistics | None:
    """The statistics of that answer on dev, under the study's signature.

    None where the study has no such answer, or the metric no score for it: a correlation, the loss,
    or a metric of one's own.
    """
    answer, row = constant_answer(data), METRICS.get(metric)
    if answer is None or row is None or row.from_text is None:
        return None
    targets = data.examples["dev"].targets
    found = text_statistics(metric, [answer] * len(targets), targets, data.text_options)
    try:  # the examples' clusters are the same too
        found = replace(data.statistics("best", metric), values=found.values)
    except LookupError:
        return None
    return found if math.isfinite(found.score) else None


def constant_name(data: StudyData) -> str:
    """The answer as a row is called, with what it is."""
    answer = constant_answer(data)
    what = "most frequent class" if is_classification(data) else "mean"
    return f"always {answer} ({what})"


def constant_scores(data: StudyData) -> dict[str, float]:
    """The scores of that answer on dev by metric, where it has any."""
    found = {metric: constant_statistics(data, metric) for metric in data.metrics}
    return {metric: one.score for metric, one in found.items() if one is not None}
