"""Metrics of numbers: the last number in a text against that in the reference.

Numbers are written as in English, `-1,234.5e6`, or with `decimal_comma` as `-1.234,5e6`.  A minus
directly after a letter, digit or bracket separates: `5-3` ends in 3.  A reference without a number
is a mistake in the data.  An output without one is wrong in `numeric`; the other metrics need a
number for every example, and fail the trial unless the study file says what such an output counts
as.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np

from study.errors import InputError, MetricError
from study.kinds.metrics import Array, TextOptions
from study.metrics.means import of_examples

NUMBER = re.compile(
    r"(?:(?<![\w.)])[-+−])?(?:(?:\d{1,3}(?:,\d{3})+(?!,?\d)|\d+)(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?",
    re.ASCII,
)
SWAPPED = str.maketrans(",.", ".,")


def last_number(text: str, decimal_comma: bool = False) -> float | None:
    """Return the last number in a text; None if there is none, or it is too large."""
    found = [
        match[0] for match in NUMBER.finditer(text.translate(SWAPPED if decimal_comma else {}))
    ]
    value = float(found[-1].replace(",", "").replace("−", "-")) if found else math.inf
    return value if math.isfinite(value) else None


def numeric(
    outputs: Sequence[str], references: Sequence[str], options: TextOptions
) -> tuple[Array, str]:
    """(N, 2): whether the numbers differ by at most the tolerance, absolute or relative, and 1."""
    target = _of_references("numeric", references, options)
    found = [last_number(output, options.decimal_comma) for output in outputs]
    allowed = np.maximum(options.tolerance, options.relative_tolerance * np.abs(target))
    values = np.array([math.nan if x is None else x for x in found], dtype=np.float64)
    settings = f"absolute:{options.tolerance:g}|relative:{options.relative_tolerance:g}"
    right = (np.abs(values - target) <= allowed).astype(np.float64)
    return of_examples(right), f"numeric|{settings}|{_read(options)}"


def mse(
    outputs: Sequence[str], references: Sequence[str], options: TextOptions
) -> tuple[Array, str]:
    """(N, 2): the squared error of each number, and 1."""
    x, y = _numbers("mse", outputs, references, options)
    return of_examples((x - y) ** 2), f"mse|{_signed(options)}"


def pearson(
    outputs: Sequence[str], references: Sequence[str], options: TextOptions
) -> tuple[Array, str]:
    """(N, 6): x, y, x², y², xy and 1, where x is the output and y the reference.

    Both are measured from the references' mean, which changes no correlation but keeps the
    difference of large sums exact.
    """
    x, y = _numbers("pearson", outputs, references, options)
    middle = y.mean() if len(y) else 0.0
    x, y = x - middle, y - middle
    values = np.stack([x, y, x * x, y * y, x * y, np.ones_like(x)], axis=1)
    return values, f"pearson|{_signed(options)}"


def pearson_scores(summed: Array) -> Array:
    """Pearson's r of sums (..., 6); NaN where outputs or references are all equal."""
    x, y, xx, yy, xy, n = np.moveaxis(np.asarray(summed, dtype=np.float64), -1, 0)
    return _ratio(n * xy - x * y, _spread(n, x, xx) * _spread(n, y, yy))


def pearson_each(values: Array) -> Array:
    """What each example adds to r (N, 6) -> (N,): the product of its standard scores.

    A correlation has no value per example; the mean of these products over all examples is r.
    """
    return _products(values[:, 0], values[:, 1])


def spearman(
    outputs: Sequence[str], references: Sequence[str], options: TextOptions
) -> tuple[Array, str]:
    """(N, 2): the two numbers themselves, because ranks depend on which examples are drawn."""
    pairs = np.stack(_numbers("spearman", outputs, references, options), axis=1)
    return pairs, f"spearman|ties:mean|{_signed(options)}"


def spearman_scores(values: Array) -> Array:
    """Spearman's ρ of whole corpora (..., N, 2), each ranked anew: Pearson's r of the ranks."""
    x, y = np.moveaxis(_ranks(values), -1, 0)  # (..., N) each
    x, y = (ranks - ranks.mean(axis=-1, keepdims=True) for ranks in (x, y))
    spread = np.sqrt((x * x).sum(axis=-1) * (y * y).sum(axis=-1))
    return _ratio((x * y).sum(axis=-1), spread)


def spearman_each(values: Array) -> Array:
    """What each example adds to ρ (N, 2) -> (N,), as in `pearson_each`, by its ranks."""
    x, y = _ranks(values).T
    return _products(x, y)


def no_sum(summed: Array) -> Array:
    """Refuse to make ρ out of sums: it needs the ranks of all examples."""
    raise TypeError("Spearman's ρ is no function of sums over examples")


# ---------------------------------------------------------------- formulas


def _ranks(values: Array) -> Array:
    """Rank (..., N, 2) along N from 1; equal numbers share their mean rank."""
    from scipy.stats import rankdata

    return np.asarray(rankdata(values, axis=-2), dtype=np.float64)


def _products(x: Array, y: Array) -> Array:
    """Return the products of standard scores (N,); NaN where all x or all y are equal."""
    x, y = x - x.mean(), y - y.mean()
    return _ratio(x * y, np.full_like(x, np.sqrt((x * x).mean() * (y * y).mean())))


def _spread(n: Array, total: Array, squares: Array) -> Array:
    """Return n times a standard deviation, 0 where rounding makes equal numbers differ."""
    variance = n * squares - total * total
    return np.sqrt(np.where(variance > 1e-12 * n * squares, variance, 0.0))


def _ratio(above: Array, below: Array) -> Array:
    nan = np.full(np.shape(above), np.nan)
    return np.asarray(np.divide(above, below, out=nan, where=below > 0))


# ---------------------------------------------------------------- reading


def _of_references(metric: str, references: Sequence[str], options: TextOptions) -> Array:
    found = [last_number(text, options.decimal_comma) for text in references]
    for number, (value, text) in enumerate(zip(found, references, strict=True), 1):
        if value is None:
            raise InputError(
                f"evaluation.metrics: {metric}: every reference must contain a number, "
                f"got {text!r:.60} in example {number}"
            )
    return np.array(found, dtype=np.float64)


def _numbers(
    metric: str, outputs: Sequence[str], references: Sequence[str], options: TextOptions
) -> tuple[Array, Array]:
    """Return the numbers (N,) of outputs and references."""
    target = _of_references(metric, references, options)
    found = [last_number(text, options.decimal_comma) for text in outputs]
    for number, (value, text) in enumerate(zip(found, outputs, strict=True), 1):
        if value is None and options.missing is None:
            raise MetricError(
                f"{metric}: example {number}: the output has no number, got {text!r:.60}; "
                "evaluation.numeric.missing says what such an output counts as"
            )
    return np.array([options.missing if x is None else x for x in found], dtype=np.float64), target


def _read(options: TextOptions) -> str:
    return f"number:last|decimal:{'comma' if options.decimal_comma else 'point'}"


def _signed(options: TextOptions) -> str:
    missing = "refused" if options.missing is None else f"{options.missing:g}"
    return f"{_read(options)}|missing:{missing}"
