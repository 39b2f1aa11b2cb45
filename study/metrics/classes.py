"""Metrics of outputs that are classes: accuracy and macro F1, as scikit-learn defines them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from study.kinds.metrics import Array, TextOptions
from study.metrics.means import of_examples


def accuracy(
    outputs: Sequence[str], references: Sequence[str], options: TextOptions
) -> tuple[Array, str]:
    """(N, 2): whether the output is the reference, and 1."""
    right = [output == reference for output, reference in zip(outputs, references, strict=True)]
    return of_examples(right), "accuracy|case:exact"


def macro_f1(
    outputs: Sequence[str], references: Sequence[str], options: TextOptions
) -> tuple[Array, str]:
    """(N, 3·C): for each of C classes, whether the output is right, predicts it, or should.

    The classes are the study's, the same for every model; where a study names none, those that
    occur.
    """
    classes = options.labels or sorted({*outputs, *references})
    which = "all" if options.labels else "present"
    predicted = np.array([[output == c for c in classes] for output in outputs])
    true = np.array([[reference == c for c in classes] for reference in references])
    shape = (len(outputs), len(classes))  # an empty split would lose it
    columns = [column.reshape(shape) for column in (predicted & true, predicted, true)]
    return np.hstack(columns).astype(np.float64), f"macro-f1|classes:{which}"


def macro_f1_scores(summed: Array) -> Array:
    """Mean of 2·right / (predicted + true) over all classes, 0 for one that does not occur.

    It is scikit-learn's `f1_score(labels=…, average="macro", zero_division=0)`; NaN without
    examples.
    """
    right, predicted, true = np.moveaxis(summed.reshape(*summed.shape[:-1], 3, -1), -2, 0)
    occurs = predicted + true
    f1 = np.divide(2 * right, occurs, out=np.zeros_like(occurs), where=occurs > 0)
    return np.asarray(np.where(occurs.any(axis=-1), f1.mean(axis=-1), np.nan))
