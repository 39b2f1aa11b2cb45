"""Whether the winner of a search is better or was lucky: fresh seeds, held-out examples.

Each model was trained on S fresh seeds, the same for all, and scored on the same N test examples.
The difference between two models is the mean over the seeds of the difference of corpus scores, and
two things make it uncertain: which examples were drawn (a paired bootstrap over examples, all seeds
together) and which seeds (the spread of the S differences).  Their variances add, as in a crossed
design, each with Student's quantile of its own degrees of freedom (Banerjee, 1961, "On confidence
interval for two-means problem based on separate estimates of variances and tabulated values of t"):
such an interval covers the truth at least as often as stated, however few the seeds.  One with
Satterthwaite's degrees of freedom does not: two seeds that happen to agree inflate them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from analysis.comparison.bootstrap import Interval, resampled_scores
from analysis.comparison.contrast import Contrast, Score, corrected
from analysis.comparison.within_study import headline_metric
from analysis.significance import LEVEL
from analysis.studies.study_data import StudyData
from analysis.wording import count_of_examples
from study.kinds.measurements import COSTS
from study.metrics import Array, Statistics
from study.store.records import EvaluationRow

RESAMPLES = 500  # enough for a variance; an interval by percentiles needs more
LEAST_P = 1e-12  # smaller p-values are reported as this
TEST, DEV = "test", "dev"
UNTRAINED = ("base", "teacher")


@dataclass(frozen=True)
class Retrained:
    """One model on S fresh seeds; the untrained base has one evaluation, which serves for all.

    `search_score` is its dev score in the search, `dev` (S,) are its dev scores on the fresh seeds;
    `cost` holds the mean of each of the COSTS that every training recorded.
    """

    name: str
    trial: int | None
    seeds: tuple[int, ...]
    test: tuple[Statistics, ...] = field(repr=False)
    dev: Array = field(repr=False)
    search_score: float | None
    cost: dict[str, float]

    @property
    def scores(self) -> Array:
        """The corpus scores on the test examples, one per seed."""
        return np.array([statistics.score for statistics in self.test])


@dataclass(frozen=True)
class Luck:
    """How much of the winner's search score fresh seeds do not reproduce."""

    search: float
    again: float
    amount: float  # by how much the search score was better
    ci: Interval | None  # of the amount, from the spread over the seeds; None for one seed


@dataclass(frozen=True)
class Confirmation:
    """The best trial of the search, tested."""

    metric: str
    winner: Retrained
    others: tuple[Retrained, ...]
    tested: tuple[Contrast, ...]  # the winner, a, against each other model, b
    luck: Luck | None
    n_examples: int
    effective: int = 0  # at least so many independent examples say as much; 0: as many

    @property
    def examples(self) -> str:
        """The number of test examples, with the effective one where that is smaller."""
        return count_of_examples(self.n_examples, self.effective)

    def to_json(self) -> dict[str, Any]:
        """Return the document that `optuna-study confirm --json` prints."""
        return {
            "metric": self.metric,
            "split": TEST,
            "n_examples": self.n_examples,
            "effective_examples": self.effective or self.n_examples,
            "winner": self.winner.name,
            "models": [
                {
                    "name": model.name,
                    "scores": model.scores.tolist(),
                    "mean": float(model.scores.mean()),
                    "seeds": list(model.seeds),
                    **model.cost,
                }
                for model in (self.winner, *self.others)
            ],
            "tested": [
                {
                    "against": t.b.name,
                    "gain": t.gain,
                    "ci": list(t.gain_interval),
                    "p_value": t.p,
                    "adjusted_p_value": t.p_adjusted,
                    "seeds": t.seeds,
                }
                for t in self.tested
            ],
            "luck": None
            if self.luck is None
            else {
                "search": self.luck.search,
                "again": self.luck.again,
                "amount": self.luck.amount,
                "ci": None if self.luck.ci is None else list(self.luck.ci),
            },
        }


def confirmation_of(data: StudyData, *, seed: int = 0) -> Confirmation | None:
    """Return the test of the best trial on fresh seeds; None where there are none.

    The winner is the best trial of the search, not of the confirmation.  It was chosen before it
    was tested, so the tests need correcting only for their number.
    """
    metric = headline_metric(data)
    if metric is None or data.best_trial is None:
        return None
    models = _retrained(data, metric)
    winner = next((m for m in models if m.trial == data.best_trial.number), None)
    if winner is None:
        return None
    return confirmation_among(metric, winner, [m for m in models if m is not winner], seed)


def confirmation_among(
    metric: str, winner: Retrained, models: Sequence[Retrained], seed: int = 0
) -> Confirmation:
    """Return the winner tested against every model that was trained on some of its seeds."""
    others = tuple(m for m in models if _paired(winner, m))
    tested = corrected([_contrast(winner, other, seed) for other in others])
    first = winner.test[0]
    n = len(first.values)
    return Confirmation(
        metric, winner, others, tuple(tested), _luck(winner), n, min(n, first.effective)
    )


# ---------------------------------------------------------------- reading


def _retrained(data: StudyData, metric: str) -> list[Retrained]:
    rows: dict[tuple[int | None, str], list[EvaluationRow]] = {}
    for row in data.evaluations:
        if row.role == "confirm" and row.split == TEST:
            rows.setdefault((row.trial_number, row.name), []).append(row)
    found = [_model(data, metric, trial, name, of) for (trial, name), of in rows.items()]
    return sorted(found, key=lambda model: (model.trial is None, model.name != "default"))


