"""A metric that no study file knows: how many of a hundred answers are wrong."""

from __future__ import annotations

from collections.abc import Sequence

from study.kinds.metrics import Array, Metric, TextOptions
from study.metrics.means import of_examples, weighted_mean


def errors(
    outputs: Sequence[str], references: Sequence[str], options: TextOptions
) -> tuple[Array, str]:
    """(N, 2): 100 where the output is not the reference, and 1."""
    wrong = [100.0 * (o != r) for o, r in zip(outputs, references, strict=True)]
    return of_examples(wrong), "errors|scale:100"


ROW = Metric(
    "error_rate", "errors (%)", weighted_mean, errors, direction="minimize", outputs="classes"
)
