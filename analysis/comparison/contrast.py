"""One test of two models: their scores, the difference, its interval, and one p-value.

The interval comes from the paired bootstrap (`bootstrap`), the p-value from approximate
randomisation (`permutation`).  Where several tests belong together, Holm's method corrects their
p-values, and only the corrected one decides whether a difference is clear.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from analysis.comparison.bootstrap import (
    RESAMPLES,
    Interval,
    interval_of,
    resampled_scores,
    shared_clusters,
)
from analysis.comparison.permutation import exchange_p_values, exchanges_for, holm
from analysis.display import Displayed
from analysis.document import (
    Cell,
    Document,
    Prose,
    Table,
    cell,
    difference_cell,
    interval_cell,
    probability_cell,
)
from analysis.significance import LEVEL
from analysis.wording import alike, alike_signed, count_of_examples, interval
from study.metrics import Array, Metric, Statistics, metric_label, metric_of

Question = tuple[str, str, str, str]
"""What a contrast tests: the names of a and b, metric and split."""


@dataclass(frozen=True)
class Score:
    """One model's corpus score with its 95 % interval."""

    name: str
    metric: str
    split: str
    score: float
    ci: Interval


@dataclass(frozen=True, repr=False)
class Contrast(Displayed):
    """`a` against `b` on the same `n` examples by one metric: the difference is a minus b.

    `p` belongs to this test alone; `p_adjusted` is corrected for every test of its family: show it
    and judge by it.  The two are equal where nothing else was tested.
    """

    a: Score
    b: Score
    n: int
    difference: float
    interval: Interval
    p: float
    p_adjusted: float
    signature: str
    p_is_bound: bool = False  # no exchange reached the difference: both p-values are upper bounds
    seeds: int = 1  # trainings of each model, paired by seed
    effective: int = 0  # at least so many independent examples say as much; 0: as many as `n`
    picked_from: int = 0  # the better was chosen among so many on these examples; p allows for it

    @property
    def metric(self) -> str:
        """The metric that scored both."""
        return self.a.metric

    @property
    def row(self) -> Metric:
        """That metric: its row in the table, or that of an own metric."""
        return metric_of(self.metric, self.signature)

    @property
    def split(self) -> str:
        """The split that both were scored on."""
        return self.a.split

    @property
    def question(self) -> Question:
        """What is tested.  A page answers each question once, with one p-value."""
        return self.a.name, self.b.name, self.metric, self.split

    @property
    def gain(self) -> float:
        """The difference, positive where `a` is better."""
        return self.difference * self.row.sign

    @property
    def gain_interval(self) -> Interval:
        """The interval of the gain."""
        low, high = sorted(end * self.row.sign for end in self.interval)
        return low, high

    @property
    def beyond_zero(self) -> bool:
        """Whether the interval, which is not corrected for the family, excludes 0."""
        return self.interval[0] > 0 or self.interval[1] < 0

    @property
    def percent(self) -> float | None:
        """The difference in per cent of b's score; None where that is 0."""
        return 100 * (self.a.score / self.b.score - 1) if self.b.score else None

    @property
    def examples(self) -> str:
        """The number of examples in words, with the effective one where that is smaller."""
        return count_of_examples(self.n, self.effective)

    @property
    def clear(self) -> bool:
        """Whether the two differ after correction for the family."""
        return self.p_adjusted < LEVEL

    @property
    def verdict(self) -> str:
        """Whether a is better than b."""
        return ("better" if self.gain > 0 else "worse") if self.clear else "not clear"

    def document(self) -> Document:
        """Return both scores, the difference with its interval and p, and the verdict."""
        return contrasts_document([self])

    def to_json(self) -> dict[str, Any]:
        """Return plain numbers and names, for `--json`."""
        return {
            "metric": self.metric,
            "split": self.split,
            "a": {"name": self.a.name, "score": self.a.score, "ci": list(self.a.ci)},
            "b": {"name": self.b.name, "score": self.b.score, "ci": list(self.b.ci)},
            "difference": self.difference,
            "ci": list(self.interval),
            "p_value": self.p,
            "n_examples": self.n,
            "effective_examples": self.effective or self.n,
            "picked_from": self.picked_from,
            "signature": self.signature,
        }


class Resampled:
    """M models scored on the same N examples, by one metric or several, and on R resamples.

    Raises ValueError where the models were not scored on the same number of examples.
    """

    def __init__(
        self,
        names: Sequence[str],
        statistics: Sequence[Statistics],
        split: str = "dev",
        *,
        resamples: int = RESAMPLES,
        seed: int = 0,
    ) -> None:
        self._statistics, self._seed = statistics, seed
        self._drawn = resampled_scores(statistics, resamples, seed)  # (M, R)
        clusters = shared_clusters(statistics)
        self._effective = 0 if clusters is None else clusters.effective
        self.scores = tuple(
            Score(name, s.metric, split, s.score, interval_of(row))
            for name, s, row in zip(names, statistics, self._drawn, strict=True)
        )

    def gap(self, a: int, b: int) -> float:
        """The difference a minus b of two models, given by position."""
        return self.scores[a].score - self.scores[b].score

    def interval(self, a: int, b: int) -> Interval:
        """The interval of that difference."""
        return interval_of(self._drawn[a] - self._drawn[b])

    def contrasts(self, pairs: Sequence[tuple[int, int]], family: int = 0) -> list[Contrast]:
        """Test pairs of models, given by position, without correcting the p-values.

        `family` is the number of tests that they will be corrected for, if these are not all.
        Raises ValueError where metric or signature differ: such scores are not comparable.
        """
        exchanges = exchanges_for(max(family, len(pairs)))
        tested = [(self._statistics[a], self._statistics[b]) for a, b in pairs]
        for a_scored, b_scored in tested:
            if (a_scored.metric, a_scored.signature) != (b_scored.metric, b_scored.signature):
                raise ValueError(
                    f"scores are comparable only under one signature, got {a_scored.metric} "
                    f"({a_scored.signature}) and {b_scored.metric} ({b_scored.signature})"
                )
        p_values = exchange_p_values(tested, exchanges, self._seed)
        return [
            Contrast(
                self.scores[a],
                self.scores[b],
                n=len(self._statistics[a].values),
                effective=self._effective,
                difference=self.gap(a, b),
                interval=self.interval(a, b),
                p=p,
                p_adjusted=p,
                signature=self._statistics[a].signature,
                p_is_bound=p * exchanges <= 1,
            )
            for (a, b), p in zip(pairs, p_values.tolist(), strict=True)
        ]


