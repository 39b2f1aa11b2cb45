"""The metrics by name: what they score, which way is better, and which code computes them.

A metric is per-example statistics (N, S) and a rule that turns their sum into a corpus score.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from study.kinds.table_names import call
from study.kinds.tasks import Outputs

Array: TypeAlias = NDArray[np.float64]

LOSS = "loss"
NO_SYNONYMS = "none"


@dataclass(frozen=True)
class TextOptions:
    """What the study file says about comparing texts."""

    encoder: str | None = None  # a sentence-transformers model: folder or hub name
    synonyms: str = NO_SYNONYMS  # of METEOR; or wordnet


FromText: TypeAlias = Callable[
    [Sequence[str], Sequence[str], TextOptions], tuple[Array, str]
]  # N outputs, N references -> statistics (N, S) and signature


@dataclass(frozen=True)
class Metric:
    """One metric: which way is better, what it scores, and how statistics become a score."""

    name: str
    label: str
    aggregate: Callable[[Array], Array]  # summed statistics (..., S) -> corpus scores (...)
    from_text: FromText | None = None
    direction: str = "maximize"  # or "minimize"
    extra: str = ""  # of pyproject: what must be installed
    aggregate_one: Callable[[Array], Array] | None = None  # (N, S) -> (N,), where not `aggregate`
    outputs: Outputs | None = "texts"  # what it scores; None: no outputs, but the loss
    afterwards: bool = False  # added to a finished study; no trial computes it
    embeds: bool = False  # compares what evaluation.encoder makes of the texts
    counts_synonyms: bool = False  # where evaluation.synonyms says so
    of_words: bool = False  # can be raised by single words, in any order

    @property
    def is_loss(self) -> bool:
        """Whether it is the loss itself, which every task has."""
        return self.outputs is None

    @property
    def sign(self) -> float:
        """1 where more is better, else -1."""
        return 1.0 if self.direction == "maximize" else -1.0

    def each(self, values: Array) -> Array:
        """Score every example alone: statistics (N, S) -> (N,)."""
        return (self.aggregate_one or self.aggregate)(values)


def _in(where: str, *first: Any) -> Callable[..., Any]:
    """Return a function of `study.metrics`, imported when it is called; `first` come first."""
    return partial(call, f"study.metrics.{where}", *first)


_MEAN = _in("means:weighted_mean")


def _bleu(order: int, name: str, label: str) -> Metric:
    """Return the row of BLEU with n-grams up to an order."""
    return Metric(
        name,
        label,
        _in("ngrams:bleu_scores"),
        _in("ngrams:bleu", order),
        aggregate_one=_in("ngrams:bleu_each"),
        of_words=order == 1,
    )


def _rouge(kind: str, label: str) -> Metric:
    """Return the row of a kind of ROUGE."""
    scores = _in("rouge:rouge", kind)
    return Metric(kind, label, _MEAN, scores, extra="rouge", of_words=kind.endswith("1"))


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        _bleu(4, "bleu", "BLEU"),
        *(_bleu(order, f"bleu{order}", f"BLEU-{order}") for order in (1, 2, 3, 4)),
        Metric("chrf", "chrF", _in("ngrams:chrf_scores"), _in("ngrams:chrf")),
        _rouge("rouge1", "ROUGE-1"),
        _rouge("rouge2", "ROUGE-2"),
        _rouge("rougeL", "ROUGE-L"),
        Metric(
            "meteor",
            "METEOR",
            _MEAN,
            _in("meteor:meteor"),
            extra="rouge",
            counts_synonyms=True,
            of_words=True,
        ),
        Metric(
            "semantic_cosine",
            "cosine",
            _MEAN,
            _in("semantic:cosine"),
            extra="semantic",
            embeds=True,
        ),
        Metric(
            "semantic_f1",
            "semantic F1",
            _in("semantic:f1_scores"),
            _in("semantic:f1"),
            extra="semantic",
            embeds=True,
        ),
        Metric("accuracy", "accuracy", _MEAN, _in("classes:accuracy"), outputs="classes"),
        Metric(
            "macro_f1",
            "macro F1",
            _in("classes:macro_f1_scores"),
            _in("classes:macro_f1"),
            outputs="classes",
        ),
        Metric("comet", "COMET", _MEAN, afterwards=True),
        Metric(LOSS, "loss (nats)", _MEAN, direction="minimize", outputs=None),
    )
}
"""A metric's name in a study file -> what it is; `optuna-study comet` adds those afterwards.

docs/metrics.md says the same in words.
"""
