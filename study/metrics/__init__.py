"""Metrics as per-example statistics (N, S) and the rule that turns their sum into a corpus score.

After sacreBLEU's `metrics/base.py`: statistics a segment first, aggregation later, and a signature
that makes a score reproducible.  Any subset or resample of the examples can be scored from the
stored statistics, which is what a paired bootstrap needs.  The table of metrics is
study/kinds/metrics.py; `docs/metrics.md` says what each one is.  Importing this loads none of the
libraries that they come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from study.kinds.metrics import (
    LOSS,
    METRICS,
    Array,
    Metric,
    TextOptions,
    is_known,
    is_own_file,
    metric_label,
    metric_of,
)
from study.metrics.clusters import Clusters

__all__ = [
    "LOSS",
    "LOSS_SIGNATURE",
    "METRICS",
    "Array",
    "Metric",
    "Statistics",
    "TextOptions",
    "is_known",
    "is_own_file",
    "metric_label",
    "metric_of",
    "objective_label",
    "scores_classes",
    "scores_free_text",
    "split_and_metric",
    "text_scores",
    "text_statistics",
]

PLAIN = TextOptions()
LOSS_SIGNATURE = "cross-entropy|mean:token|unit:nat"


@dataclass(frozen=True)
class Statistics:
    """Per-example sufficient statistics of one metric on one split."""

    metric: str
    values: Array  # (N, S)
    signature: str
    clusters: Clusters | None = field(default=None, repr=False)  # where examples belong together

    @property
    def row(self) -> Metric:
        """The metric: its row in the table, or that of an own metric."""
        return metric_of(self.metric, self.signature)

    @property
    def score(self) -> float:
        """The corpus score over all N examples."""
        return self.row.score(self.values)

    @property
    def units(self) -> Array:
        """The statistics of what is independent: of the C clusters, else of the N examples."""
        return self.values if self.clusters is None else self.clusters.sums(self.values)

    @property
    def effective(self) -> int:
        """At least so many independent examples say as much as these."""
        return len(self.values) if self.clusters is None else self.clusters.effective

    def example_scores(self) -> Array:
        """Score every example alone; shape (N,)."""
        return self.row.each(self.values)


def scores_classes(*metrics: str) -> bool:
    """Return whether one of the metrics scores classes, not free text."""
    return any(name in METRICS and METRICS[name].outputs == "classes" for name in metrics)


def scores_free_text(*metrics: str) -> bool:
    """Return whether outputs are free text, not classes or numbers alone."""
    kinds = {METRICS[name].outputs for name in metrics if name in METRICS} - {None}
    return "texts" in kinds or not kinds


def text_statistics(
    metric: str,
    outputs: Sequence[str],
    references: Sequence[str],
    options: TextOptions = PLAIN,
) -> Statistics:
    """Score N outputs against N references with a metric that compares text.

    Raises:
        InputError: its library, its data or its encoder is missing.
    """
    from_text = METRICS[metric].from_text
    assert from_text is not None, f"{metric} is not computed from text"
    return Statistics(metric, *from_text(outputs, references, options))


def text_scores(
    metrics: Sequence[str],
    outputs: Sequence[str],
    references: Sequence[str],
    options: TextOptions = PLAIN,
) -> dict[str, Statistics]:
    """Score N outputs by those of the metrics that compare text, for a task's `score`."""
    named = [metric for metric in metrics if metric in METRICS and METRICS[metric].from_text]
    return {metric: text_statistics(metric, outputs, references, options) for metric in named}


def split_and_metric(objective: str) -> tuple[str, str]:
    """Return an objective's split and metric: `bleu` is on dev, `general_bleu` on general."""
    if objective.startswith("general_"):
        return "general", objective.removeprefix("general_")
    return "dev", objective


def objective_label(objective: str) -> str:
    """Return the usual spelling of an objective, such as BLEU."""
    split, metric = split_and_metric(objective)
    label = metric_label(metric)
    label = metric.replace("_", " ") if label == metric else label
    return label if split == "dev" else f"{split} {label}"
