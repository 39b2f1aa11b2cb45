"""Check, before anything is trained, that everything a study's metrics need is installed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

from study.errors import InputError, refusing
from study.kinds.metrics import METRICS, MTEVAL, NO_SYNONYMS, OWN_FILE
from study.metrics import meteor, own, semantic, text_statistics

if TYPE_CHECKING:
    from study.spec.evaluation import EvaluationSpec

PACKAGES: Mapping[str, Mapping[str, str]] = {
    "rouge": {"rouge-score": "rouge_score", "nltk": "nltk"},
    "semantic": {"sentence-transformers": "sentence_transformers"},
}
"""The extras of metrics: package -> module."""


def check_metrics(evaluation: EvaluationSpec) -> None:
    """Check that libraries, data, encoder and own code of a study's metrics exist.

    Own metrics of files are imported.

    Raises:
        InputError: something is missing; one line each, with how to get it.
    """
    rows = [METRICS[name] for name in evaluation.metrics if name in METRICS]
    missing = [line for row in rows if (line := missing_library(row.name))]
    if missing:
        raise InputError([f"evaluation.metrics: {line}" for line in dict.fromkeys(missing)])
    if any(row.counts_synonyms for row in rows):
        meteor.synonyms(evaluation.synonyms)
    if evaluation.encoder is not None and any(row.embeds for row in rows):
        semantic.encoder_folder(evaluation.encoder)
    if any(row.tokenizes for row in rows):
        _check_tokenizer(evaluation.tokenize)
    own.file_hashes(evaluation)
    for name in filter(OWN_FILE.fullmatch, evaluation.own_metrics):
        own.own_function(name, evaluation)


def _check_tokenizer(tokenize: str) -> None:
    """Make sacreBLEU's tokenizer, which may need a package or a download."""
    from sacrebleu.metrics.bleu import BLEU

    with refusing(f"evaluation.tokenize: sacreBLEU cannot use {tokenize!r}"):
        BLEU(tokenize=tokenize)


def check_references(evaluation: EvaluationSpec, references: Sequence[str]) -> None:
    """Check that N references are what the study's metrics read: numbers, objects, answers.

    Raises:
        InputError: one is not, so that no output could ever be right.
    """
    for name in evaluation.metrics:
        if name in METRICS and METRICS[name].reads_references:
            text_statistics(name, references, references, evaluation.text_options)


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
    rows = [METRICS[name] for name in evaluation.metrics if name in METRICS]
    by_tokenizer = [row.label for row in rows if row.tokenizes and evaluation.tokenize != MTEVAL]
    remarks = [
        f"{', '.join(by_tokenizer)}: words are those of sacreBLEU's tokenizer "
        f"{evaluation.tokenize!r} (evaluation.tokenize); scores by another one do not compare"
    ]
    return remarks[: len(by_tokenizer)] + [
        f"{row.label} counts equal words and equal English stems, but no synonyms; "
        "scores with WordNet (evaluation.synonyms) are higher"
        for row in rows
        if row.counts_synonyms and evaluation.synonyms == NO_SYNONYMS
    ]
