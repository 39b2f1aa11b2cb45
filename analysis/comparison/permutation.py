"""Paired tests of many models at once: approximate randomisation, and Holm's correction.

If adapting changed nothing, each of an example's two outputs could equally have come from the other
model.  So outputs are exchanged at random, example by example, and where examples belong together
cluster by cluster; the p-value is how often the difference is then at least as large as observed
(Riezler and Maxwell, 2005, "On some pitfalls in automatic evaluation and significance testing for
MT"; sacreBLEU's `--paired-ar`).  Unlike the bootstrap's p-value, this one is exact for any number
of examples.

A difference that no drawn exchange reaches can be far rarer than one in that number of exchanges.
Exchanges change a mean by a sum of independent signs, so the chance of a difference of z standard
deviations is at most 2 exp(-z²/2) (Hoeffding, 1963); for scores such as BLEU, which are not means,
that is approximate.

A test ends early where more exchanges could not change what it says: after ENOUGH that reach the
difference (Besag and Clifford, 1991, "Sequential Monte Carlo p-values"), or if the bound makes it
improbable, by SELDOM, that any of the others would.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from analysis.comparison.bootstrap import shared_clusters
from analysis.significance import LEVEL
from study.metrics import Array, Statistics

CHUNK = 4_000_000  # drawn exchanges at a time: bounds the memory for large test sets
FEWEST, MOST, PER_TEST = 2_000, 100_000, 100
ENOUGH = 100  # exchanges that reach the difference: p is then known to a tenth of it
SELDOM = 1e-3


def exchanges_for(family: int) -> int:
    """How many exchanges a family of tests needs: Holm multiplies the smallest p by its size.

    If even MOST could not bring that below LEVEL, FEWEST suffice: the bound takes over.
    """
    if family > LEVEL * MOST:
        return FEWEST
    return min(max(FEWEST, PER_TEST * family), MOST)


def exchange_p_values(
    pairs: Sequence[tuple[Statistics, Statistics]], exchanges: int, seed: int = 0
) -> Array:
    """Two-sided p-values (K,) of K pairs of models, all on the same N examples.

    All share the exchanges, so equal outputs have equal p-values.
    """
    if not pairs:
        return np.empty(0)
    observed = np.array([abs(a.score - b.score) for a, b in pairs])
    rng = np.random.default_rng([seed, 6])
    clusters = shared_clusters([s for pair in pairs for s in pair])
    pairs = [(replace(a, clusters=clusters), replace(b, clusters=clusters)) for a, b in pairs]
    n = len(pairs[0][1].values) if clusters is None else clusters.count
    step = max(CHUNK // max(n, 1), 1)
    reached, squares, drawn = np.zeros((3, len(pairs)))
    bound = np.ones(len(pairs))
    left = list(range(len(pairs)))
    for start in range(0, exchanges, step):
        size = (min(step, exchanges - start), n)
        swapped = rng.integers(2, size=size, dtype=np.int8).astype(np.float64)
        for k in left:
            found = _exchanged(swapped, *pairs[k], observed[k])
            reached[k], squares[k] = reached[k] + found[0], squares[k] + found[1]
        drawn[left] += size[0]
        scale = np.maximum(squares / drawn, np.finfo(float).tiny)
        bound = 2 * np.exp(-(observed**2) / (2 * scale))
        settled = (reached >= ENOUGH) | ((reached == 0) & (bound <= SELDOM / exchanges))
        if start + size[0] >= FEWEST and not (left := [k for k in left if not settled[k]]):
            break
    simulated = (reached + 1) / (drawn + 1)
    return np.where(reached == 0, np.minimum(simulated, bound), simulated)


def _exchanged(
    swapped: Array, other: Statistics, base: Statistics, observed: float
) -> tuple[int, float]:
    """How many exchanges (R, C) differ as much as observed, up to rounding; their squares' sum.

    An exchange without a score, such as a correlation of equal outputs, counts as reaching it.
    """
    row = base.row
    if row.whole is not None:
        clusters = base.clusters
        by_example = swapped if clusters is None else swapped[:, clusters.of_example]
        is_swapped = by_example[:, :, None] > 0
        kept = np.where(is_swapped, base.values, other.values)  # (R, N, S)
        given = np.where(is_swapped, other.values, base.values)
        found = np.abs(row.whole(kept) - row.whole(given))
    else:
        difference = other.units - base.units  # (C, S)
        moved = swapped @ difference  # (R, S)
        own = base.values.sum(axis=0)
        of_other = row.aggregate(own + difference.sum(axis=0) - moved)
        found = np.abs(of_other - row.aggregate(own + moved))
    found = np.where(np.isnan(found), np.inf, found)
    reached = int((found >= observed - 1e-9 * max(1.0, observed)).sum())
    finite = np.where(np.isinf(found), observed, found)
    return reached, float(finite @ finite)


def holm(p_values: Sequence[float] | Array, family: int = 0) -> Array:
    """Holm's adjusted p-values (n,); `family` is larger where only some of its tests are given.

    The chance that any true null is rejected at LEVEL is then at most that, however the tests
    depend on each other (Holm, 1979, "A simple sequentially rejective multiple test procedure").
    Where some tests of the family are not given, the correction errs on the safe side.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    left = max(family, len(p)) - np.arange(len(p))
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(np.minimum(p[order] * left, 1.0))
    return adjusted