def comparable(statistics: Sequence[Statistics]) -> bool:
    """Whether models have finite scores of one metric, one signature and one shape."""
    first = statistics[0]
    return all(
        (s.metric, s.signature, s.values.shape)
        == (first.metric, first.signature, first.values.shape)
        and np.isfinite(s.score)
        for s in statistics
    )


def corrected(contrasts: Sequence[Contrast], family: int = 0) -> list[Contrast]:
    """Correct tests by Holm's method; `family` counts all of them where some are not given."""
    adjusted: Array = holm([c.p for c in contrasts], family)
    return [replace(c, p_adjusted=p) for c, p in zip(contrasts, adjusted.tolist(), strict=True)]


def compare(
    a: Statistics,
    b: Statistics,
    *,
    names: tuple[str, str] = ("a", "b"),
    split: str = "dev",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Contrast:
    """Compare two models on the same N examples.

    Raises ValueError where metric, signature or number of examples differ: such scores are not
    comparable.
    """
    (found,) = Resampled(names, (a, b), split, resamples=resamples, seed=seed).contrasts([(0, 1)])
    return found


# ---------------------------------------------------------------- in words


METHOD = "intervals from the paired bootstrap, p-values from random exchanges of pairs"
OF_ONE = "; an interval concerns one test, p and verdict all of them"
PICKED = (
    "The better model is the best of {count} trials by these very examples: its p-value and its "
    "interval allow for that. The clean test is `optuna-study confirm`: fresh seeds and new "
    "examples."
)


def contrasts_document(contrasts: Sequence[Contrast]) -> Document:
    """Several tests by one metric on the same examples."""
    first = contrasts[0]
    title = f"{metric_label(first.metric)} on {first.examples} {first.split} examples"
    caption = METHOD + OF_ONE * any(c.p != c.p_adjusted for c in contrasts)
    return Document(title, (contrast_table(caption, contrasts), *_prose(picked_note(contrasts))))


def judged_interval(contrast: Contrast, *, of_gain: bool = False) -> str:
    """The interval in words; where the verdict contradicts it, also p and the correction."""
    ends = interval(contrast.gain_interval if of_gain else contrast.interval)
    if contrast.clear == contrast.beyond_zero:
        return ends
    p = probability_cell(contrast.p_adjusted, contrast.p_is_bound).text
    if contrast.clear:
        return f"{ends}; clear: p {p}"
    if contrast.p < LEVEL:
        return f"{ends}; not clear once corrected for the number of comparisons: p {p}"
    if contrast.picked_from:
        among = f"the choice among {contrast.picked_from} trials"
        return f"{ends}; not clear once corrected for {among}: p {p}"
    return f"{ends}; not clear: p {p}"


def picked_note(contrasts: Sequence[Contrast]) -> str:
    """What to know where a model was picked by the examples that it is tested on, else nothing."""
    counts = [c.picked_from for c in contrasts if c.picked_from]
    return PICKED.format(count=max(counts)) if counts else ""


def _prose(note: str) -> tuple[Prose, ...]:
    return (Prose((note,)),) if note else ()


def contrast_table(caption: str, contrasts: Sequence[Contrast]) -> Table:
    """One row per test: both models and scores, the difference, and whether it is clear.

    The rows of one metric have the same decimals.
    """
    by_metric = {c.metric: [d for d in contrasts if d.metric == c.metric] for c in contrasts}
    scores_of = {m: alike([s.score for c in of for s in (c.a, c.b)]) for m, of in by_metric.items()}
    signs_of = {m: alike_signed([c.difference for c in of]) for m, of in by_metric.items()}
    rows = tuple(
        (
            Cell(metric_label(c.metric)),
            Cell(f"{c.examples} {c.split}"),
            Cell(c.a.name),
            cell(c.a.score, scores_of[c.metric]),
            Cell(c.b.name),
            cell(c.b.score, scores_of[c.metric]),
            difference_cell(c.difference, signs_of[c.metric]),
            interval_cell(c.interval, signs_of[c.metric]),
            probability_cell(c.p_adjusted, c.p_is_bound),
            Cell(c.verdict),
        )
        for c in contrasts
    )
    scores = ("model", "score", "against", "its score", "difference", "95 % interval")
    columns = ("metric", "examples", *scores, "p", "verdict")
    return Table(caption, columns, rows, details=frozenset({"metric", "examples"}))
