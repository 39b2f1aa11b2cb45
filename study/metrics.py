"""Metrics as per-example statistics (N, S) and the rule that turns their sum into a corpus score.

After sacreBLEU's `metrics/base.py`: statistics a segment first, aggregation later, and a signature
that makes a score reproducible.  Any subset or resample of the examples can be scored from the
stored statistics, which is what a paired bootstrap needs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Statistics:
    """Per-example sufficient statistics of one metric on one split."""

    metric: str
    values: Array  # (N, S)
    signature: str

    @property
    def score(self) -> float:
        """The corpus score over all N examples."""
        return METRICS[self.metric].aggregate(self.values.sum(axis=0))

    def example_scores(self) -> Array:
        """Score every example alone; shape (N,)."""
        metric = METRICS[self.metric]
        return np.array([metric.aggregate_one(row) for row in self.values], dtype=np.float64)


@dataclass(frozen=True)
class Metric:
    """One metric: which way is better and how statistics become a score."""

    name: str
    direction: str  # "maximize" or "minimize"
    aggregate: Callable[[Array], float]  # summed statistics (S,) -> corpus score
    aggregate_one: Callable[[Array], float]  # one example's statistics (S,) -> its own score
    label: str
    from_text: Callable[[Sequence[str], Sequence[str]], Statistics] | None = None


def text_statistics(metric: str, outputs: Sequence[str], references: Sequence[str]) -> Statistics:
    """Score N outputs against N references with a metric that compares text."""
    from_text = METRICS[metric].from_text
    assert from_text is not None, f"{metric} is not computed from text"
    return from_text(outputs, references)


@lru_cache(maxsize=8)
def _sacrebleu(
    name: str, per_sentence: bool = False, references: tuple[str, ...] | None = None
) -> Any:
    """Return a metric; one with references has read them, for every trial to be held against."""
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    given = [references] if references else None
    if name == "bleu":
        return BLEU(effective_order=per_sentence, references=given)
    return CHRF(references=given)


def _sacrebleu_statistics(
    name: str, outputs: Sequence[str], references: Sequence[str]
) -> Statistics:
    metric = _sacrebleu(name, references=tuple(references))
    rows = metric._extract_corpus_statistics(list(outputs), None)
    values = np.array(rows, dtype=np.float64).reshape(len(outputs), -1)
    return Statistics(name, values, str(metric.get_signature()))


def _sacrebleu_score(name: str, summed: Array, per_sentence: bool = False) -> float:
    metric = _sacrebleu(name, per_sentence)
    return float(metric._compute_score_from_stats([round(x) for x in summed]).score)


def _weighted_mean(summed: Array) -> float:
    """Aggregate (sum, weight): the mean over tokens, NaN where there were none."""
    return float(summed[0] / summed[1]) if summed[1] else float("nan")


def _text_metric(name: str, label: str) -> Metric:
    return Metric(
        name=name,
        direction="maximize",
        aggregate=lambda summed: _sacrebleu_score(name, summed),
        aggregate_one=lambda row: _sacrebleu_score(name, row, per_sentence=True),
        label=label,
        from_text=lambda outputs, references: _sacrebleu_statistics(name, outputs, references),
    )


def _accuracy_statistics(outputs: Sequence[str], references: Sequence[str]) -> Statistics:
    """(N, 2): whether the output is the reference, and 1."""
    right = [output == reference for output, reference in zip(outputs, references, strict=True)]
    values = np.array([right, np.ones(len(right))], dtype=np.float64).T
    return Statistics("accuracy", values, "accuracy|case:exact")


def _f1_statistics(outputs: Sequence[str], references: Sequence[str]) -> Statistics:
    """(N, 3·C): of each class whether it was found, said, and true; C classes in their order."""
    classes = sorted({*outputs, *references})
    said = np.array([[output == c for c in classes] for output in outputs])
    true = np.array([[reference == c for c in classes] for reference in references])
    shape = (len(outputs), len(classes))  # which an empty split would lose
    columns = [column.reshape(shape) for column in (said & true, said, true)]
    return Statistics("macro_f1", np.hstack(columns).astype(np.float64), "macro-f1|classes:present")


def _macro_f1(summed: Array) -> float:
    """Mean of 2·found / (said + true) over the classes that occur, as scikit-learn's; else NaN."""
    found, said, true = summed.reshape(3, -1)
    present = said + true > 0
    return float(np.mean(2 * found[present] / (said + true)[present])) if any(present) else math.nan


METRICS: Mapping[str, Metric] = {
    "bleu": _text_metric("bleu", "BLEU"),
    "chrf": _text_metric("chrf", "chrF"),
    "accuracy": Metric(
        "accuracy", "maximize", _weighted_mean, _weighted_mean, "accuracy", _accuracy_statistics
    ),
    "macro_f1": Metric("macro_f1", "maximize", _macro_f1, _macro_f1, "macro F1", _f1_statistics),
    "comet": Metric("comet", "maximize", _weighted_mean, _weighted_mean, "COMET"),
    "loss": Metric("loss", "minimize", _weighted_mean, _weighted_mean, "loss (nats)"),
}

OF_CLASSES = frozenset({"accuracy", "macro_f1"})
"""The metrics of outputs that are classes; others, apart from the loss, are of free text."""

AFTERWARDS = frozenset({"comet"})
"""The metrics that a trial does not compute; `optuna-study comet` adds them to a study."""

LOSS_SIGNATURE = "cross-entropy|mean:token|unit:nat"


def split_and_metric(objective: str) -> tuple[str, str]:
    """Return what an objective is measured on: `bleu` on dev, `general_bleu` on general."""
    if objective.startswith("general_"):
        return "general", objective.removeprefix("general_")
    return "dev", objective