def _model(
    data: StudyData, metric: str, trial: int | None, name: str, rows: Sequence[EvaluationRow]
) -> Retrained:
    rows = sorted(rows, key=lambda row: row.seed)
    who = name if trial is None else trial
    seeds = tuple(row.seed for row in rows)
    dev = [data.statistics(who, metric, DEV, role="confirm", seed=s).score for s in seeds]
    details = [{k: row.details.get(k) for k in COSTS} for row in rows]
    return Retrained(
        name=name if trial is None else f"trial {trial}",
        trial=trial,
        seeds=seeds,
        test=tuple(data.statistics(who, metric, TEST, role="confirm", seed=s) for s in seeds),
        dev=np.array(dev),
        search_score=data.score(who, metric, DEV),
        cost={
            key: float(np.mean([d[key] for d in details]))
            for key in details[0]
            if all(d[key] is not None for d in details)
        },
    )


# ---------------------------------------------------------------- testing


def _contrast(winner: Retrained, other: Retrained, seed: int) -> Contrast:
    """Test the winner against one other model, on the seeds that both were trained on."""
    pairs = _paired(winner, other)
    drawn = resampled_scores([s for pair in pairs for s in pair], RESAMPLES, seed)  # (2S, R)
    first, n = pairs[0][0], len(pairs[0][0].units)
    values = np.array([[statistics.score for statistics in pair] for pair in pairs])  # (S, 2)
    of_winner, of_other = drawn[0::2], drawn[1::2]  # (S, R) each
    difference, interval, p = _mean_over_seeds(values[:, 0] - values[:, 1], of_winner - of_other, n)
    a, b = (
        Score(model.name, first.metric, TEST, *_mean_over_seeds(scores, of_model, n)[:2])
        for model, scores, of_model in zip(
            (winner, other), values.T, (of_winner, of_other), strict=True
        )
    )
    return Contrast(
        a,
        b,
        len(first.values),
        difference,
        interval,
        p,
        p,
        first.signature,
        seeds=len(pairs),
        effective=first.effective,
    )


def _mean_over_seeds(values: Array, drawn: Array, n: int) -> tuple[float, Interval, float]:
    """The mean of S values, its interval, and its p-value against 0.

    `drawn` (S, R) are the values on resamples of the N independent units, the same for all seeds:
    of the examples, or of the clusters of those that belong together.
    """
    mean, seeds = float(values.mean()), len(values)
    by_seeds = float(values.var(ddof=1)) / seeds if seeds > 1 else 0.0
    least = float(drawn.mean(axis=0).var(ddof=1))
    margin, p = interval_and_test(mean, shared_variance(drawn), by_seeds, n, seeds, least)
    return mean, (mean - margin, mean + margin), p


def shared_variance(drawn: Array) -> float:
    """The variance due to the examples that all S seeds share, from resampled differences (S, R).

    The spread of the seeds already includes what the examples do to one seed alone, so with two
    seeds or more this is the mean covariance of two seeds.
    """
    seeds = len(drawn)
    of_mean = float(drawn.mean(axis=0).var(ddof=1))
    if seeds == 1:
        return of_mean
    of_each = float(drawn.var(axis=1, ddof=1).mean())
    return max((seeds * of_mean - of_each) / (seeds - 1), 0.0)


def _paired(one: Retrained, other: Retrained) -> list[tuple[Statistics, Statistics]]:
    """Return the statistics of the same seeds; base and teacher are the same under every seed."""
    if other.name in UNTRAINED:
        return [(statistics, other.test[0]) for statistics in one.test]
    known = dict(zip(other.seeds, other.test, strict=True))
    return [(a, known[s]) for s, a in zip(one.seeds, one.test, strict=True) if s in known]


def interval_and_test(
    mean: float,
    by_examples: float,
    by_seeds: float,
    examples: int,
    seeds: int,
    least: float = 0.0,
) -> tuple[float, float]:
    """Return the half width of a mean's 95 % interval, and the largest level at which it holds 0.

    `by_examples` and `by_seeds` are the two variances of the mean.  `least` is its variance over
    resampled examples: where scores are discrete, two seeds often agree exactly, which says nothing
    of how much they vary, so no interval is narrower than that.
    """
    from scipy.optimize import brentq
    from scipy.special import stdtrit

    freedom = np.maximum([examples - 1, seeds - 1], 1)

    def margin(level: float) -> float:
        of_examples, of_seeds = stdtrit(freedom, level / 2)
        crossed = of_examples**2 * by_examples + of_seeds**2 * by_seeds
        return float(max(crossed, of_examples**2 * least) ** 0.5)

    if margin(LEAST_P) <= abs(mean):
        return margin(LEVEL), LEAST_P if mean else 1.0
    level = brentq(lambda log: margin(np.exp(log)) - abs(mean), np.log(LEAST_P), 0)
    return margin(LEVEL), float(np.exp(level))


def _luck(winner: Retrained) -> Luck | None:
    from scipy.stats import t

    if winner.search_score is None:
        return None
    again, seeds = float(winner.dev.mean()), len(winner.dev)
    amount = winner.test[0].row.sign * (winner.search_score - again)
    if seeds < 2:
        return Luck(winner.search_score, again, amount, None)
    margin = float(t.ppf(0.975, seeds - 1) * winner.dev.std(ddof=1) / seeds**0.5)
    return Luck(winner.search_score, again, amount, (amount - margin, amount + margin))
