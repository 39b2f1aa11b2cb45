"""BLEU and chrF: sacreBLEU's statistics and signatures, its formulas over whole arrays of sums.

Papineni et al. 2002, "BLEU: a Method for Automatic Evaluation of Machine Translation"; Popović
2015, "chrF: character n-gram F-score for automatic MT evaluation".  A bootstrap scores a corpus
thousands of times, so both formulas are written for arrays here; tests compare them to sacreBLEU.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from study.kinds.metrics import Array, TextOptions

CHRF_BETA = 2  # recall counts this many times as much as precision


@lru_cache(maxsize=8)
def _metric(order: int | None, references: tuple[str, ...], tokenize: str) -> Any:
    """Return BLEU of an order, or chrF if None, with its references read once for all trials."""
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    given = [references] if references else None
    if order is None:
        return CHRF(beta=CHRF_BETA, references=given)
    return BLEU(max_ngram_order=order, references=given, tokenize=tokenize)


def _statistics(metric: Any, outputs: Sequence[str]) -> Array:
    rows = metric._extract_corpus_statistics(list(outputs), None)
    return np.array(rows, dtype=np.float64).reshape(len(outputs), -1)


def bleu(
    order: int, outputs: Sequence[str], references: Sequence[str], options: TextOptions
) -> tuple[Array, str]:
    """Return BLEU with n-grams up to an order: (N, 2 + 2·order) lengths, matches and totals."""
    metric = _metric(order, tuple(references), options.tokenize)
    named = "" if order == 4 else f"|order:{order}"  # sacreBLEU does not sign it
    return _statistics(metric, outputs), f"{metric.get_signature()}{named}"


def chrf(
    outputs: Sequence[str], references: Sequence[str], options: TextOptions
) -> tuple[Array, str]:
    """Return chrF: (N, 3·6) n-grams of output and reference, and matches, per order."""
    metric = _metric(None, tuple(references), "")
    return _statistics(metric, outputs), str(metric.get_signature())


def bleu_scores(summed: Array) -> Array:
    """Corpus BLEU of sums (..., 2 + 2·order), smoothed like mteval-v13a: sacreBLEU's default."""
    return _bleu(summed, effective=False)


def bleu_each(values: Array) -> Array:
    """Sentence BLEU of each example (N, 2 + 2·order), without orders it is too short for."""
    return _bleu(values, effective=True)


def _bleu(summed: Array, effective: bool) -> Array:
    counts = np.asarray(summed, dtype=np.float64)
    order = counts.shape[-1] // 2 - 1
    output, reference = counts[..., 0], counts[..., 1]
    correct, total = counts[..., 2 : 2 + order], counts[..., 2 + order :]
    missed = (correct == 0) & (total > 0)
    halvings = 2.0 ** np.cumsum(missed, axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        precisions = np.log(np.where(missed, 1 / (halvings * total), correct / total))
        brevity = np.minimum(1 - reference / output, 0.0)
    orders = (total > 0).sum(axis=-1) if effective else np.full(output.shape, order)
    has = np.where(total > 0, precisions, 0.0 if effective else -np.inf)
    mean = has.sum(axis=-1) / np.maximum(orders, 1)
    return np.asarray(np.where(correct.any(axis=-1), 100 * np.exp(brevity + mean), 0.0))


def chrf_scores(summed: Array) -> Array:
    """ChrF of sums (..., 3·order): precision and recall averaged over the orders that occur."""
    counts = np.asarray(summed, dtype=np.float64)
    output, reference, matched = np.moveaxis(counts.reshape(*counts.shape[:-1], -1, 3), -1, 0)
    occurs = (output > 0) & (reference > 0)
    orders = np.maximum(occurs.sum(axis=-1), 1)
    precision, recall = (
        np.divide(matched, n, out=np.zeros_like(n), where=occurs).sum(axis=-1) / orders
        for n in (output, reference)
    )
    below = CHRF_BETA**2 * precision + recall
    above = (1 + CHRF_BETA**2) * precision * recall
    return np.asarray(100 * np.divide(above, below, out=np.zeros_like(below), where=below > 0))
