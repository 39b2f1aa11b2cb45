"""Metrics of the loss of each reference: perplexity, and bits per byte.

A tokenizer with longer tokens has fewer and harder ones, so losses per token and perplexities are
comparable only between models of one tokenizer.  Bits per byte are comparable between all: Gao et
al. 2020, "The Pile", section 3.1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from study.kinds.metrics import Array
from study.metrics.means import weighted_mean


def perplexity(losses: Array, references: Sequence[str]) -> tuple[Array, str]:
    """(N, 2): the loss summed over an example's tokens, and their number."""
    return losses, "perplexity|exp:mean-loss|mean:token"


def perplexities(summed: Array) -> Array:
    """Perplexity of sums (..., 2): e to the power of the mean loss; infinite above 1e308."""
    with np.errstate(over="ignore"):
        return np.asarray(np.exp(weighted_mean(summed)))


def bits_per_byte(losses: Array, references: Sequence[str]) -> tuple[Array, str]:
    """(N, 2): an example's loss in bits, and the bytes of its reference in UTF-8."""
    size = [len(text.encode()) for text in references]
    values = np.stack([losses[:, 0] / np.log(2), np.array(size, dtype=np.float64)], axis=1)
    return values, "bits-per-byte|mean:byte|encoding:utf-8"
