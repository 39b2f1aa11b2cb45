"""The best of many trials against another model, on the examples by which it was picked.

The best of 64 equal trials beats a baseline clearly in four of ten studies, because the luck that
made it the best counts as a gain.  So its difference is judged by the largest that any trial would
show if none differed from the other model: a maximum over all trials of their standardised
differences, whose distribution comes from the same random exchanges for all trials, so that it
knows how alike they are (White, 2000, "A reality check for data snooping"; exchanges in place of
his bootstrap are exact for one trial).  Trials that are clearly worse cannot have been the best by
luck and do not count (Hansen, 2005, "A test for superior predictive ability").

Half of the examples to pick and half to test would be as right, but has less power and tests
another trial than the one that is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from analysis.comparison.bootstrap import shared_clusters
from analysis.comparison.contrast import Contrast, comparable
from analysis.comparison.permutation import exchanges_for
from analysis.significance import LEVEL
from study.metrics import Array, Statistics, split_and_metric

if TYPE_CHECKING:
    from analysis.studies.study_data import StudyData, Who

CHUNK = 8_000_000  # drawn signs at a time


@dataclass(frozen=True, eq=False)
class Field:
    """The trials that one was picked from.

    `count` is how many there were: more than `statistics` where pruned trials store none, or a
    large study was not read whole.
    """

    count: int
    read: Callable[[], Sequence[Statistics]] = field(repr=False)

    @cached_property
    def statistics(self) -> Sequence[Statistics]:
        """Their statistics on the examples that picked it, read when needed."""
        return self.read()


def field_of(data: StudyData, who: Who, metric: str, split: str) -> Field | None:
    """The trials that a trial was picked from; None for a baseline, and where nothing was picked.

    A study picks by its objectives' splits; on other examples all trials are innocent.
    """
    is_trial = isinstance(who, int) or who == "best"
    if not is_trial or split not in {split_and_metric(name)[0] for name in data.objectives}:
        return None
    known = {t.number for t in (*data.complete, *data.leaders)}
    rows = [e for e in data.evaluations if (e.role, e.split) == ("search", split)]
    rows = [row for row in rows if row.trial_number in known]

    def read() -> list[Statistics]:
        found = []
        for row in rows:
            with suppress(KeyError):  # another study's metric
                found.append(data.statistics_of(row, metric))
        return found

    counts = data.counts
    count = max(counts.get("complete", 0) + counts.get("pruned", 0), len(rows))
    return Field(count, read) if count > 1 else None


def allowing_for_pick(
    contrast: Contrast,
    pair: tuple[Statistics, Statistics],
    fields: tuple[Field | None, Field | None],
    family: int = 1,
    seed: int = 0,
) -> Contrast:
    """Correct a test of two models for the better one's having been picked.

    That the worse one was picked as well only makes the test stricter.  The maximum over the trials
    is computed where it decides; otherwise the p-value is that of the pair, times their number.

    Args:
        contrast: The test of both, as if chosen beforehand.
        pair: The statistics of a and of b.
        fields: What a and b were picked from; None where it was chosen beforehand.
        family: The number of tests that the p-value will be corrected for.
        seed: The seed of the exchanges.
    """
    leader = int(contrast.gain < 0)
    among = fields[leader]
    if among is None or contrast.gain == 0:
        return contrast
    p, count = min(contrast.p * among.count, 1.0), among.count
    is_bound, quantile = p < 1, _normal_quantile(LEVEL / count)
    decides = contrast.p < LEVEL <= contrast.p * count * family
    if decides and pair[0].row.whole is None:  # a function of sums
        own, other = pair[leader], pair[1 - leader]
        rivals = [s for s in among.statistics if comparable([own, s])] or [own]
        unread, exchanges = count / len(rivals), exchanges_for(family)
        largest, units = _largest(own, rivals, other, exchanges, seed)
        reached = int((largest[1:] >= largest[0] - 1e-9).sum())
        p = max(min(unread * (reached + 1) / (exchanges + 1), p), contrast.p)
        is_bound, quantile = reached == 0, _quantile(largest[1:], LEVEL / unread, units)
    scale = max(quantile / _normal_quantile(LEVEL), 1.0)
    below, above = ((contrast.difference - end) * scale for end in contrast.interval)
    return replace(
        contrast,
        p=p,
        p_adjusted=p,
        p_is_bound=is_bound,
        interval=(contrast.difference - below, contrast.difference - above),
        picked_from=count,
    )


def _largest(
    own: Statistics, rivals: Sequence[Statistics], other: Statistics, exchanges: int, seed: int
) -> tuple[Array, int]:
    """The picked model's standardised difference, then the largest of each exchange, (1 + R,).

    Also returns the number of units that were exchanged.
    """
    clusters = shared_clusters([own, *rivals, other])
    reference = _contributions(replace(other, clusters=clusters))
    differences = np.array(
        [_contributions(replace(s, clusters=clusters)) - reference for s in (own, *rivals)]
    )  # (1 + K, C)
    sizes = np.sqrt((differences**2).sum(axis=1, keepdims=True))
    scaled = np.divide(differences, sizes, out=np.zeros_like(differences), where=sizes > 0)
    z = scaled.sum(axis=1)  # (1 + K,)
    units = scaled.shape[1]
    worst = -np.sqrt(2 * np.log(np.log(max(units, 3))))
    among = scaled[z > worst].T  # (C, K'), with the picked one
    rng = np.random.default_rng([seed, 8])
    step = max(CHUNK // units, 1)
    found: list[Array] = [np.abs(z[:1])]
    for start in range(0, exchanges, step):
        size = (min(step, exchanges - start), units)
        signs = 2.0 * rng.integers(2, size=size, dtype=np.int8) - 1.0
        found.append(np.abs(signs @ among).max(axis=1))
    return np.concatenate(found), units


def _contributions(statistics: Statistics) -> Array:
    """What each unit adds to a model's score, (C,): jackknife pseudo-values, better is more."""
    row, units = statistics.row, statistics.units
    total = units.sum(axis=0)
    whole, count = float(row.aggregate(total)), len(units)
    without = row.aggregate(total - units)
    values = count * whole - (count - 1) * np.where(np.isfinite(without), without, whole)
    return np.asarray(row.sign * values)


def _quantile(largest: Array, level: float, units: int) -> float:
    """How many standard errors the largest difference exceeds at a level.

    Exchanged differences are standardised by their size, not by their spread about the mean, so
    that they end at the square root of the number of units.
    """
    z = float(np.quantile(largest, 1 - level))
    return float(z / np.sqrt(max(1 - z**2 / units, 0.1)))


def _normal_quantile(level: float) -> float:
    from scipy.special import ndtri

    return float(-ndtri(level / 2))
