"""Check, before anything is trained, that everything a study's metrics need is installed."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

from study.errors import InputError
from study.kinds.metrics import METRICS, NO_SYNONYMS
from study.metrics import meteor, semantic

if TYPE_CHECKING:
    from study.spec.sections import EvaluationSpec

PACKAGES: Mapping[str, Mapping[str, str]] = {
    "rouge": {"rouge-score": "rouge_score", "nltk": "nltk"},
    "semantic": {"sentence-transformers": "sentence_transformers"},
}
"""The extras of metrics: package -> module."""


def check_metrics(evaluation: EvaluationSpec) -> None:
    """Check that the libraries, the data and the encoder of a study's metrics exist.

    Raises:
        InputError: something is missing; one line each, with how to get it.
    """
    missing = [line for name in evaluation.metrics if (line := missing_library(name))]
    if missing:
        raise InputError([f"evaluation.metrics: {line}" for line in dict.fromkeys(missing)])
    if any(METRICS[name].counts_synonyms for name in evaluation.metrics):
        meteor.synonyms(evaluation.synonyms)
    if evaluation.encoder is not None and any(METRICS[name].embeds for name in evaluation.metrics):
        semantic.encoder_folder(evaluation.encoder)


@cache
def missing_library(metric: str) -> str:
    """Return one line about what a metric needs that is not installed; empty if nothing."""
    extra = METRICS[metric].extra
    wanted = PACKAGES.get(extra, {})
    missing = [package for package, module in wanted.items() if find_spec(module) is None]
    if not missing:
        return ""
    return (
        f"{metric!r} needs {' and '.join(missing)}, which is not installed; "
        f"run `pip install 'optuna-study[{extra}]'`, or leave it out"
    )


def metric_remarks(evaluation: EvaluationSpec) -> list[str]:
    """Return a line per metric whose scores are easily misread."""
    return [
        f"{METRICS[name].label} counts equal words and equal English stems, but no synonyms; "
        "scores with WordNet (evaluation.synonyms) are higher"
        for name in evaluation.metrics
        if METRICS[name].counts_synonyms and evaluation.synonyms == NO_SYNONYMS
    ]
