"""Metrics as per-example statistics (N, S) and the rule that turns their sum into a corpus score.

This follows sacreBLEU's `metrics/base.py`: statistics per segment first, aggregation later, and a
signature that makes a score reproducible.  Any subset or resample of the examples can be scored
from the stored statistics, as a paired bootstrap needs.  Importing this does not import the
metrics' libraries; `docs/metrics.md` describes each metric.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from study.metrics import classes, meteor, ngrams, rouge, semantic
from study.metrics.base import PLAIN, Array, Metric, TextOptions, weighted_mean

__all__ = [
    "LOSS",
    "LOSS_SIGNATURE",
    "METRICS",
    "Array",
    "Metric",
    "Statistics",
    "TextOptions",
    "scores_classes",
    "split_and_metric",
    "text_scores",
    "text_statistics",
]

LOSS = "loss"

METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        *(
            Metric(
                f"bleu{n or ''}",
                f"BLEU-{n}" if n else "BLEU",
                ngrams.bleu_scores,
                ngrams.bleu(n or 4),
                aggregate_one=ngrams.bleu_each,
                of_words=n == 1,
            )
            for n in (0, 1, 2, 3, 4)
        ),
        Metric("chrf", "chrF", ngrams.chrf_scores, ngrams.chrf),
        Metric(
            "rouge1",
            "ROUGE-1",
            weighted_mean,
            rouge.rouge("rouge1"),
            extra="rouge",
            of_words=True,
        ),
        Metric("rouge2", "ROUGE-2", weighted_mean, rouge.rouge("rouge2"), extra="rouge"),
        Metric("rougeL", "ROUGE-L", weighted_mean, rouge.rouge("rougeL"), extra="rouge"),
        Metric(
            "meteor",
            "METEOR",
            weighted_mean,
            meteor.meteor,
            extra="rouge",
            counts_synonyms=True,
            of_words=True,
        ),
        Metric(
            "semantic_cosine",
            "cosine",
            weighted_mean,
            semantic.cosine,
            extra="semantic",
            embeds=True,
        ),
        Metric(
            "semantic_f1",
            "semantic F1",
            semantic.f1_scores,
            semantic.f1,
            extra="semantic",
            embeds=True,
        ),
        Metric("accuracy", "accuracy", weighted_mean, classes.accuracy, outputs="classes"),
        Metric(
            "macro_f1", "macro F1", classes.macro_f1_scores, classes.macro_f1, outputs="classes"
        ),
        Metric("comet", "COMET", weighted_mean, afterwards=True),
        Metric(LOSS, "loss (nats)", weighted_mean, direction="minimize", outputs=None),
    )
}
"""Name of a metric in a study file -> the metric.  `optuna-study comet` computes COMET later."""

LOSS_SIGNATURE = "cross-entropy|mean:token|unit:nat"


@dataclass(frozen=True)
class Statistics:
    """Per-example sufficient statistics of one metric on one split."""

    metric: str
    values: Array  # (N, S)
    signature: str

    @property
    def score(self) -> float:
        """The corpus score over all N examples."""
        return float(METRICS[self.metric].aggregate(self.values.sum(axis=0)))

    def example_scores(self) -> Array:
        """Score every example alone; shape (N,)."""
        return METRICS[self.metric].each(self.values)


def scores_classes(*metrics: str) -> bool:
    """Return whether one of the metrics scores classes, not free text."""
    return any(name in METRICS and METRICS[name].outputs == "classes" for name in metrics)


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
    named = [metric for metric in metrics if METRICS[metric].from_text]
    return {metric: text_statistics(metric, outputs, references, options) for metric in named}


def split_and_metric(objective: str) -> tuple[str, str]:
    """Return an objective's split and metric: `bleu` is on dev, `general_bleu` on general."""
    if objective.startswith("general_"):
        return "general", objective.removeprefix("general_")
    return "dev", objective
